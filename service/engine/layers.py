"""The layers we put in the place of transformers' own: each knows which rows of the step are whose.

Projections that read the same input (q, k, v; gate, up) are one product over stacked weights. To that come the low-rank
changes of LoRA adapters and the dense ones of lanes, each for its own rows.
"""

import copy
from collections.abc import Generator, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from adapters.weights import WeightChanges
from ragtune.errors import RefusedArtifact
from service.engine.low_rank import LowRank
from service.engine.rows import Dense, EmbeddingChange, Lane, Lanes, StackChange, by_rows

_HEAD_NORMS = ("q_norm", "k_norm")
_HEADS_FIRST = ("gemma3_text",)  # these normalise queries and keys after the heads have come to the front
SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


class Stack:
    """Projections of one input, computed as one product: `names` in the order they are asked for, `sizes` out each."""

    def __init__(self, names: Sequence[str], linears: Sequence[nn.Linear], low_rank: LowRank, lanes: Lanes) -> None:
        self.names = tuple(names)
        self.sizes = [linear.out_features for linear in linears]
        self.in_features = linears[0].in_features
        biases: list[Tensor | None] = [linear.bias for linear in linears]
        self.biases = [None if bias is None else bias.detach() for bias in biases]
        self._base = Dense(torch.cat([linear.weight.detach() for linear in linears]), joined(self.biases))
        self._low_rank = low_rank
        self._lanes = lanes
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

    def change(self, changes: WeightChanges, device: torch.device) -> StackChange | None:
        """What `changes` has in place of this stack, or None."""
        weights = [_fp32(changes.replaced.get(f"{name}.weight")) for name in self.names]
        biases = [_fp32(changes.replaced.get(f"{name}.bias")) for name in self.names]
        own = [base if bias is None else bias for base, bias in zip(self.biases, biases, strict=True)]
        added = self._added(changes, weights)
        if all(weight is not None for weight in weights):
            whole = torch.cat([weight for weight in weights if weight is not None]).to(device)
            return StackChange(Dense(whole, _to(joined(own), device)), (), _to(added, device))
        columns = tuple(
            (slice(sum(self.sizes[:i]), sum(self.sizes[: i + 1])), Dense(weight.to(device), _to(own[i], device)))
            for i, weight in enumerate(weights)
            if weight is not None
        )
        return StackChange(None, columns, _to(added, device)) if columns or added is not None else None

    def _added(self, changes: WeightChanges, weights: Sequence[Tensor | None]) -> Tensor | None:
        """(out,) what comes to the biases where the weight stays the base model's; LoRA's own biases everywhere."""
        parts: list[Tensor] = []
        for name, size, bias, weight in zip(self.names, self.sizes, self.biases, weights, strict=True):
            part = changes.added_biases.get(name, torch.zeros(size))
            replaced = _fp32(changes.replaced.get(f"{name}.bias"))
            if weight is None and replaced is not None:
                part = part + (replaced if bias is None else replaced - bias.cpu())
            parts.append(part)
        added = torch.cat(parts)
        return added if added.any() else None

    def _compute(self, x: Tensor) -> tuple[Tensor, ...]:
        rows = x[0]
        changed = self._lanes.stacks(self.name)
        if changed:
            y = by_rows(rows, self._base, [(segment, c.whole) for segment, c in changed if c.whole is not None])
        else:
            y = self._base(rows)
        for segment, change in changed:
            own = slice(segment.start, segment.end)
            for columns, dense in change.columns:
                y[own, columns] = dense(rows[own])
            if change.added is not None:
                y[own] += change.added
        if self._low_rank.runs:
            self._low_rank.apply(self.name, rows, y)
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


class Norm(nn.Module):
    """Stands where a norm stood: its own for the rows of a lane that changed it. `axis` is that of the rows."""

    def __init__(self, name: str, norm: nn.Module, axis: int, lanes: Lanes) -> None:
        super().__init__()
        self.base = norm
        self._name = name
        self._axis = axis
        self._lanes = lanes

    def forward(self, x: Tensor) -> Tensor:
        """(1, T, ...), or (1, heads, T, ...), to the same shape."""
        y: Tensor = self.base(x)
        for segment, norm in self._lanes.norms(self._name):
            span = (self._axis, segment.start, segment.end - segment.start)
            y.narrow(*span).copy_(norm(x.narrow(*span)))
        return y


class Embedding:
    """The input embeddings; no module, as the runner asks for them itself."""

    def __init__(self, embedding: nn.Module, lanes: Lanes) -> None:
        self.base = embedding
        self._lanes = lanes

    def __call__(self, ids: Tensor) -> Tensor:
        """(1, T) token ids to (1, T, hidden)."""
        y: Tensor = self.base(ids)
        for segment, change in self._lanes.embeddings():
            change.apply(ids[0, segment.start : segment.end], y[0, segment.start : segment.end])
        return y

    def change(self, changes: WeightChanges, device: torch.device) -> EmbeddingChange | None:
        """What `changes` has in place of the embeddings, or None. Some models scale them; so does a change."""
        weight, pair = _fp32(changes.replaced.get("model.embed_tokens.weight")), changes.embedding
        whole = None if weight is None else _with(self.base, weight.to(device))
        if pair is None:
            return EmbeddingChange(whole) if whole is not None else None
        scale = pair.scale * float(getattr(self.base, "embed_scale", 1.0))
        return EmbeddingChange(whole, pair.a.to(device), (pair.b.t() * scale).contiguous().to(device))


