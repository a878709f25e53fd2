"""Fakes with behaviour: an engine that echoes, an embedder that counts letters (in `letters.py`)."""

import asyncio
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

from adapters.base_model import BaseModelInfo
from adapters.manifest import AdapterManifest
from adapters.preparing import Preparing
from ragtune.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineFault,
    InvalidRequest,
    Overloaded,
    RagtuneError,
    RefusedArtifact,
    Unavailable,
)
from service.engine.client import Stream
from service.engine.messages import (
    AdapterRef,
    Beginning,
    EngineInfo,
    EngineStats,
    Finish,
    Generation,
    Logprobs,
    TokenEvent,
)
from tests.letters import LetterEmbedder as LetterEmbedder
from tests.tiny import VOCAB


class ThreadPreparer:
    """Prepares adapters with the real checks and probes, in a thread instead of a process of its own."""

    def __init__(self, base: BaseModelInfo) -> None:
        self._preparing = Preparing(base)
        self._turn = asyncio.Lock()

    async def prepare(self, source: Path, staged: Path) -> AdapterManifest:
        """Fill `staged` from `source`, and say what it is."""
        async with self._turn:
            return await asyncio.to_thread(self._preparing.prepare, source, staged)

    async def close(self) -> None:
        """Nothing to end."""


