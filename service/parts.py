"""What the service is made of: the objects every route works with, put together once at start."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from adapters.base_model import BaseModelInfo
from adapters.manifest import AdapterManifest
from adapters.registry import Adapters
from adapters.tokenizer import Tokenizer
from indexer.retriever import Retriever
from indexer.store import Indexes
from ragtune.audit import AuditLog
from ragtune.feedback import FeedbackLog
from ragtune.jobs import Jobs
from ragtune.settings import Settings
from ragtune.templates import Templates
from service.access import Gate
from service.catalog import Catalog
from service.engine.client import Stream
from service.engine.messages import AdapterRef, EngineInfo, EngineStats, Generation
from service.exchanges import Exchanges
from service.pins import Pins
from service.rebuilding import Rebuilding
from service.working import Workers


class Engine(Protocol):
    """The engine as the service uses it: `EngineClient`, or the echoing fake of the tests."""

    @property
    def info(self) -> EngineInfo:
        """What it chose at start."""

    @property
    def alive(self) -> bool:
        """Whether it can admit."""

    @property
    def in_flight(self) -> int:
        """Generations admitted and not ended."""

    def check_room(self, coming: int = 0) -> None:
        """Raises Overloaded if there is no place once `coming` others have taken theirs."""

    async def admit(self, generation: Generation) -> Stream:
        """Queue a generation; raises Overloaded at once if the queue is full."""

    async def load(self, ref: AdapterRef, *, pinned: bool = False) -> None:
        """Bring an adapter into memory; a pinned one stays there."""

    def unpin(self, key: str) -> None:
        """Let a pinned adapter leave memory again."""

    async def unload(self, key: str) -> int:
        """Drop an adapter once nobody uses it; bytes freed."""

    async def stats(self) -> EngineStats:
        """A snapshot."""

    async def close(self, drain: float = 0.0) -> None:
        """End."""


class Preparer(Protocol):
    """Whoever checks and probes adapters: `ProverProcess`, or a thread of the tests' own process."""

    async def prepare(self, source: Path, staged: Path) -> AdapterManifest:
        """Fill the folder `staged` from `source`; raises RefusedArtifact with the reason."""

    async def close(self) -> None:
        """End."""


@dataclass
class Lifecycle:
    """Whether new work is taken, and how much there is: `running` requests of every kind, uploads and registrations
    among them, and `preparing` generations that are still on their way to the engine."""

    draining: bool = False
    running: int = 0
    preparing: int = 0


@dataclass(frozen=True)
class Parts:
    """One running service. `tokenizer` belongs to the event loop's thread."""

    settings: Settings
    base: BaseModelInfo
    tokenizer: Tokenizer
    adapters: Adapters
    indexes: Indexes
    templates: Templates
    catalog: Catalog
    retriever: Retriever
    engine: Engine
    preparer: Preparer
    gate: Gate
    audit: AuditLog
    jobs: Jobs
    workers: Workers
    rebuilding: Rebuilding
    exchanges: Exchanges
    feedback: FeedbackLog
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    pins: Pins = field(default_factory=Pins)
