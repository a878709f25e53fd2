"""Starting, serving and draining: from settings to a listening socket, and back to nothing left running."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType

import uvicorn

from adapters.base_model import BaseModelInfo, locate_base_model
from adapters.registry import Adapters
from adapters.tokenizer import load_tokenizer
from indexer.embedding import load_embedder
from indexer.retriever import Retriever
from indexer.store import Indexes
from ragtune.errors import InvalidRequest
from ragtune.home import announce
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.templates import Templates
from ragtune.terminal import say
from service.app import create_app
from service.catalog import Catalog
from service.engine.client import EngineClient
from service.parts import Parts


class DrainingServer(uvicorn.Server):
    """A uvicorn server that keeps answering 503 while it drains, and then ends with exit code 0."""

    def __init__(self, config: uvicorn.Config, parts: Parts) -> None:
        super().__init__(config)
        self._parts = parts
        self._draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains; a second one ends at once."""
        if self._parts.lifecycle.draining:
            super().handle_exit(sig, frame)
            return
        self._parts.lifecycle.draining = True
        say(f"draining: {self._parts.engine.in_flight} requests are running")
        asyncio.get_event_loop().call_soon_threadsafe(self._begin_draining)

    def _begin_draining(self) -> None:
        self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._parts.settings.drain):
                while self._parts.engine.in_flight:
                    await asyncio.sleep(0.05)
        self.should_exit = True


def serve_until_stopped(settings: Settings) -> None:
    """Listen, load, serve. Raises from the error tree if anything is wrong before the first request."""
    listening = _listen(settings)
    host, port = listening.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "sentence_transformers"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    with listening, announce(settings.home, url):
        base = locate_base_model(settings)
        # What uvicorn took over from us is raised again once it has ended; by then there is nothing left to do.
        for taken in (signal.SIGTERM, signal.SIGINT):
            signal.signal(taken, lambda *_: None)
        asyncio.run(_serve(settings, base, listening, url))
    say("stopped")


async def _serve(settings: Settings, base: BaseModelInfo, listening: socket.socket, url: str) -> None:
    async with _running(settings, base) as parts:
        config = uvicorn.Config(
            create_app(parts), log_config=None, access_log=False, lifespan="off", server_header=False, backlog=2048
        )
        config.timeout_graceful_shutdown = max(1, int(settings.drain))
        say(f"\nragtune serves {base.id}{f' ({base.note})' if base.note else ''} at {url}")
        say(f"modes: {', '.join(parts.catalog.modes())} - join them with '+'\n")
        say(f"""try:  curl -s {url}/v1/query -H 'content-type: application/json' -d '{{"query": "Who are you?"}}'\n""")
        await DrainingServer(config, parts).serve(sockets=[listening])


@asynccontextmanager
async def _running(settings: Settings, base: BaseModelInfo) -> AsyncIterator[Parts]:
    """All parts; the engine process ends with the context. The engine and the embedding model load side by side."""
    say(f"loading {base.id} and the embedding model ...")
    database = Database(settings.database)
    adapters = Adapters(settings.home, database, base, [*settings.adapter_roots, settings.runs])
    indexes, templates = Indexes(settings.home, database), Templates(settings.home, database)
    for versions in (adapters.versions, indexes.versions, templates.versions):
        versions.collect_orphans()
    starting = asyncio.create_task(EngineClient.start(settings, base.folder))
    try:
        embedder = await asyncio.to_thread(load_embedder, settings)
        engine = await starting
    except BaseException:
        starting.cancel()
        with contextlib.suppress(BaseException):
            await (await starting).close()
        raise
    parts = Parts(
        settings=settings,
        base=base,
        tokenizer=load_tokenizer(base.folder),
        adapters=adapters,
        indexes=indexes,
        templates=templates,
        catalog=Catalog(base.id, adapters, indexes, templates, settings.default_index),
        retriever=Retriever(embedder),
        engine=engine,
    )
    try:
        yield parts
    finally:
        await engine.close()
        database.close()


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        reason = error.strerror or str(error)
        raise InvalidRequest(
            f"cannot listen on {settings.host}:{settings.port}: {reason.lower()}; "
            "stop what uses it, or choose another with --port or RAGTUNE_PORT"
        ) from error
    return listening
