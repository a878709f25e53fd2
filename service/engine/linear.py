"""Linear layers that serve several LoRA adapters at once.

The rows of a step are sorted by adapter, so each adapter owns one segment [a, b). The base product is computed once for
all rows; then y[a:b] += (x[a:b] A) B, with the scale folded into B (Hu et al. 2021, equation 3, for each segment).

Two things make it cheap. Projections that read the same input (q, k, v; gate, up) are one product over stacked weights.
And segments of equal length that stand side by side are one batched product over stacked adapters, without moving a
row; the scheduler orders segments by length so that equal ones meet (in decoding most are equal).
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adapters.packed_linear import can_pack, pack, packed_linear

SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
_REPEATS = 4  # a segment this many times as long as its neighbour still joins its batched product
_STACKS = 8  # combinations of adapters kept stacked


@dataclass(frozen=True)
class Delta:
    """One adapter's change of one stack of projections: x (n, in) @ a (in, r) @ b (r, out), scale folded into b."""

    a: Tensor
    b: Tensor


@dataclass(frozen=True)
class Segment:
    """Rows `start` to `end` of the pack belong to adapter `key`."""

    key: str
    start: int
    end: int


@dataclass(frozen=True)
class Run:
    """Rows `start` to `end`, `rows` for each of `keys` in turn; a longer segment's key is repeated."""

    keys: tuple[str, ...]
    start: int
    end: int
    rows: int


class Adapters:
    """The adapters in memory, and which rows of the present step are whose. The layers share this one object."""

    def __init__(self) -> None:
        self.loaded: dict[str, Mapping[str, Delta]] = {}
        self.runs: list[Run] = []
        self._stacks: OrderedDict[tuple[str, ...], dict[str, Delta]] = OrderedDict()

    def begin(self, segments: Iterable[Segment]) -> None:
        """Set the rows of the next forward; `segments` in the order of their rows."""
        self.runs = []
        for segment in segments:
            rows = segment.end - segment.start
            last = self.runs[-1] if self.runs else None
            if last and last.end == segment.start and rows % last.rows == 0 and rows // last.rows <= _REPEATS:
                keys = last.keys + (segment.key,) * (rows // last.rows)
                self.runs[-1] = Run(keys, last.start, segment.end, last.rows)
            else:
                self.runs.append(Run((segment.key,), segment.start, segment.end, rows))

    def remove(self, key: str) -> None:
        """Drop an adapter and every copy of its tensors."""
        del self.loaded[key]
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


class Stack:
    """Projections of one input, computed as one product: `names` in the order they are asked for, `sizes` out each."""

    def __init__(self, names: Sequence[str], linears: Sequence[nn.Linear], adapters: Adapters) -> None:
        self.names = tuple(names)
        self.sizes = [linear.out_features for linear in linears]
        self.in_features = linears[0].in_features
        weight = torch.cat([linear.weight.detach() for linear in linears])
        biases: list[Tensor | None] = [linear.bias for linear in linears]
        self.bias = None if biases[0] is None else torch.cat([bias.detach() for bias in biases if bias is not None])
        self.packed = pack(weight) if can_pack(weight) else None
        self.weight = weight if self.packed is None else None
        self._adapters = adapters
        self._input: Tensor | None = None
        self._output: tuple[Tensor, ...] = ()

    @property
    def name(self) -> str:
        """The name adapters know this stack by."""
        return self.names[0]

    def part(self, x: Tensor, index: int) -> Tensor:
        """The `index`-th projection of x (1, T, in). All parts of one input are computed with the first asked for."""
        if x is not self._input:
            self._input, self._output = x, self._compute(x)
        part = self._output[index]
        if index == len(self.sizes) - 1:
            self._input, self._output = None, ()
        return part

    def _compute(self, x: Tensor) -> tuple[Tensor, ...]:
        rows = x[0]
        if self.packed is not None:
            y = packed_linear(rows, self.packed, self.bias)
        else:
            assert self.weight is not None
            y = nn.functional.linear(rows, self.weight, self.bias)
        if self._adapters.runs:
            self._adapters.apply(self.name, rows, y)
        return torch.split(y[None], self.sizes, dim=-1)


class Projection(nn.Module):
    """Stands in the model where an `nn.Linear` stood; its stack does the work."""

    def __init__(self, stack: Stack, index: int) -> None:
        super().__init__()
        self._stack = stack
        self._index = index

    def forward(self, x: Tensor) -> Tensor:
        """(1, T, in) to (1, T, out)."""
        return self._stack.part(x, self._index)


class Head(nn.Module):
    """The output head: no adapters here, as its rows are a selection of the pack."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.packed = pack(linear.weight) if can_pack(linear.weight) else None
        self.weight = None if self.packed is not None else linear.weight
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """(1, n, hidden) to (1, n, vocabulary)."""
        if self.packed is not None:
            return packed_linear(x, self.packed, self.bias)
        assert self.weight is not None
        return nn.functional.linear(x, self.weight, self.bias)


def install(model: nn.Module, adapters: Adapters) -> dict[str, Stack]:
    """Replace every linear layer of the decoder; returns the stack of each replaced module by its full name."""
    stacks: dict[str, Stack] = {}
    for path, parent in list(model.named_modules()):
        children = {name: child for name, child in parent.named_children() if type(child) is nn.Linear}
        if path == "":
            continue  # the head, replaced apart
        for family in _families(children):
            stack = Stack([f"{path}.{name}" for name in family], [children[name] for name in family], adapters)
            for index, name in enumerate(family):
                setattr(parent, name, Projection(stack, index))
                stacks[f"{path}.{name}"] = stack
    return stacks


def stack_deltas(
    pairs: Mapping[str, tuple[Tensor, Tensor, float]], stacks: Mapping[str, Stack], device: torch.device
) -> dict[str, Delta]:
    """An adapter's (A (r, in), B (out, r), scale) by module, as one Delta a stack; B becomes block-diagonal."""
    deltas = {}
    for stack in {id(stacks[name]): stacks[name] for name in pairs}.values():
        members = [(i, pairs[name]) for i, name in enumerate(stack.names) if name in pairs]
        rank = sum(a.shape[0] for _, (a, _, _) in members)
        a_all = torch.empty(stack.in_features, rank, dtype=torch.float32)
        b_all = torch.zeros(rank, sum(stack.sizes), dtype=torch.float32)
        at = 0
        for i, (a, b, scale) in members:
            out = sum(stack.sizes[:i])
            a_all[:, at : at + a.shape[0]] = a.t().float()
            b_all[at : at + a.shape[0], out : out + stack.sizes[i]] = b.t().float() * scale
            at += a.shape[0]
        deltas[stack.name] = Delta(a_all.to(device), b_all.to(device))
    return deltas


def _families(children: Mapping[str, nn.Linear]) -> list[tuple[str, ...]]:
    families = [family for family in SIBLINGS if all(name in children for name in family)]
    taken = {name for family in families for name in family}
    return families + [(name,) for name in children if name not in taken]
