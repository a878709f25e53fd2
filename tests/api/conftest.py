"""A whole service over the echoing engine: a tiny base model's tokenizer, real stores, real HTTP.

The home is made once and holds two LoRAs, two soft prompts, a prefix, an index and two templates; tests that publish or
delete use names of their own.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from adapters.base_model import BaseModelInfo, describe
from adapters.registry import Adapters
from adapters.tokenizer import Tokenizer, load_tokenizer
from indexer.retriever import Retriever
from indexer.store import Indexes
from ragtune.audit import AuditLog
from ragtune.feedback import FeedbackLog
from ragtune.jobs import Jobs
from ragtune.keys import Keys
from ragtune.mode_aliases import ModeAliases
from ragtune.settings import Settings
from ragtune.store import Database
from ragtune.templates import Templates
from service.access import Gate
from service.app import create_app
from service.catalog import Catalog
from service.exchanges import Exchanges
from service.parts import Engine, Parts
from service.rebuilding import Rebuilding
from service.working import Workers
from tests.equivalence.harness import make_adapter
from tests.fakes import EchoEngine, LetterEmbedder, ThreadPreparer
from tests.small_index import build_index
from tests.tiny import save_tiny, tiny_model

DOCUMENTS = {
    "warranty.md": "# Warranty\n\nThe Brevik pump has a warranty of 26 months.",
    "returns.md": "# Returns\n\nSend it back within 9 days.",
    "colours.txt": "zzz zzz zzz zzz",
}
ADAPTERS = {
    "my-lora": "plain",
    "other-lora": "narrow",
    "my-soft": "soft",
    "other-soft": "encoded",
    "my-prefix": "prefix",
}

Make = Callable[..., Parts]
Serve = Callable[..., AbstractAsyncContextManager[str]]
Call = Callable[[Parts], AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModelInfo:
    """A tiny base model."""
    folder = save_tiny(tmp_path_factory.mktemp("models") / "tiny-llama")
    return describe(folder, tmp_path_factory.mktemp("cache"), "tiny-llama")


@pytest.fixture(scope="session")
def tokenizer(base: BaseModelInfo) -> Tokenizer:
    """One token a byte."""
    return load_tokenizer(base.folder)


@pytest.fixture(scope="session")
def peft_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PEFT adapters as somebody might have them on disk, one folder each."""
    root = tmp_path_factory.mktemp("peft")
    for name, config in ADAPTERS.items():
        make_adapter(tiny_model(), config, root / name)
    return root


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of documents."""
    folder = tmp_path_factory.mktemp("documents")
    for name, text in DOCUMENTS.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory, peft_folders: Path, documents: Path) -> Settings:
    """A home of its own, and the folders that HTTP may name."""
    home = tmp_path_factory.mktemp("home")
    return Settings(
        home=home, adapter_roots=(peft_folders,), document_roots=(documents.parent,), port=0, deadline=10.0, drain=5.0
    )


@pytest.fixture(scope="session")
def database(settings: Settings, base: BaseModelInfo, peft_folders: Path, documents: Path) -> Iterator[Database]:
    """The home's database, with everything registered."""
    database = Database(settings.database)
    adapters = Adapters(settings.home, database, base, settings.adapter_roots)
    for name in ADAPTERS:
        adapters.add(name, peft_folders / name)
    build_index(documents, "handbook", Indexes(settings.home, database), LetterEmbedder())
    templates = Templates(settings.home, database)
    templates.add("brief", 'system = "Be brief."')
    templates.add("shouting", 'user = "{query}!"')
    yield database
    database.close()


@pytest.fixture(scope="session")
def preparer(base: BaseModelInfo) -> ThreadPreparer:
    """Checks and probes adapters against the tiny model."""
    return ThreadPreparer(base)


@pytest.fixture
def make_parts(
    settings: Settings, base: BaseModelInfo, tokenizer: Tokenizer, database: Database, preparer: ThreadPreparer
) -> Make:
    """Parts over a given engine, with changed settings."""

    def make(engine: Engine | None = None, gate: Gate | None = None, **changes: object) -> Parts:
        changed = settings.model_copy(update=changes)
        adapters = Adapters(settings.home, database, base, changed.adapter_roots)
        indexes, templates = Indexes(settings.home, database), Templates(settings.home, database)
        jobs = Jobs(database, settings.home)
        workers = Workers(jobs, settings.home)
        return Parts(
            settings=changed,
            base=base,
            tokenizer=tokenizer,
            adapters=adapters,
            indexes=indexes,
            templates=templates,
            catalog=Catalog(base, adapters, indexes, templates, ModeAliases(database), changed),
            retriever=Retriever(LetterEmbedder(), hidden=indexes.documents.hidden),
            engine=engine or EchoEngine(),
            preparer=preparer,
            gate=gate or Gate(Keys(database), loopback=True),
            audit=AuditLog(database),
            jobs=jobs,
            workers=workers,
            rebuilding=Rebuilding(workers),
            exchanges=Exchanges(changed.feedback_window),
            feedback=FeedbackLog(database),
        )

    return make


@pytest.fixture
async def parts(make_parts: Make) -> Parts:
    """Parts over an echoing engine with default limits."""
    return make_parts()


@pytest.fixture
def call() -> Call:
    """A client of the application, without a socket."""

    @asynccontextmanager
    async def calling(parts: Parts) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(create_app(parts), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client

    return calling


@pytest.fixture
async def client(parts: Parts, call: Call) -> AsyncIterator[httpx.AsyncClient]:
    """`call` over `parts`."""
    async with call(parts) as client:
        yield client


@pytest.fixture
def serve() -> Serve:
    """A real uvicorn server on a free port, in the test's own event loop; gives its URL."""

    @asynccontextmanager
    async def serving(parts: Parts, port: int = 0) -> AsyncIterator[str]:
        listening = socket.create_server(("127.0.0.1", port))
        server = uvicorn.Server(uvicorn.Config(create_app(parts), log_config=None, lifespan="off"))
        running = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running

    return serving


@pytest.fixture
async def url(parts: Parts, serve: Serve) -> AsyncIterator[str]:
    """The URL of a real server over `parts`."""
    async with serve(parts) as url:
        yield url


def hub_cache(root: Path, folder: Path, repository: str = "someone/support-lora") -> Path:
    """The hub's cache as a download of `folder` leaves it: blobs, and a snapshot of links to them."""
    place, commit = root / f"models--{repository.replace('/', '--')}", "0" * 40
    snapshot = place / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    (place / "blobs").mkdir()
    for path in folder.iterdir():
        blob = place / "blobs" / path.name
        blob.write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(os.path.relpath(blob, snapshot))
    return root


@pytest.fixture
def cached_hub(tmp_path: Path, peft_folders: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a network whose hub cache has one adapter."""
    cache = hub_cache(tmp_path / "cache", peft_folders / "my-lora")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return cache
