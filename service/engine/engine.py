"""The engine: one verb, `step`.

    batch = scheduler.next_batch()  ->  runner.forward(batch)  ->  scheduler.complete(batch)

Around it: admission, cancelling, deadlines, adapters coming and going, and the rule that one bad request fails alone.
Events are returned, never sent: the process around the engine sends them, and a test reads them.
"""

import logging
import secrets
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace

from ragtune.errors import InvalidRequest, RagtuneError, RefusedArtifact
from ragtune.wire import FinishReason
from service.engine.grammar import Grammar
from service.engine.messages import (
    AdapterRef,
    Began,
    Beginning,
    EngineStats,
    Failed,
    FailureCode,
    Finish,
    Finished,
    Generation,
    LoadDone,
    Progress,
    TokenEvent,
    ToServer,
    UnloadDone,
)
from service.engine.residents import Residents
from service.engine.runner import Computed, Loaded, Runner
from service.engine.scheduler import Batch, Scheduler
from service.engine.sequence import Sequence

log = logging.getLogger("ragtune.engine")
_PATIENCE = 1.0  # seconds an adapter that was read waits for a place before others have to make one


@dataclass(frozen=True)
class Arrived:
    """An adapter that was read and has no place in memory yet, and since when."""

    loaded: Loaded
    at: float


