"""The model: loads it, and computes one batch.

`forward` packs the batch's positions into one row (1, T) and calls the plain transformers model, whose attention and
parametrised layers are ours. It returns the sampled token of every sequence whose slice reached its end, and the scores
of the prompt tokens that were asked for.
"""

from collections.abc import Generator, Iterable
from collections.abc import Sequence as Items
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from adapters.content import check_content
from adapters.tokenizer import load_tokenizer
from adapters.weights import load_changes, load_prefix, load_soft_prompt
from ragtune.errors import InvalidRequest, RefusedArtifact
from service.engine import attention
from service.engine.grammar import Grammars
from service.engine.layers import Layers
from service.engine.low_rank import Delta, LowRank, stack_deltas
from service.engine.messages import AdapterRef, Logprobs, TokenEvent
from service.engine.rows import Lane, Lanes, Segment
from service.engine.sampler import NonFiniteLogits, Row, log_probabilities, sample
from service.engine.scheduler import Batch, Slice
from service.engine.sequence import Sequence

BLOCK = 16  # positions of a KV block
_SCORED_TOGETHER = 64  # rows whose log-probabilities are computed at once: bounds the memory beside the logits


@dataclass(frozen=True)
class Loaded:
    """An adapter's tensors, on the engine's device: the low-rank and dense changes of weights, or a prefix."""

    ref: AdapterRef
    deltas: dict[str, Delta] | None = None
    lane: Lane | None = None
    embeddings: Tensor | None = None  # (virtual, hidden)
    learned: Tensor | None = None  # (layers, 2, virtual, kv_heads, head_dim)

    @property
    def bytes(self) -> int:
        """Memory of the tensors."""
        tensors = [t for delta in (self.deltas or {}).values() for t in (delta.a, delta.b)]
        tensors += [t for t in (self.embeddings, self.learned) if t is not None]
        return sum(tensor.nbytes for tensor in tensors) + (self.lane.bytes if self.lane else 0)


@dataclass(frozen=True)
class Computed:
    """What came of a batch: a token, or why there is none, for each sequence that reached its end; prompt scores."""

    tokens: dict[Sequence, TokenEvent | Exception] = field(default_factory=dict)
    scores: dict[Sequence, list[Logprobs]] = field(default_factory=dict)


