"""The typed messages that cross the border between the server process and the engine process.

    server -> engine    Admit, Cancel, Load, Unpin, Unload, AskStats, Shutdown
    engine -> server    Ready, Began, Progress, Finished, Failed, LoadDone, UnloadDone, Stats

Plain frozen dataclasses of plain values: nothing in them assumes one machine, and nothing above the client sees them
except `AdapterRef`, `Generation`, `Beginning`, `Logprobs`, `TokenEvent`, `Finish`, `EngineInfo` and `EngineStats`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from adapters.manifest import AdapterKind
from ragtune.wire import FinishReason, Sampling


@dataclass(frozen=True)
class AdapterRef:
    """One adapter as the engine knows it. `key` is unique per content, so KV can never be stale.

    `digests` are the SHA-256 of its files and of its lane; what is read is checked against them.
    """

    key: str
    folder: Path
    kind: AdapterKind
    virtual_tokens: int = 0
    digests: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Generation:
    """One request: what to continue, with which adapters, how. `deadline` is in seconds from admission."""

    request_id: str
    token_ids: tuple[int, ...]
    sampling: Sampling = field(default_factory=Sampling)
    weights: AdapterRef | None = None
    prefix: AdapterRef | None = None
    eos_ids: tuple[int, ...] = ()
    deadline: float = 120.0
    namespace: str = ""

    @property
    def virtual_tokens(self) -> int:
        """Positions the soft prompt or prefix takes before the first real token."""
        return self.prefix.virtual_tokens if self.prefix else 0


@dataclass(frozen=True)
class Logprobs:
    """Natural logarithms of probabilities at one position, from the model's logits as they are.

    `chosen` is that of the token that stands there, `best` are the likeliest tokens with theirs, best first.
    """

    chosen: float
    best: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class TokenEvent:
    """One generated token; with its log-probabilities if they were asked for.

    A token that `ends` the generation is no part of its text. It is told only where log-probabilities were asked for.
    """

    token_id: int
    logprobs: Logprobs | None = None
    ends: bool = False


@dataclass(frozen=True)
class Finish:
    """How a generation ended, with its counts and times (milliseconds from admission)."""

    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    virtual_tokens: int
    first_token_ms: float


@dataclass(frozen=True)
class EngineInfo:
    """What the engine found and chose at start."""

    max_model_len: int
    device: str
    dtype: str
    threads: int
    kv_tokens: int
    vocab_size: int


@dataclass(frozen=True)
class EngineStats:
    """A snapshot between two steps."""

    running: int
    waiting: int
    adapters: tuple[str, ...]  # keys of those in memory, least recently used first
    pinned: tuple[str, ...]
    adapter_bytes: int
    adapter_budget: int
    stacked_bytes: int  # copies of adapters made for batched products
    evictions: int
    kv_blocks_used: int
    kv_blocks_total: int
    cached_blocks: int
    steps: int


# server -> engine


@dataclass(frozen=True)
class Admit:
    """Queue a generation."""

    generation: Generation


@dataclass(frozen=True)
class Cancel:
    """Free the slot in the next step; unknown ids are ignored, the generation may just have ended."""

    request_id: str


@dataclass(frozen=True)
class Load:
    """Bring an adapter into memory ahead of its first request; a `pinned` one stays there."""

    ref: AdapterRef
    pinned: bool = False


@dataclass(frozen=True)
class Unpin:
    """A pinned adapter may leave memory again when it is not used."""

    key: str


@dataclass(frozen=True)
class Unload:
    """Drop an adapter from memory once no sequence uses it."""

    key: str


@dataclass(frozen=True)
class AskStats:
    """Answered by Stats."""


@dataclass(frozen=True)
class Shutdown:
    """Stop now; what still runs fails."""


# engine -> server


@dataclass(frozen=True)
class Ready:
    """The model is loaded."""

    info: EngineInfo


@dataclass(frozen=True)
class StartFailed:
    """The model could not be loaded; the process ends after this."""

    reason: str


@dataclass(frozen=True)
class Progress:
    """New tokens of one generation."""

    request_id: str
    tokens: tuple[TokenEvent, ...]


@dataclass(frozen=True)
class Beginning:
    """What is known once a prompt has been computed. `scores` are its second to last token's, if asked for."""

    cached_tokens: int = 0
    queue_ms: float = 0.0
    scores: tuple[Logprobs, ...] = ()


@dataclass(frozen=True)
class Began:
    """A prompt has been computed; comes before any Progress of the same generation."""

    request_id: str
    beginning: Beginning


@dataclass(frozen=True)
class Finished:
    """A generation ended as it should."""

    request_id: str
    finish: Finish


FailureCode = Literal[
    "engine_error", "invalid_request", "context_length_exceeded", "refused_artifact", "deadline_exceeded"
]


@dataclass(frozen=True)
class Failed:
    """A generation failed. `message` may go to the user for all codes but engine_error, whose cause goes to the log."""

    request_id: str
    code: FailureCode
    message: str


@dataclass(frozen=True)
class LoadDone:
    """An adapter could be loaded, or `error` says why not. It is in memory if there was a place for it."""

    key: str
    error: str | None = None


@dataclass(frozen=True)
class UnloadDone:
    """An adapter is out of memory; `freed` bytes were its own."""

    key: str
    freed: int


@dataclass(frozen=True)
class Stats:
    """The answer to AskStats."""

    stats: EngineStats


ToEngine = Admit | Cancel | Load | Unpin | Unload | AskStats | Shutdown
ToServer = Ready | StartFailed | Began | Progress | Finished | Failed | LoadDone | UnloadDone | Stats