class Head(nn.Module):
    """The output head, over the rows that were selected. No low-rank changes here."""

    def __init__(self, linear: nn.Linear, lanes: Lanes) -> None:
        super().__init__()
        self.bias = linear.bias
        self._base = Dense(linear.weight.detach(), linear.bias)
        self._lanes = lanes

    def forward(self, x: Tensor) -> Tensor:
        """(1, n, hidden) to (1, n, vocabulary)."""
        return by_rows(x[0], self._base, self._lanes.heads())[None]

    def change(self, changes: WeightChanges, device: torch.device) -> Dense | None:
        """What `changes` has in place of the head, or None."""
        weight = _fp32(changes.replaced.get("lm_head.weight"))
        return None if weight is None else Dense(weight.to(device), self.bias)


class Layers:
    """All layers of ours in one model, and what an adapter changes of them."""

    def __init__(self, model: nn.Module, low_rank: LowRank, lanes: Lanes) -> None:
        """Put our layers in the place of `model`'s own."""
        self.embedding = Embedding(model.get_input_embeddings(), lanes)  # type: ignore[operator]
        self.head = Head(model.lm_head, lanes)  # type: ignore[arg-type]
        model.lm_head = self.head
        self.stacks: dict[str, Stack] = {}  # of each linear layer by its full name
        self.norms: dict[str, Norm] = {}
        self._heads_first = str(model.config.model_type) in _HEADS_FIRST  # type: ignore[union-attr]
        for path, parent in list(model.named_modules()):
            if path and not isinstance(parent, (Projection, Norm)):
                self._install(path, parent, low_rank, lanes)

    @cached_property
    def parameters(self) -> frozenset[str]:
        """The names of all parameters that a lane may have its own of."""
        linears = [f"{name}.{part}" for name in self.stacks for part in ("weight", "bias")]
        norms = [f"{name}.weight" for name in self.norms]
        return frozenset([*linears, *norms, "model.embed_tokens.weight", "lm_head.weight"])

    def lane(self, changes: WeightChanges, device: torch.device) -> Generator[None, None, Lane]:
        """The dense changes among `changes`, on `device`; a pause after each layer.

        Raises RefusedArtifact for a tensor that no layer here takes.
        """
        for parameter in changes.replaced:
            if parameter not in self.parameters:
                raise RefusedArtifact(f"it carries {parameter}, which no layer of this base model takes")
        stacks: dict[str, StackChange] = {}
        for stack in {id(stack): stack for stack in self.stacks.values()}.values():
            change = stack.change(changes, device)
            if change is not None:
                stacks[stack.name] = change
                yield
        norms = {
            name: _with(norm.base, changes.replaced[f"{name}.weight"].float().to(device))
            for name, norm in self.norms.items()
            if f"{name}.weight" in changes.replaced
        }
        embedding = self.embedding.change(changes, device)
        yield
        return Lane(stacks, norms, embedding, self.head.change(changes, device))

    def _install(self, path: str, parent: nn.Module, low_rank: LowRank, lanes: Lanes) -> None:
        linears = {name: child for name, child in parent.named_children() if type(child) is nn.Linear}
        for family in _families(linears):
            stack = Stack([f"{path}.{name}" for name in family], [linears[name] for name in family], low_rank, lanes)
            for index, name in enumerate(family):
                setattr(parent, name, Projection(stack, index))
                self.stacks[f"{path}.{name}"] = stack
        for name, child in list(parent.named_children()):
            if "norm" in name and any(True for _ in child.parameters(recurse=False)):
                axis = 2 if name in _HEAD_NORMS and self._heads_first else 1
                self.norms[f"{path}.{name}"] = norm = Norm(f"{path}.{name}", child, axis, lanes)
                setattr(parent, name, norm)


def joined(biases: Sequence[Tensor | None]) -> Tensor | None:
    """The biases of a stack as one; all of its layers have one or none has."""
    present = [bias for bias in biases if bias is not None]
    return torch.cat(present) if present else None


def _with(module: nn.Module, weight: Tensor) -> nn.Module:
    """The same module with another weight, sharing everything else.

    The weight is copied: as it was read, it would keep the whole file it comes from in memory.
    """
    changed = copy.copy(module)
    changed._parameters = {**module._parameters, "weight": nn.Parameter(weight.clone(), requires_grad=False)}
    return changed


def _fp32(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.float()


def _to(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    return None if tensor is None else tensor.to(device)


def _families(children: Mapping[str, nn.Linear]) -> list[tuple[str, ...]]:
    families = [family for family in SIBLINGS if all(name in children for name in family)]
    taken = {name for family in families for name in family}
    return families + [(name,) for name in children if name not in taken]