class Engine:
    """Scheduler and runner. `clock` gives seconds; `loader` reads adapter files beside the steps."""

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        loader: Executor,
        clock: Callable[[], float],
        max_model_len: int,
        adapter_memory: int = 1 << 62,
    ) -> None:
        self.scheduler = scheduler
        self.runner = runner
        self.max_model_len = max_model_len
        self.steps = 0
        self._loader = loader
        self._clock = clock
        self._sequences: dict[str, Sequence] = {}
        self.residents = Residents(adapter_memory)
        self._loading: dict[str, Future[Loaded]] = {}
        self._arrived: dict[str, Arrived] = {}
        self._held: Collection[str] = ()
        self._compiling: dict[Sequence, Future[Grammar]] = {}
        self._unloading: set[str] = set()

    @property
    def busy(self) -> bool:
        """Whether another step, or another look at the loader, has something to do."""
        # what compiles is one of the sequences
        return bool(self._sequences or self._loading or self._arrived or self._unloading)

    def step(self) -> list[ToServer]:
        """Compute one batch; returns what the server should hear."""
        events = [*self._take_loaded(), *self._settle(), *self._take_compiled(), *self._expire()]
        events += self._finish_unloading()
        batch = self.scheduler.next_batch(self.runner.loaded, self._held)
        if not batch.slices:
            return events
        for sequence in batch.admitted:
            for key in sequence.group:
                self.residents.use(key)
        self.steps += 1
        self._stamp_started(batch)
        computed = self._forward(batch)
        tokens, failed = self._accept(*computed)
        kept = Batch(tuple(p for p in batch.slices if p.sequence not in failed))
        ended = self.scheduler.complete(kept, tokens)
        events += [self._fail(s, _code(error), str(error)) for s, error in failed.items()]
        events += self._report([piece.sequence for piece in kept.slices])
        return events + [self._finished(sequence) for sequence in ended]

    def admit(self, generation: Generation) -> list[ToServer]:
        """Queue a generation; a Failed comes back if it cannot be served at all."""
        if problem := self._problem(generation):
            return [problem]
        sampling = generation.sampling
        if sampling.seed is None and sampling.temperature > 0:
            generation = replace(generation, sampling=sampling.model_copy(update={"seed": secrets.randbits(62)}))
        sequence = Sequence(generation, self._clock())
        self._sequences[sequence.id] = sequence
        if sampling.schema_text is not None and self.runner.grammars is not None:
            self._compiling[sequence] = self._loader.submit(self.runner.grammars.compile, sampling.schema_text)
        else:
            self.scheduler.add(sequence)
        for ref in (generation.weights, generation.prefix):
            if ref is not None:
                self.load(ref)
        return []

    def cancel(self, request_id: str) -> None:
        """Free the slot. Unknown ids are ignored: the generation may just have ended."""
        sequence = self._sequences.pop(request_id, None)
        if sequence is not None:
            if compiling := self._compiling.pop(sequence, None):
                compiling.cancel()
            self.scheduler.remove(sequence)

    def load(self, ref: AdapterRef, *, pinned: bool = False) -> list[ToServer]:
        """Start to read an adapter beside the steps; LoadDone follows, at once if it is in memory.

        A `pinned` one stays until it is unpinned or unloaded.
        """
        if pinned:
            self.residents.pinned.add(ref.key)
        if ref.key in self.runner.loaded:
            return [LoadDone(ref.key)]
        if ref.key not in self._loading and ref.key not in self._arrived:
            self._loading[ref.key] = self._loader.submit(self.runner.read, ref)
        return []

    def unpin(self, key: str) -> None:
        """From now on it may leave memory when it is not used."""
        self.residents.pinned.discard(key)

    def unload(self, key: str) -> list[ToServer]:
        """Drop an adapter when its last sequence has ended; UnloadDone follows."""
        self.unpin(key)
        if key not in self.runner.loaded and key not in self._loading and key not in self._arrived:
            return [UnloadDone(key, 0)]
        self._unloading.add(key)
        return self._finish_unloading()

    def stats(self) -> EngineStats:
        """A snapshot."""
        blocks = self.scheduler.blocks
        return EngineStats(
            running=len(self.scheduler.running),
            waiting=self.scheduler.waiting,
            adapters=tuple(self.residents),
            pinned=tuple(sorted(self.residents.pinned)),
            adapter_bytes=self.residents.total,
            adapter_budget=self.residents.budget,
            stacked_bytes=self.runner.stacked_bytes,
            evictions=self.residents.evictions,
            kv_blocks_used=blocks.total - blocks.free,
            kv_blocks_total=blocks.total,
            cached_blocks=blocks.cached,
            steps=self.steps,
        )

    def _forward(self, batch: Batch) -> tuple[Computed, dict[Sequence, Exception]]:
        """The batch's outcome. If it fails as a whole, every slice is tried alone, so that only the bad one fails."""
        try:
            return self.runner.forward(batch), {}
        except Exception:
            log.exception("a step of %d sequences failed; trying each alone", len(batch.slices))
        whole, failed = Computed(), {}
        for piece in batch.slices:
            entered = tuple(s for s in batch.admitted if s is piece.sequence)
            try:
                computed = self.runner.forward(Batch((piece,), entered))
                whole.tokens.update(computed.tokens)
                whole.scores.update(computed.scores)
            except Exception as error:
                log.exception("request %s failed", piece.sequence.id)
                failed[piece.sequence] = error
        return whole, failed

    def _accept(
        self, computed: Computed, failed: dict[Sequence, Exception]
    ) -> tuple[dict[Sequence, TokenEvent], dict[Sequence, Exception]]:
        """Take scores and tokens in; returns the tokens that hold, and `failed` with those that do not."""
        for sequence, scores in computed.scores.items():
            sequence.scores += scores
        held: dict[Sequence, TokenEvent] = {}
        for sequence, token in computed.tokens.items():
            try:
                if isinstance(token, Exception):
                    raise token
                if sequence.grammar is not None:
                    sequence.grammar.accept(token.token_id)
                held[sequence] = token
            except Exception as error:  # noqa: BLE001 - whatever it is, it fails alone
                failed[sequence] = error
        return held, failed

    def _problem(self, generation: Generation) -> Failed | None:
        request_id, vocabulary = generation.request_id, self.runner.vocab_size
        if not generation.token_ids:
            return Failed(request_id, "invalid_request", "the prompt is empty")
        if not all(0 <= token < vocabulary for token in generation.token_ids):
            return Failed(request_id, "invalid_request", f"the prompt has token ids outside 0..{vocabulary - 1}")
        if generation.sampling.schema_text is not None and self.runner.grammars is None:
            return Failed(request_id, "invalid_request", "this engine was started without grammars")
        longest = generation.virtual_tokens + len(generation.token_ids) + generation.sampling.max_tokens
        if longest > self.max_model_len:
            text = f"{longest} tokens asked for (virtual, prompt and new), {self.max_model_len} are possible"
            return Failed(request_id, "context_length_exceeded", text)
        return None

    def _take_compiled(self) -> Iterable[ToServer]:
        for sequence, future in list(self._compiling.items()):
            if not future.done():
                continue
            del self._compiling[sequence]
            try:
                sequence.grammar = future.result()
                self.scheduler.add(sequence)
            except Exception as error:
                if not isinstance(error, InvalidRequest):
                    log.exception("the schema of request %s could not be compiled", sequence.id)
                yield self._fail(sequence, _code(error), str(error))

    def _take_loaded(self) -> Iterable[ToServer]:
        for key, future in list(self._loading.items()):
            if not future.done():
                continue
            del self._loading[key]
            try:
                self._arrived[key] = Arrived(self._checked_size(future.result()), self._clock())
            except Exception as error:
                log.warning(
                    "adapter %s could not be loaded: %s", key, error, exc_info=not isinstance(error, RagtuneError)
                )
                reason = str(error) if isinstance(error, RagtuneError) else "the adapter could not be loaded"
                yield LoadDone(key, reason)
                for sequence in [s for s in self._sequences.values() if key in s.group]:
                    yield self._fail(sequence, "refused_artifact", reason)

    def _checked_size(self, loaded: Loaded) -> Loaded:
        room = self.residents.free_beside_pinned([loaded.ref.key])
        if loaded.bytes > room:
            self.unpin(loaded.ref.key)
            raise RefusedArtifact(
                f"it takes {loaded.bytes} bytes of memory, and there are {room} for all adapters that are not pinned; "
                "raise RAGTUNE_ADAPTER_MEMORY, or unpin some"
            )
        return loaded

    def _settle(self) -> Iterable[ToServer]:
        """Give a place to what was read, in the order it came.

        First from adapters nobody asks for. After some patience also from those that are only waited for, and then the
        least recently used of the running are admitted no more until they have ended: a rare adapter waits, but not for
        ever. The oldest waiting request's own adapters are always spared, so that it does come to run. What nobody
        waits for gets no place that others would have to make.
        """
        self._held = ()
        if not self._arrived:
            return
        running = {key for sequence in self.scheduler.running for key in sequence.group}
        waiting = {key for sequence in self._sequences.values() for key in sequence.group} - running
        oldest = min(self._waiting_for_adapters(), key=lambda s: s.admitted, default=None)
        if oldest is not None and (reason := self._too_large_together(oldest)):
            yield self._fail(oldest, "refused_artifact", reason)
            return
        first = set(oldest.group) if oldest is not None else set()
        for key, arrived in list(self._arrived.items()):
            patient = self._clock() - arrived.at < _PATIENCE
            spared = running | first | (waiting if patient else set())
            victims = self.residents.victims(arrived.loaded.bytes, spared)
            if victims is not None:
                self._place(key, victims)
                yield LoadDone(key)
            elif key not in waiting and key not in self.residents.pinned:
                del self._arrived[key]
                yield LoadDone(key)
            elif not patient:
                self._held = self.residents.victims(arrived.loaded.bytes, first) or ()
                return

    def _too_large_together(self, sequence: Sequence) -> str | None:
        """Why a sequence's two adapters can never be in memory together, as far as their sizes are known."""
        arrived = {key: a.loaded.bytes for key, a in self._arrived.items()}
        needed = sum(arrived.get(key) or self.residents.size(key) for key in sequence.group)
        room = self.residents.free_beside_pinned(sequence.group)
        if needed <= room:
            return None
        return (
            f"its adapters take {needed} bytes of memory together, and there are {room}; raise RAGTUNE_ADAPTER_MEMORY"
        )

    def _waiting_for_adapters(self) -> Iterable[Sequence]:
        return (s for s in self._sequences.values() if s not in self.scheduler.running and any(s.group))

    def _place(self, key: str, victims: Iterable[str]) -> None:
        for victim in victims:
            log.info("adapter %s leaves memory to make room for %s", victim, key)
            self._drop(victim)
            self.residents.evictions += 1
        loaded = self._arrived.pop(key).loaded
        self.runner.add(loaded)
        self.residents.add(key, loaded.bytes)
        for victim in victims:  # who waits for one of them waits on
            for sequence in self._waiting_for_adapters():
                for ref in (sequence.generation.weights, sequence.generation.prefix):
                    if ref is not None and ref.key == victim:
                        self.load(ref)

    def _drop(self, key: str) -> int:
        self.residents.remove(key)
        return self.runner.remove(key)

    def _finish_unloading(self) -> list[ToServer]:
        used = {key for sequence in self._sequences.values() for key in sequence.group}
        coming = self._loading.keys() | self._arrived.keys()
        ready = [key for key in self._unloading if key not in used and key not in coming]
        self._unloading.difference_update(ready)
        return [UnloadDone(key, self._drop(key) if key in self.residents else 0) for key in ready]

    def _expire(self) -> Iterable[ToServer]:
        now = self._clock()
        late = [s for s in self._sequences.values() if now - s.admitted > s.generation.deadline]
        for sequence in late:
            text = f"not done within its deadline of {sequence.generation.deadline:g} s"
            yield self._fail(sequence, "deadline_exceeded", text)

    def _fail(self, sequence: Sequence, code: FailureCode, message: str) -> Failed:
        if code == "engine_error":
            self.runner.clear(self.scheduler.blocks.disown(sequence.table))
        self.cancel(sequence.id)
        return Failed(sequence.id, code, message)

    def _stamp_started(self, batch: Batch) -> None:
        for sequence in batch.admitted:
            sequence.started = self._clock()

    def _report(self, sequences: Iterable[Sequence]) -> list[ToServer]:
        """What the server has not heard: that a prompt has been computed, then the tokens of the answer."""
        now = self._clock()
        events: list[ToServer] = []
        for sequence in sequences:
            if not sequence.generated and not sequence.finish_reason:
                continue  # still in prefill
            if sequence.first_token is None:
                sequence.first_token = now
                events.append(Began(sequence.id, _beginning(sequence)))
                sequence.scores = []
            if sequence.fresh:
                events.append(Progress(sequence.id, tuple(sequence.fresh)))
                sequence.fresh = []
        return events

    def _finished(self, sequence: Sequence) -> Finished:
        del self._sequences[sequence.id]
        reason: FinishReason = sequence.finish_reason or "stop"
        first = sequence.first_token or sequence.admitted
        finish = Finish(
            reason=reason,
            prompt_tokens=len(sequence.generation.token_ids),
            completion_tokens=sequence.generated,
            virtual_tokens=sequence.virtual,
            first_token_ms=1e3 * (first - sequence.admitted),
        )
        return Finished(sequence.id, finish)


def _beginning(sequence: Sequence) -> Beginning:
    return Beginning(
        cached_tokens=max(0, sequence.cached - sequence.virtual),
        queue_ms=1e3 * ((sequence.started or sequence.admitted) - sequence.admitted),
        scores=tuple(sequence.scores),
    )


def _code(error: Exception) -> FailureCode:
    """A grammar that cannot go on is the request's fault."""
    return "invalid_request" if isinstance(error, InvalidRequest) else "engine_error"
