"""The engine: one verb, `step`.

    batch = scheduler.next_batch()  ->  runner.forward(batch)  ->  scheduler.complete(batch)

Around it: admission, cancelling, deadlines, adapters coming and going, and the rule that one bad request fails alone.
Events are returned, never sent: the process around the engine sends them, and a test reads them.
"""

import logging
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from dataclasses import replace

from ragtune.errors import InvalidRequest
from ragtune.wire import FinishReason
from service.engine.adapter_memory import AdapterMemory
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
    Progress,
    TokenEvent,
    ToServer,
)
from service.engine.runner import Computed, Runner
from service.engine.scheduler import Batch, Scheduler
from service.engine.sequence import Sequence

log = logging.getLogger("ragtune.engine")


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
        self.memory = AdapterMemory(runner, loader, clock, adapter_memory)
        self._loader = loader
        self._clock = clock
        self._sequences: dict[str, Sequence] = {}
        self._compiling: dict[Sequence, Future[Grammar]] = {}

    @property
    def busy(self) -> bool:
        """Whether another step, or another look at the loader, has something to do."""
        # what compiles is one of the sequences
        return bool(self._sequences) or self.memory.busy

    def step(self) -> list[ToServer]:
        """Compute one batch; returns what the server should hear."""
        events = [*self._settle(), *self._take_compiled(), *self._expire()]
        batch = self.scheduler.next_batch(self.runner.loaded, self.memory.held)
        if not batch.slices:
            return events
        for sequence in batch.admitted:
            for key in sequence.group:
                self.memory.residents.use(key)
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
                self.memory.want(ref)
        return []

    def cancel(self, request_id: str) -> None:
        """Free the slot. Unknown ids are ignored: the generation may just have ended."""
        sequence = self._sequences.pop(request_id, None)
        if sequence is not None:
            if compiling := self._compiling.pop(sequence, None):
                compiling.cancel()
            self.scheduler.remove(sequence)

    def load(self, ref: AdapterRef, *, pinned: bool = False) -> list[ToServer]:
        """Have an adapter read beside the steps; LoadDone follows, at once if it is in memory.

        A `pinned` one stays until it is unpinned or unloaded.
        """
        return [*self.memory.keep(ref.key), *self.memory.want(ref, pinned=pinned)]

    def unpin(self, key: str) -> None:
        """From now on it may leave memory when it is not used."""
        self.memory.unpin(key)

    def unload(self, key: str) -> list[ToServer]:
        """Drop an adapter when its last sequence has ended; UnloadDone follows."""
        return [*self.memory.unload(key), *self._settle()]

    def stats(self) -> EngineStats:
        """A snapshot."""
        blocks = self.scheduler.blocks
        return EngineStats(
            running=len(self.scheduler.running),
            waiting=self.scheduler.waiting,
            adapters=tuple(self.memory.residents),
            pinned=tuple(sorted(self.memory.residents.pinned)),
            adapter_bytes=self.memory.residents.total,
            adapter_budget=self.memory.residents.budget,
            stacked_bytes=self.runner.stacked_bytes,
            evictions=self.memory.residents.evictions,
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

    def _settle(self) -> list[ToServer]:
        running = self.scheduler.running
        settled = self.memory.settle(running, [s for s in self._sequences.values() if s not in running])
        failed = {sequence.id: (sequence, reason) for sequence, reason in settled.refused}
        return settled.events + [self._fail(s, "refused_artifact", reason) for s, reason in failed.values()]

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
