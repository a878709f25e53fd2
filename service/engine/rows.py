"""Which rows of the present step are whose, and the dense changes that belong to some of them.

A *lane* is the rows of one adapter together with the tensors it has in place of the base model's. There is no second
model: all rows go through one forward, and a layer computes the rows of a lane with that lane's tensors, if it has its
own, and all others with the base model's in one product. So layers that a lane leaves as they are cost nothing twice,
neither memory nor reading of weights.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adapters.packed_linear import can_pack, pack, packed_linear


@dataclass(frozen=True)
class Segment:
    """Rows `start` to `end` of the pack belong to adapter `key`."""

    key: str
    start: int
    end: int


class Dense:
    """A linear map, its weight packed where a packed kernel takes it. Packing copies, so the original can be let go."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.bias = bias
        self.out_features, self.in_features = weight.shape
        self._packed = pack(weight) if can_pack(weight) else None
        self._weight = weight if self._packed is None else None

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        if self._packed is not None:
            return packed_linear(x, self._packed, self.bias)
        assert self._weight is not None
        return nn.functional.linear(x, self._weight, self.bias)

    @property
    def bytes(self) -> int:
        """Memory of the weight and the bias."""
        size = 4 if self._weight is None else self._weight.element_size()
        own = self.out_features * self.in_features * size
        return own + (self.bias.nbytes if self.bias is not None else 0)


@dataclass(frozen=True)
class StackChange:
    """What a lane has in place of one stack of projections: the whole of it, or some columns; and biases to add."""

    whole: Dense | None = None
    columns: tuple[tuple[slice, Dense], ...] = ()
    added: Tensor | None = None  # (out,)

    @property
    def bytes(self) -> int:
        """Memory of its tensors."""
        denses = [dense for _, dense in self.columns] + ([self.whole] if self.whole else [])
        return sum(dense.bytes for dense in denses) + (self.added.nbytes if self.added is not None else 0)


@dataclass(frozen=True)
class EmbeddingChange:
    """What a lane has in place of the embeddings, or adds to them: a (r, vocabulary), b (r, hidden), scale in b."""

    whole: nn.Module | None = None
    a: Tensor | None = None
    b: Tensor | None = None

    def apply(self, ids: Tensor, y: Tensor) -> None:
        """Change y (n, hidden), the base model's embeddings of ids (n,), in place."""
        if self.whole is not None:
            y.copy_(self.whole(ids))
        if self.a is not None and self.b is not None:
            y.addmm_(self.a[:, ids].t(), self.b)


@dataclass(frozen=True)
class Lane:
    """One adapter's dense changes, by the name of the layer."""

    stacks: Mapping[str, StackChange]
    norms: Mapping[str, nn.Module]
    embedding: EmbeddingChange | None = None
    head: Dense | None = None

    @property
    def bytes(self) -> int:
        """Memory of all its tensors; one that two layers share counts once."""
        plain: list[Tensor] = [
            parameter for norm in self.norms.values() for parameter in norm.parameters(recurse=False)
        ]
        if self.embedding is not None:
            whole = self.embedding.whole
            plain += [] if whole is None else whole.parameters(recurse=False)
            plain += [tensor for tensor in (self.embedding.a, self.embedding.b) if tensor is not None]
        dense = sum(change.bytes for change in self.stacks.values()) + (self.head.bytes if self.head else 0)
        return dense + sum(tensor.nbytes for tensor in {id(tensor): tensor for tensor in plain}.values())

    def __bool__(self) -> bool:
        return bool(self.stacks or self.norms or self.embedding or self.head)


class Lanes:
    """The lanes in memory, and which rows of the present step are theirs. The layers share this one object."""

    def __init__(self) -> None:
        self.loaded: dict[str, Lane] = {}
        self._rows: Sequence[tuple[Segment, Lane]] = ()
        self._selected: Sequence[tuple[Segment, Lane]] = ()

    def begin(self, rows: Iterable[Segment], selected: Iterable[Segment]) -> None:
        """Set the rows of the next forward, and of those the ones whose logits are computed, each in order."""
        self._rows = [(segment, self.loaded[segment.key]) for segment in rows if segment.key in self.loaded]
        self._selected = [(segment, self.loaded[segment.key]) for segment in selected if segment.key in self.loaded]

    def stacks(self, name: str) -> list[tuple[Segment, StackChange]]:
        """What the lanes of this step have in place of the stack `name`."""
        return [(segment, lane.stacks[name]) for segment, lane in self._rows if name in lane.stacks]

    def norms(self, name: str) -> list[tuple[Segment, nn.Module]]:
        """What they have in place of the norm `name`."""
        return [(segment, lane.norms[name]) for segment, lane in self._rows if name in lane.norms]

    def embeddings(self) -> list[tuple[Segment, EmbeddingChange]]:
        """What they have in place of the embeddings."""
        return [(segment, lane.embedding) for segment, lane in self._rows if lane.embedding is not None]

    def heads(self) -> list[tuple[Segment, Dense]]:
        """What they have in place of the head, by rows of the selection."""
        return [(segment, lane.head) for segment, lane in self._selected if lane.head is not None]


def by_rows(x: Tensor, base: Dense, own: Iterable[tuple[Segment, Dense]]) -> Tensor:
    """(n, in) to (n, out): the rows of each segment by its own map, all others by `base`."""
    pieces: list[Tensor] = []
    at = 0
    for segment, dense in own:
        if segment.start > at:
            pieces.append(base(x[at : segment.start]))
        pieces.append(dense(x[segment.start : segment.end]))
        at = segment.end
    if at < x.shape[0] or not pieces:
        pieces.append(base(x[at:]))
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)
