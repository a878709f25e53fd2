"""The low-rank changes of several LoRA adapters at once.

The rows of a step are sorted by adapter, so each adapter owns one segment [a, b). The base product is computed once for
all rows; then y[a:b] += (x[a:b] A) B, with the scale folded into B (Hu et al. 2021, equation 3, for each segment).

Two things make it cheap. Projections that read the same input (q, k, v; gate, up) are one product over stacked weights.
And segments of equal length that stand side by side are one batched product over stacked adapters, without moving a
row; the scheduler orders segments by length so that equal ones meet (in decoding most are equal).
"""

from collections import OrderedDict
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from adapters.weights import LoraPair
from service.engine.rows import Segment

_REPEATS = 4  # a segment this many times as long as its neighbour still joins its batched product
_STACKS = 8  # combinations of adapters kept stacked


@dataclass(frozen=True)
class Delta:
    """One adapter's change of one stack of projections: x (n, in) @ a (in, r) @ b (r, out), scale folded into b."""

    a: Tensor
    b: Tensor


@dataclass(frozen=True)
class Run:
    """Rows `start` to `end`, `rows` for each of `keys` in turn; a longer segment's key is repeated."""

    keys: tuple[str, ...]
    start: int
    end: int
    rows: int


class LowRank:
    """The adapters in memory, and which rows of the present step are whose. The layers share this one object."""

    def __init__(self) -> None:
        self.loaded: dict[str, Mapping[str, Delta]] = {}
        self.runs: list[Run] = []
        self._stacks: OrderedDict[tuple[str, ...], dict[str, Delta]] = OrderedDict()

    @property
    def stacked_bytes(self) -> int:
        """Memory of the stacked copies."""
        return sum(delta.a.nbytes + delta.b.nbytes for stacks in self._stacks.values() for delta in stacks.values())

    def begin(self, segments: Iterable[Segment]) -> None:
        """Set the rows of the next forward; `segments` in the order of their rows, those without a LoRA ignored."""
        self.runs = []
        for segment in segments:
            if segment.key not in self.loaded:
                continue
            rows = segment.end - segment.start
            last = self.runs[-1] if self.runs else None
            if last and last.end == segment.start and rows % last.rows == 0 and rows // last.rows <= _REPEATS:
                keys = last.keys + (segment.key,) * (rows // last.rows)
                self.runs[-1] = Run(keys, last.start, segment.end, last.rows)
            else:
                self.runs.append(Run((segment.key,), segment.start, segment.end, rows))

    def remove(self, key: str) -> None:
        """Drop an adapter and every copy of its tensors."""
        self.loaded.pop(key, None)
        for keys in [keys for keys in self._stacks if key in keys]:
            del self._stacks[keys]

    def apply(self, name: str, x: Tensor, y: Tensor) -> None:
        """Add the adapters' changes of the stack `name` to y (T, out), for input x (T, in), in place."""
        for run in self.runs:
            own_x, own_y = x[run.start : run.end], y[run.start : run.end]
            if len(run.keys) == 1:
                delta = self.loaded[run.keys[0]].get(name)
                if delta is not None:
                    own_y.addmm_(own_x @ delta.a, delta.b)
                continue
            delta = self._stacked(run.keys, name, x.shape[1], y)
            n = len(run.keys)
            if delta.a.shape[2]:
                own_y.view(n, -1, y.shape[1]).baddbmm_(torch.bmm(own_x.view(n, -1, x.shape[1]), delta.a), delta.b)

    def _stacked(self, keys: tuple[str, ...], name: str, width: int, y: Tensor) -> Delta:
        """The changes of `keys` as (n, in, r) and (n, r, out); a smaller rank is padded with zeros."""
        stacks = self._stacks.setdefault(keys, {})
        if name not in stacks:
            found = [self.loaded[key].get(name) for key in keys]
            rank = max((delta.a.shape[1] for delta in found if delta), default=0)
            a, b = y.new_zeros(len(keys), width, rank), y.new_zeros(len(keys), rank, y.shape[1])
            for i, delta in enumerate(found):
                if delta is not None:
                    a[i, :, : delta.a.shape[1]] = delta.a
                    b[i, : delta.b.shape[0]] = delta.b
            stacks[name] = Delta(a, b)
            while len(self._stacks) > _STACKS:
                self._stacks.popitem(last=False)
        return stacks[name]


class Layout(Protocol):
    """How projections stand side by side in one stack."""

    names: tuple[str, ...]
    sizes: list[int]
    in_features: int

    @property
    def name(self) -> str:
        """The name adapters know the stack by."""


def stack_deltas(
    pairs: Mapping[str, LoraPair], stacks: Mapping[str, Layout], device: torch.device
) -> Generator[None, None, dict[str, Delta]]:
    """An adapter's pairs by module as one Delta a stack; B becomes block-diagonal. A pause after each stack."""
    deltas = {}
    for stack in {id(stacks[name]): stacks[name] for name in pairs}.values():
        members = [(i, pairs[name]) for i, name in enumerate(stack.names) if name in pairs]
        rank = sum(pair.a.shape[0] for _, pair in members)
        a_all = torch.empty(stack.in_features, rank, dtype=torch.float32)
        b_all = torch.zeros(rank, sum(stack.sizes), dtype=torch.float32)
        at = 0
        for i, pair in members:
            a, b = pair.a, pair.b
            out = sum(stack.sizes[:i])
            a_all[:, at : at + a.shape[0]] = a.t().float()
            b_all[at : at + a.shape[0], out : out + stack.sizes[i]] = b.t().float() * pair.scale
            at += a.shape[0]
        deltas[stack.name] = Delta(a_all.to(device), b_all.to(device))
        yield
    return deltas