class Runner:
    """One base model, its KV store, and the adapters in memory. Without `grammars` no sequence may follow one."""

    def __init__(
        self, model: PreTrainedModel, kv_blocks: int, device: torch.device, grammars: Grammars | None = None
    ) -> None:
        config = model.config
        self.device = device
        self.vocab_size = int(config.vocab_size)
        self.max_positions = int(config.max_position_embeddings)
        self._low_rank, self._lanes = LowRank(), Lanes()
        self.dtype: torch.dtype = model.get_input_embeddings().weight.dtype
        self._layers = Layers(model, self._low_rank, self._lanes)
        model.config._attn_implementation = attention.NAME
        self._model = model.eval()
        heads = int(config.num_key_value_heads)
        width = heads * int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
        self.store = attention.KVStore.empty(config.num_hidden_layers, kv_blocks, BLOCK, width, device, self.dtype)
        self._loaded: dict[str, Loaded] = {}
        self.grammars = grammars

    @classmethod
    def from_folder(cls, folder: Path, kv_blocks: int, device: torch.device) -> "Runner":
        """Load the base model in fp32 from a local folder."""
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        grammars = Grammars(load_tokenizer(folder).vocabulary, int(model.config.vocab_size))
        return cls(model.to(device), kv_blocks, device, grammars)

    @property
    def loaded(self) -> dict[str, Loaded]:
        """Adapters in memory by key."""
        return self._loaded

    @property
    def stacked_bytes(self) -> int:
        """Memory of the copies that batched products made of several adapters."""
        return self._low_rank.stacked_bytes

    def check(self, ref: AdapterRef) -> None:
        """Look at an adapter's files; touches nothing a step uses, so any thread may do it. Raises RefusedArtifact."""
        if not ref.folder.is_dir():
            raise RefusedArtifact(f"adapter {ref.key.partition('#')[0]} was deleted meanwhile")
        check_content(ref.folder, ref.kind, *ref.digests)

    def build(self, ref: AdapterRef) -> Generator[None, None, Loaded]:
        """Read an adapter in pieces of a few milliseconds, between steps. Raises RefusedArtifact.

        Not in a thread: its many small operations and those of a step would take Python's lock from each other, which
        made the step several times as long.
        """
        if ref.kind == "soft_prompt":
            embeddings = load_soft_prompt(ref.folder)
            return Loaded(ref, embeddings=embeddings.to(self.device, self.dtype))
        if ref.kind == "prefix":
            learned = load_prefix(ref.folder, self._model.config)
            return Loaded(ref, learned=learned.to(self.device, self.dtype))
        changes = load_changes(ref.folder)
        yield
        deltas = yield from stack_deltas(changes.pairs, self._layers.stacks, self.device)
        lane = yield from self._layers.lane(changes, self.device)
        return Loaded(ref, deltas=deltas or None, lane=lane if lane else None)

    def read(self, ref: AdapterRef) -> Loaded:
        """All of it at once. Raises RefusedArtifact."""
        self.check(ref)
        building = self.build(ref)
        while True:
            try:
                next(building)
            except StopIteration as done:
                loaded: Loaded = done.value
                return loaded

    def add(self, loaded: Loaded) -> None:
        """Make an adapter usable by the next batch."""
        key = loaded.ref.key
        self._loaded[key] = loaded
        if loaded.deltas is not None:
            self._low_rank.loaded[key] = loaded.deltas
        if loaded.lane is not None:
            self._lanes.loaded[key] = loaded.lane

    def remove(self, key: str) -> int:
        """Drop an adapter; returns the bytes freed. No sequence may be using it."""
        self._low_rank.remove(key)
        self._lanes.loaded.pop(key, None)
        return self._loaded.pop(key).bytes

    @torch.inference_mode()
    def forward(self, batch: Batch) -> Computed:
        """Compute every slice."""
        logits = self.logits(batch)
        sampling = [piece.sequence for piece in batch.slices if piece.samples]
        scoring = [(piece.sequence, piece.scored) for piece in batch.slices if piece.scored]
        return Computed(self._sample(sampling, logits), _scores(scoring, logits[len(sampling) :]))

    @torch.inference_mode()
    def logits(self, batch: Batch) -> Tensor:
        """(n, vocabulary) logits: after the last position of each sampling slice, then of all positions to score.

        Of one arbitrary row if there are none.
        """
        for sequence in batch.admitted:
            self._write_learned(sequence)
        last, scored, at = [], [], 0
        for piece in batch.slices:
            if piece.samples:
                last.append(at + piece.count - 1)
            scored += [at + position - piece.start for position in piece.scored]
            at += piece.count
        rows = _segments((piece.sequence, piece.count) for piece in batch.slices)
        sampled = [(piece.sequence, 1) for piece in batch.slices if piece.samples]
        self._low_rank.begin(rows)
        self._lanes.begin(rows, _segments(chain(sampled, ((p.sequence, len(p.scored)) for p in batch.slices))))
        step = attention.plan(batch.slices, self.store, self.device)
        positions = [p for piece in batch.slices for p in range(piece.start, piece.start + piece.count)]
        output = self._model(
            inputs_embeds=self._embeddings(batch.slices),
            position_ids=torch.tensor([positions], device=self.device),
            use_cache=False,
            logits_to_keep=torch.tensor(last + scored or [0], device=self.device),
            step=step,
        )
        logits: Tensor = output.logits[0]
        return logits

    def _sample(self, sequences: Items[Sequence], logits: Tensor) -> dict[Sequence, TokenEvent | Exception]:
        if not sequences:
            return {}
        masks = self._masks(sequences)
        rows = [_row(sequence, masks.get(sequence)) for sequence in sequences]
        tokens: dict[Sequence, int | Exception] = {}
        for sequence, drawn in zip(sequences, sample(logits[: len(sequences)], rows), strict=True):
            mask = masks.get(sequence)
            tokens[sequence] = mask if isinstance(mask, Exception) else _settled(sequence, drawn)
        return self._told(tokens, logits)

    def _told(self, tokens: dict[Sequence, int | Exception], logits: Tensor) -> dict[Sequence, TokenEvent | Exception]:
        """Each token with the log-probabilities that its sequence asked for; row i of `logits` is that of the i-th."""
        asked = {
            at: token
            for at, (sequence, token) in enumerate(tokens.items())
            if sequence.generation.sampling.logprobs is not None and isinstance(token, int)
        }
        most = max((s.generation.sampling.logprobs or 0 for s in tokens), default=0)
        scores = dict(zip(asked, log_probabilities(logits[list(asked)], list(asked.values()), most), strict=True))
        return {
            sequence: TokenEvent(token, _at_most(scores.get(at), sequence)) if isinstance(token, int) else token
            for at, (sequence, token) in enumerate(tokens.items())
        }

    def _masks(self, sequences: Items[Sequence]) -> dict[Sequence, NDArray[np.bool_] | InvalidRequest]:
        """What the grammars of those sequences that follow one allow, or why that cannot be said."""
        bound = [(sequence, sequence.grammar) for sequence in sequences if sequence.grammar is not None]
        if not bound or self.grammars is None:
            return {}
        masks = self.grammars.allowed([grammar for _, grammar in bound])
        return dict(zip((sequence for sequence, _ in bound), masks, strict=True))

    def clear(self, blocks: Items[int]) -> None:
        """Zero these KV blocks: a sequence that failed may have left something non-finite in them."""
        self.store.clear(blocks)

    def _embeddings(self, slices: tuple[Slice, ...]) -> Tensor:
        """(1, T, hidden): the embedding of each token, and the learned one of each virtual token."""
        ids: list[int] = []
        virtual: list[tuple[int, Tensor]] = []
        for piece in slices:
            sequence, first = piece.sequence, piece.start - piece.sequence.virtual
            if first < 0:
                prefix = sequence.generation.prefix
                embeddings = self._loaded[prefix.key].embeddings if prefix else None
                assert embeddings is not None  # a learned prefix is never computed
                virtual.append((len(ids), embeddings[piece.start : piece.start + piece.count]))
                ids += [0] * min(-first, piece.count)
            ids += sequence.tokens[max(0, first) : max(0, first + piece.count)]
        hidden = self._layers.embedding(torch.tensor([ids], device=self.device))
        for at, embeddings in virtual:
            hidden[0, at : at + embeddings.shape[0]] = embeddings
        return hidden

    def _write_learned(self, sequence: Sequence) -> None:
        """Copy a learned prefix into the sequence's own blocks, past what it took over from the cache."""
        if sequence.cached >= sequence.learned:
            return
        prefix = sequence.generation.prefix
        learned = self._loaded[prefix.key].learned if prefix else None
        assert learned is not None
        span = range(sequence.cached, sequence.learned)
        slots = torch.tensor([sequence.table[p // BLOCK] * BLOCK + p % BLOCK for p in span], device=self.device)
        for layer, (keys, values) in enumerate(learned[:, :, span.start : span.stop]):
            self.store.write(layer, slots, keys, values)


def _row(sequence: Sequence, mask: NDArray[np.bool_] | InvalidRequest | None) -> Row:
    allowed = None if isinstance(mask, InvalidRequest) else mask
    generation = sequence.generation
    return Row(generation.sampling, generation.token_ids, sequence.output, tuple(sequence.stops), allowed)


def _settled(sequence: Sequence, token: int | NonFiniteLogits) -> int | NonFiniteLogits:
    if sequence.grammar is None or not isinstance(token, int):
        return token
    return sequence.grammar.settle(token, sequence.left)


def _at_most(logprobs: Logprobs | None, sequence: Sequence) -> Logprobs | None:
    """With no more alternatives than this sequence asked for."""
    return logprobs and replace(logprobs, best=logprobs.best[: sequence.generation.sampling.logprobs])


def _scores(scoring: Items[tuple[Sequence, range]], logits: Tensor) -> dict[Sequence, list[Logprobs]]:
    """The scores of each sequence's prompt tokens, whose rows stand in `logits` in the same order."""
    scores: dict[Sequence, list[Logprobs]] = {}
    for sequence, positions in scoring:
        best = sequence.generation.sampling.logprobs or 0
        first = positions.start - sequence.virtual + 1
        following = sequence.tokens[first : first + len(positions)]
        rows, logits = logits[: len(positions)], logits[len(positions) :]
        scores[sequence] = [
            score
            for at in range(0, len(following), _SCORED_TOGETHER)
            for score in log_probabilities(
                rows[at : at + _SCORED_TOGETHER], following[at : at + _SCORED_TOGETHER], best
            )
        ]
    return scores


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one."""
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def _segments(owners: Iterable[tuple[Sequence, int]]) -> list[Segment]:
    """The rows that belong to weight adapters, from who owns how many rows in turn; neighbours of one are joined."""
    segments: list[Segment] = []
    at = 0
    for sequence, count in owners:
        weights = sequence.generation.weights
        if weights is not None and count:
            if segments and segments[-1].key == weights.key and segments[-1].end == at:
                segments[-1] = Segment(weights.key, segments[-1].start, at + count)
            else:
                segments.append(Segment(weights.key, at, at + count))
        at += count
    return segments
