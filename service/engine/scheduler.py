"""Who takes part in the next step. Plain Python: no torch, no clock, the same calls give the same batches.

Waiting sequences are kept by group (same weights and prefix) and admitted in turn, one of each group, first come first
served within it: a flood for one adapter cannot starve another. A sequence is admitted only when all positions it can
ever grow to are reserved, so nothing running is ever thrown out. When the next in turn does not fit, admission waits
for it rather than letting smaller ones pass: waiting is bounded. A sequence whose beginning is just being computed by
another (the same soft prompt, system text or passages) waits for that instead of computing it a second time.

Every step computes one position of each decoding sequence, then fills up to `step_tokens` with chunks of prefill, first
admitted first. So a long prompt delays the tokens of others by one bounded step at a time.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from service.engine.kv_blocks import KVBlocks
from service.engine.messages import TokenEvent
from service.engine.sequence import Sequence


@dataclass(frozen=True)
class Slice:
    """Positions `start` to `start + count` of one sequence; `samples` when they reach its end."""

    sequence: Sequence
    start: int
    count: int

    @property
    def samples(self) -> bool:
        """Whether the last position of the slice yields the next token."""
        return self.start + self.count == self.sequence.length

    @property
    def scored(self) -> range:
        """Its positions whose logits score the prompt token that follows."""
        return self.sequence.scored(self.start, self.count)


@dataclass(frozen=True)
class Batch:
    """What one step computes. Slices with the same weights stand together, in order of how many positions they have."""

    slices: tuple[Slice, ...]
    admitted: tuple[Sequence, ...] = ()  # sequences that entered with this step


@dataclass
class Scheduler:
    """Waiting and running sequences over one KV store."""

    blocks: KVBlocks
    step_tokens: int
    max_running: int
    prefix_cache: bool = True
    running: list[Sequence] = field(default_factory=list)
    _waiting: OrderedDict[tuple[str, str], deque[Sequence]] = field(default_factory=OrderedDict)
    _coming: dict[bytes, Sequence] = field(default_factory=dict)  # block contents being computed, and by whom

    @property
    def waiting(self) -> int:
        """Sequences not admitted yet."""
        return sum(len(queue) for queue in self._waiting.values())

    def sequences(self) -> Iterator[Sequence]:
        """All of them, running first."""
        yield from self.running
        for queue in self._waiting.values():
            yield from queue

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence behind the others of its group."""
        self._waiting.setdefault(sequence.group, deque()).append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it is, and free its blocks."""
        if sequence in self.running:
            self.running.remove(sequence)
            self._coming = {content: owner for content, owner in self._coming.items() if owner is not sequence}
            self.blocks.release(sequence.table)
            sequence.table = []
            return
        queue = self._waiting.get(sequence.group, deque())
        if sequence in queue:
            queue.remove(sequence)
            self._drop_if_empty(sequence.group)

    def next_batch(self, loaded: Collection[str], held: Collection[str] = ()) -> Batch:
        """The slices of the next step; empty when there is nothing to do.

        `loaded` are the keys of adapters in memory; nothing new is admitted for those `held`, which are to leave it.
        """
        admitted = self._admit(loaded, held)
        budget = self.step_tokens
        slices: list[Slice] = []
        for sequence in sorted(self.running, key=lambda s: s.remaining > 1):  # decoding first; stable otherwise
            count = min(sequence.remaining, budget)
            if count > 0:
                slices.append(Slice(sequence, sequence.computed, count))
                budget -= count
        return Batch(tuple(_by_weights(slices)), admitted)

    def complete(self, batch: Batch, sampled: dict[Sequence, TokenEvent]) -> list[Sequence]:
        """Take in a step's results; returns the sequences that ended with it, already removed."""
        ended = []
        for piece in batch.slices:
            sequence = piece.sequence
            sequence.computed += piece.count
            self._note(sequence)
            if sequence in sampled:
                sequence.append(sampled[sequence])
                if sequence.finish_reason is not None:
                    self.remove(sequence)
                    ended.append(sequence)
        return ended

    def _admit(self, loaded: Collection[str], held: Collection[str]) -> tuple[Sequence, ...]:
        admitted: list[Sequence] = []
        ready = [g for g in self._waiting if all(not key or (key in loaded and key not in held) for key in g)]
        while ready and len(self.running) < self.max_running:
            group = ready.pop(0)
            sequence = self._waiting[group][0]
            shared = self._cached(sequence)
            if self._next_content(sequence, len(shared)) in self._coming:
                continue
            if not self._reserve(sequence, shared):
                break
            self._waiting[group].popleft()
            self.running.append(sequence)
            admitted.append(sequence)
            self._waiting.move_to_end(group)
            if not self._drop_if_empty(group):
                ready.append(group)
        return tuple(admitted)

    def _cached(self, sequence: Sequence) -> list[int]:
        """The blocks it can take over. Its last position is always computed: there must be logits to sample from."""
        if not self.prefix_cache:
            return []
        sequence.extend_hashes(self.blocks.size)
        if not sequence.takes_cached:
            return []
        return self.blocks.find(sequence.hashes[: (sequence.length - 1) // self.blocks.size])

    def _next_content(self, sequence: Sequence, blocks: int) -> bytes | None:
        """The content of the first block it would have to compute, if that block could be shared."""
        if not sequence.takes_cached:
            return None
        sharable = min(len(sequence.hashes), (sequence.length - 1) // self.blocks.size)
        return sequence.hashes[blocks] if blocks < sharable else None

    def _reserve(self, sequence: Sequence, shared: list[int]) -> bool:
        """Give `sequence` all blocks it can need, the `shared` ones among them; False if there are too few."""
        own = self.blocks.needed(sequence.longest) - len(shared)
        if own > self.blocks.free - self.blocks.idle_among(shared):
            return False
        self.blocks.share(shared)
        sequence.table = shared + self.blocks.take(own)
        sequence.noted = len(shared)
        sequence.cached = len(shared) * self.blocks.size
        sequence.computed = max(sequence.cached, sequence.learned)
        self._coming |= dict.fromkeys(sequence.hashes[len(shared) :], sequence)
        return True

    def _note(self, sequence: Sequence) -> None:
        """Tell the store what the blocks that became full in this step hold."""
        if not self.prefix_cache:
            return
        sequence.extend_hashes(self.blocks.size)
        full = sequence.computed // self.blocks.size
        for index in range(sequence.noted, full):
            self.blocks.remember(sequence.table[index], sequence.hashes[index])
            self._coming.pop(sequence.hashes[index], None)
        sequence.noted = full

    def _drop_if_empty(self, group: tuple[str, str]) -> bool:
        if self._waiting[group]:
            return False
        del self._waiting[group]
        return True


def _by_weights(slices: list[Slice]) -> list[Slice]:
    """Lanes last, so that all rows the base model's own tensors compute stand together."""
    positions: Counter[str] = Counter()
    for piece in slices:
        positions[piece.sequence.group[0]] += piece.count
    return sorted(
        slices,
        key=lambda piece: (piece.sequence.in_lane, positions[piece.sequence.group[0]], piece.sequence.group),
    )
