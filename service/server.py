"""Starting, serving and draining: from settings to a listening socket, and back to nothing left running."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from functools import partial
from types import FrameType

import uvicorn

from adapters.base_model import BaseModelInfo, locate_base_model
from adapters.registry import Adapters
from adapters.tokenizer import load_tokenizer
from indexer.embedding import load_embedder
from indexer.outdated import is_behind
from indexer.rerank import load_reranker
from indexer.retriever import Retriever
from indexer.store import Indexes
from ragtune.audit import AuditLog
from ragtune.errors import InvalidRequest, RagtuneError
from ragtune.feedback import FeedbackLog
from ragtune.home import announce
from ragtune.jobs import Jobs
from ragtune.keys import Keys
from ragtune.mode_aliases import ModeAliases
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.templates import Templates
from ragtune.terminal import say
from service.access import Gate, is_loopback
from service.app import create_app
from service.aside import Aside
from service.catalog import Catalog
from service.engine.client import EngineClient
from service.exchanges import Exchanges
from service.parts import Parts
from service.pinning import pin_all
from service.proving import ProverProcess
from service.rebuilding import Rebuilding
from service.removing import collect_versions
from service.starting import Doorway
from service.working import Workers

_LAST_BYTES = 5  # seconds for answers that were finished, or given up, but not sent yet
_LOADER = Aside(1, "loader")  # a model that is being downloaded keeps nobody from ending
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where a client on this machine finds a server that listens on all


class DrainingServer(uvicorn.Server):
    """A uvicorn server that keeps answering 503 while it drains, and then ends with exit code 0."""

    def __init__(self, doorway: Doorway) -> None:
        super().__init__(
            uvicorn.Config(
                doorway,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                backlog=2048,
                timeout_graceful_shutdown=_LAST_BYTES,
            )
        )
        self._doorway = doorway
        self._parts: Parts | None = None
        self._loop = asyncio.get_running_loop()
        self._draining: asyncio.Task[None] | None = None

    def open(self, parts: Parts) -> None:
        """From now on requests are answered."""
        self._parts = parts
        self._doorway.app = create_app(parts)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains; a second one, or one before there was anything to drain, ends at once."""
        if self._parts is None or self._parts.lifecycle.draining:
            super().handle_exit(sig, frame)
            return
        self._parts.lifecycle.draining = True
        self._loop.call_soon_threadsafe(self._begin_draining, self._parts)

    def _begin_draining(self, parts: Parts) -> None:
        say(f"draining: {parts.lifecycle.running} requests are running")
        self._draining = asyncio.create_task(self._drain(parts))

    async def _drain(self, parts: Parts) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(parts.settings.drain):
                while parts.lifecycle.running:
                    await asyncio.sleep(0.05)
        self.should_exit = True


def serve_until_stopped(settings: Settings) -> None:
    """Listen, load, serve. Raises from the error tree if anything is wrong before the first request."""
    listening = _listen(settings)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "sentence_transformers"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    url = _url(listening)
    with listening, announce(settings.home, url) as token:
        gate = Gate(Keys(Database(settings.database)), is_loopback(listening.getsockname()[0]), token)
        base = locate_base_model(settings)
        with _signals_ignored():
            asyncio.run(_serve(settings, base, listening, url, gate))
    say("stopped")