class EchoEngine:
    """Answers every prompt with the prompt's own tokens, so that a mixed-up request can be read in the diff.

    The echo begins again at the prompt's end if end-of-sequence is ignored, and stops there otherwise. `pace` is the
    seconds between two tokens; a prompt fails when the echo reaches the token `fault`. The log-probability of token t
    is -t/100, so the likeliest tokens are always 0, 1, 2 ... It cannot follow a schema.
    """

    def __init__(
        self, *, max_model_len: int = 1024, slots: int = 4, waiting: int = 4, pace: float = 0.0, fault: int = -1
    ) -> None:
        self.info = EngineInfo(max_model_len, "echo", "float32", 1, 4 * max_model_len, VOCAB)
        self.alive = True
        self.pace = pace
        self.generations: list[Generation] = []  # everything that was ever admitted
        self._size, self._limit, self._fault = slots, slots + waiting, fault
        self._slots = asyncio.Semaphore(slots)
        self._streams: dict[str, Stream] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._users: dict[str, int] = {}  # adapters in memory, and how many generations use each
        self._pinned: set[str] = set()
        self._steps = 0

    @property
    def in_flight(self) -> int:
        """Generations admitted and not ended."""
        return len(self._streams)

    def check_room(self, coming: int = 0) -> None:
        """Raises Overloaded if there is no place once `coming` others have taken theirs."""
        if self.in_flight + coming >= self._limit:
            raise Overloaded(f"{self._limit} requests are running or waiting; try again shortly")

    async def admit(self, generation: Generation) -> Stream:
        """Queue a generation. Raises Overloaded at once if the queue is full, Unavailable after `close`."""
        self._check_alive()
        self.check_room()
        stream = Stream(generation.request_id, self._cancel)
        self.generations.append(generation)
        self._streams[generation.request_id] = stream
        self._tasks[generation.request_id] = asyncio.create_task(self._run(generation))
        return stream

    async def load(self, ref: AdapterRef, *, pinned: bool = False) -> None:
        """Bring an adapter into memory. Raises RefusedArtifact if its folder holds none."""
        self._check_alive()
        if not any((ref.folder / name).is_file() for name in ("adapter_config.json", "config.json")):
            raise RefusedArtifact(f"{ref.folder} holds no adapter")
        self._users.setdefault(ref.key, 0)
        if pinned:
            self._pinned.add(ref.key)

    def unpin(self, key: str) -> None:
        """Nothing ever leaves this engine's memory by itself; who is pinned is only told."""
        self._pinned.discard(key)

    async def unload(self, key: str) -> int:
        """Drop an adapter once nobody uses it; one byte freed each."""
        self._check_alive()
        while self._users.get(key):
            await asyncio.sleep(0.001)
        self._pinned.discard(key)
        return 0 if self._users.pop(key, None) is None else 1

    async def stats(self) -> EngineStats:
        """A snapshot."""
        self._check_alive()
        running = min(self.in_flight, self._size)
        loaded, pinned = tuple(self._users), tuple(sorted(self._pinned))
        return EngineStats(
            running, self.in_flight - running, loaded, pinned, len(loaded), 1 << 30, 0, 0, 0, 64, 0, self._steps
        )

    async def close(self, drain: float = 0.0) -> None:
        """Wait up to `drain` seconds for what runs, then fail the rest."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=drain)
        self.alive = False
        for request_id in list(self._streams):
            self._end(request_id, EngineFault("the engine stopped while this request was running"))

    async def _run(self, generation: Generation) -> None:
        refs = [ref for ref in (generation.weights, generation.prefix) if ref is not None]
        try:
            self._check(generation)
            async with asyncio.timeout(generation.deadline), self._slots:
                for ref in refs:
                    await self.load(ref)
                    self._users[ref.key] += 1
                try:
                    outcome: Finish | RagtuneError = await self._echo(generation)
                finally:
                    for ref in refs:
                        self._users[ref.key] -= 1
        except TimeoutError:
            outcome = DeadlineExceeded(f"the deadline of {generation.deadline:g} s passed")
        except RagtuneError as error:
            outcome = error
        self._end(generation.request_id, outcome)

    async def _echo(self, generation: Generation) -> Finish:
        made, sampling = 0, generation.sampling
        scored = generation.token_ids[1:] if sampling.score_prompt else ()
        scores = tuple(_logprobs(token, sampling.logprobs or 0) for token in scored)
        self._streams[generation.request_id].beginning = Beginning(scores=scores)
        for token in islice(_echo(generation), generation.sampling.max_tokens):
            await asyncio.sleep(self.pace)
            if token == self._fault:
                raise EngineFault("the engine failed on this request; the cause is in the server's log")
            self._steps += 1
            made += 1
            self._streams[generation.request_id].push(
                TokenEvent(token, None if sampling.logprobs is None else _logprobs(token, sampling.logprobs))
            )
        reason = "length" if made == generation.sampling.max_tokens else "stop"
        if reason == "stop" and sampling.logprobs is not None:
            stop = next((token for token in generation.token_ids if token in _stops(generation)), 0)
            self._streams[generation.request_id].push(TokenEvent(stop, _logprobs(stop, sampling.logprobs), ends=True))
        return Finish(reason, len(generation.token_ids), made, generation.virtual_tokens, 0.0)

    def _check(self, generation: Generation) -> None:
        if not generation.token_ids:
            raise InvalidRequest("the prompt is empty")
        if not all(0 <= token < VOCAB for token in generation.token_ids):
            raise InvalidRequest(f"the prompt has token ids outside 0..{VOCAB - 1}")
        if generation.sampling.schema_text is not None:
            raise InvalidRequest("an echo follows no schema")
        longest = generation.virtual_tokens + len(generation.token_ids) + generation.sampling.max_tokens
        if longest > self.info.max_model_len:
            raise ContextLengthExceeded(f"{longest} tokens asked for, {self.info.max_model_len} are possible")

    def _cancel(self, request_id: str) -> None:
        self._streams.pop(request_id, None)
        if task := self._tasks.pop(request_id, None):
            task.cancel()

    def _end(self, request_id: str, outcome: Finish | RagtuneError) -> None:
        self._tasks.pop(request_id, None)
        if stream := self._streams.pop(request_id, None):
            stream.push(outcome)

    def _check_alive(self) -> None:
        if not self.alive:
            raise Unavailable("the engine is not running; restart the service")


def _logprobs(token: int, best: int) -> Logprobs:
    return Logprobs(-token / 100, tuple((other, -other / 100) for other in range(best)))


def _echo(generation: Generation) -> Iterator[int]:
    for token in cycle(generation.token_ids) if generation.sampling.ignore_eos else generation.token_ids:
        if token in _stops(generation):
            return
        yield token


def _stops(generation: Generation) -> set[int]:
    sampling = generation.sampling
    return set(sampling.stop_token_ids) | (set() if sampling.ignore_eos else set(generation.eos_ids))
