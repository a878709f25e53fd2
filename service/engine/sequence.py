"""One generation in flight.

A sequence is a row of positions. The first `virtual` positions belong to its soft prompt or prefix, real tokens follow.
`computed` positions have their KV in the store; the rest is still to be computed. A sequence that has one position
left to compute is decoding, one with more is in prefill: there is no other difference between the two.
"""

import hashlib
from collections.abc import Sequence as Items
from dataclasses import dataclass, field, replace

from ragtune.wire import FinishReason
from service.engine.grammar import Grammar
from service.engine.messages import Generation, Logprobs, TokenEvent


@dataclass(eq=False)
class Sequence:
    """The scheduler fills `table`, `computed`, `cached`, `noted`, and appends tokens. All counts are positions.

    The engine sets `grammar` before it queues a sequence that must follow one, and keeps what the server has yet to
    hear: `scores` of the prompt, and `fresh` tokens.
    """

    generation: Generation
    admitted: float
    table: list[int] = field(default_factory=list)  # KV blocks in order of position
    computed: int = 0
    cached: int = 0  # positions taken over from the prefix cache
    tokens: list[int] = field(default_factory=list)  # prompt, then what was generated
    hashes: list[bytes] = field(default_factory=list)  # content hash of each full block so far
    noted: int = 0  # blocks whose content the store knows
    generated: int = 0
    grammar: Grammar | None = None
    scores: list[Logprobs] = field(default_factory=list)  # of the prompt's second to last token, as far as computed
    fresh: list[TokenEvent] = field(default_factory=list)
    started: float | None = None
    first_token: float | None = None
    finish_reason: FinishReason | None = None

    def __post_init__(self) -> None:
        self.tokens = list(self.generation.token_ids)

    @property
    def id(self) -> str:
        """The request's id."""
        return self.generation.request_id

    @property
    def virtual(self) -> int:
        """Positions of the soft prompt or prefix."""
        return self.generation.virtual_tokens

    @property
    def length(self) -> int:
        """All positions known so far."""
        return self.virtual + len(self.tokens)

    @property
    def remaining(self) -> int:
        """Positions still to compute before the next token can be sampled."""
        return self.length - self.computed

    @property
    def learned(self) -> int:
        """Positions whose KV is learned and copied in (a prefix); a soft prompt's are computed like any other."""
        prefix = self.generation.prefix
        return self.virtual if prefix and prefix.kind == "prefix" else 0

    @property
    def longest(self) -> int:
        """Positions it can grow to: what is reserved for it, so that it never has to be thrown out half-way.

        The last token is never computed, it is only returned; it needs no position.
        """
        return self.virtual + len(self.generation.token_ids) + max(self.generation.sampling.max_tokens, 1) - 1

    @property
    def takes_cached(self) -> bool:
        """Whether KV of others may be taken over. Positions that were never computed have no logits to score."""
        return not self.generation.sampling.score_prompt

    @property
    def left(self) -> int:
        """Tokens that may still come."""
        return self.generation.sampling.max_tokens - self.generated

    @property
    def output(self) -> list[int]:
        """What was generated."""
        return self.tokens[len(self.generation.token_ids) :]

    def scored(self, start: int, count: int) -> range:
        """The positions among `count` from `start` whose logits score a prompt token, the one that follows each."""
        if not self.generation.sampling.score_prompt:
            return range(0)
        last = self.virtual + len(self.generation.token_ids) - 1
        return range(max(start, self.virtual), min(start + count, last))

    @property
    def stops(self) -> frozenset[int]:
        """Tokens that end it."""
        sampling = self.generation.sampling
        return frozenset(sampling.stop_token_ids).union(() if sampling.ignore_eos else self.generation.eos_ids)

    @property
    def in_lane(self) -> bool:
        """Whether its weight adapter has whole tensors in place of the base model's."""
        weights = self.generation.weights
        return weights is not None and weights.kind in ("merged", "checkpoint")

    @property
    def group(self) -> tuple[str, str]:
        """What it shares weights and prefix with; turns are taken between groups."""
        weights, prefix = self.generation.weights, self.generation.prefix
        return (weights.key if weights else "", prefix.key if prefix else "")

    def append(self, token: TokenEvent) -> None:
        """Add a sampled token and decide whether the sequence has ended.

        A stop token ends it and is not kept; it is counted in `generated` as it was computed, and told if it was
        scored. A grammar to which nothing can be added ends it, too. Where no token was asked for, none is kept.
        """
        sampling = self.generation.sampling
        if sampling.max_tokens == 0:
            self.finish_reason = "length"
            return
        self.generated += 1
        cut = self.grammar is not None and self.grammar.cut
        if token.token_id in self.stops:
            self.finish_reason = "length" if cut else "stop"
            if token.logprobs is not None:
                self.fresh.append(replace(token, ends=True))
            return
        self.tokens.append(token.token_id)
        self.fresh.append(token)
        if self.grammar is not None and self.grammar.complete:
            self.finish_reason = "length" if cut else "stop"
        elif self.generated >= sampling.max_tokens:
            self.finish_reason = "length"

    def extend_hashes(self, block_size: int) -> None:
        """Bring `hashes` up to all full blocks of known positions.

        The chain starts from everything that decides KV besides the tokens: weights, prefix, tenant namespace.
        """
        while (len(self.hashes) + 1) * block_size <= self.length:
            start = len(self.hashes) * block_size
            before = self.hashes[-1] if self.hashes else self._root()
            self.hashes.append(_digest(before, self._identity(start, start + block_size)))

    def _root(self) -> bytes:
        return _digest(b"", [*self.group, self.generation.namespace])

    def _identity(self, start: int, end: int) -> list[int]:
        """What stands at positions [start, end): token ids, or -1 - i for the i-th virtual token."""
        virtual = [-1 - position for position in range(start, min(end, self.virtual))]
        return virtual + self.tokens[max(0, start - self.virtual) : max(0, end - self.virtual)]


def _digest(before: bytes, content: Items[object]) -> bytes:
    return hashlib.sha256(before + repr(content).encode()).digest()