@contextlib.contextmanager
def _signals_ignored() -> Iterator[None]:
    """What uvicorn takes over from us is raised again once it has ended; by then there is nothing left to do. After
    that they are what they were, so that one more ends a process that does not."""
    before = {taken: signal.signal(taken, lambda *_: None) for taken in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for taken, handler in before.items():
            signal.signal(taken, handler)


async def _serve(settings: Settings, base: BaseModelInfo, listening: socket.socket, url: str, gate: Gate) -> None:
    """Answer 503 while the models load, then requests, until a signal comes."""
    server = DrainingServer(Doorway())
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    loading = asyncio.create_task(_load(settings, base, gate))
    try:
        await asyncio.wait({serving, loading}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            server.open(loading.result())
            welcome(loading.result(), url)
            await serving
    finally:
        server.should_exit = True
        await serving
        await _unload(loading)


async def _load(settings: Settings, base: BaseModelInfo, gate: Gate) -> Parts:
    """All parts. The engine and the embedding model load side by side."""
    say(f"loading {base.id} and the embedding model ...")
    database = Database(settings.database)
    adapters = Adapters(settings.home, database, base, [*settings.adapter_roots, settings.runs])
    indexes, templates = Indexes(settings.home, database), Templates(settings.home, database)
    for versions in (adapters.versions, indexes.versions, templates.versions):
        versions.collect_orphans()
    jobs = Jobs(database, settings.home)
    jobs.recover()
    tokenizer = load_tokenizer(base.folder)
    await asyncio.to_thread(lambda: tokenizer.longest)  # half a second that no request should wait for
    starting = asyncio.create_task(EngineClient.start(settings, base.folder))
    try:
        embedder = await asyncio.get_running_loop().run_in_executor(_LOADER, load_embedder, settings)
        engine = await starting
    except BaseException:
        starting.cancel()
        with contextlib.suppress(BaseException):
            await (await starting).close()
        raise
    workers = Workers(jobs, settings.home)
    parts = Parts(
        settings=settings,
        base=base,
        tokenizer=tokenizer,
        adapters=adapters,
        indexes=indexes,
        templates=templates,
        catalog=Catalog(base, adapters, indexes, templates, ModeAliases(database), settings),
        retriever=Retriever(embedder, load_reranker(settings), indexes.documents.hidden),
        engine=engine,
        preparer=ProverProcess(base, settings.cache),
        gate=gate,
        audit=AuditLog(database),
        jobs=jobs,
        workers=workers,
        rebuilding=Rebuilding(workers),
        exchanges=Exchanges(settings.feedback_window),
        feedback=FeedbackLog(database),
    )
    parts.rebuilding.afterwards = partial(collect_versions, parts=parts)
    for name in indexes.versions.names():
        await collect_versions(name, parts)
    for name in await asyncio.to_thread(_behind, indexes):
        parts.rebuilding.later(name, "", "")  # what was uploaded before the last end is in no version yet
    await pin_all(parts)
    return parts


def _behind(indexes: Indexes) -> list[str]:
    return [name for name in indexes.documents.indexes() if is_behind(indexes, name)]


async def _unload(loading: asyncio.Task[Parts]) -> None:
    """End the engine, or the loading of it."""
    loading.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):  # why it failed was raised where it was awaited first
        parts = await loading
        await parts.rebuilding.close()
        await parts.workers.close()
        await parts.preparer.close()
        await parts.engine.close()


def welcome(parts: Parts, url: str) -> None:
    """Say what is served, to whom, and how to ask."""
    base = parts.base
    say(f"\nragtune serves {base.id}{f' ({base.note})' if base.note else ''} at {url}")
    say(f"modes: {', '.join(parts.catalog.modes())} - join them with '+'\n")
    open_to_all = parts.gate.loopback and not parts.gate.keys.ever()
    key = parts.settings.api_key
    if key is not None and parts.gate.keys.check(key.get_secret_value()) is None:
        say("RAGTUNE_API_KEY makes no key, it is what commands show a service; 'ragtune key create' makes one")
    if open_to_all:
        say("no API key was ever made: everyone on this machine may do everything")
    shown = "" if open_to_all else " -H 'authorization: Bearer '$RAGTUNE_API_KEY"
    asked = """-H 'content-type: application/json' -d '{"query": "Who are you?"}'"""
    say(f"try:  curl -s {url}/v1/query{shown} {asked}\n")


def _listen(settings: Settings) -> socket.socket:
    """A listening socket. Raises InvalidRequest if it cannot be had, or would let others in without a key."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        _refuse_to_stand_open(listening.getsockname()[0], settings)  # by the address that the name has led to
        listening.listen(2048)
    except RagtuneError:
        listening.close()
        raise
    except OSError as error:
        listening.close()
        reason = error.strerror or str(error)
        raise InvalidRequest(
            f"cannot listen on {settings.host}:{settings.port}: {reason.lower()}; "
            "stop what uses it, or choose another with --port or RAGTUNE_PORT"
        ) from error
    return listening


def _refuse_to_stand_open(address: str, settings: Settings) -> None:
    if not is_loopback(address) and not Keys(Database(settings.database)).usable():
        shown = " (RAGTUNE_API_KEY makes none: it is what commands show a service)" if settings.api_key else ""
        raise InvalidRequest(
            f"others can reach {address}, and there is no API key in use{shown}; make one with "
            "'ragtune key create NAME --scope query', or listen on 127.0.0.1",
            param="host",
        )


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    host = _ANY.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
