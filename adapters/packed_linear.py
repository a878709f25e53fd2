"""Frozen fp32 linear layers on oneDNN's kernels.

torch's own fp32 linear calls MKL, which on an AMD processor is slower; by how much depends on MKL's version and the
rows: oneDNN reaches 1.1 to 4 times MKL here (docs/log.md). Where the kernel cannot be used (a GPU, another dtype, a
torch without oneDNN) `can_pack` says so.

Serving multiplies few rows at a time, and so packs each weight once into oneDNN's own layout; that copies it, and the
original should be let go. Training multiplies hundreds of rows, beside which oneDNN's reading of a plain weight, or of
its transpose, costs 2 to 4 %: there the weights stay as they are, mapped from their file, without a copy.
"""

from typing import Any

import torch
from torch import Tensor, nn

_ROWS_HINT = 32  # the layout oneDNN chooses for this many rows was the fastest or within noise from 1 to 512 rows


def can_pack(weight: Tensor) -> bool:
    """Whether oneDNN's packed kernel takes this weight."""
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )


def pack(weight: Tensor) -> Tensor:
    """An opaque packed copy of a (out, in) weight; only `packed_linear` can read it."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _ROWS_HINT)
    return packed


def packed_linear(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """`x @ weight.T + bias` for x of shape (..., in); the weight is best packed, but may be a plain strided one."""
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return y


class _FrozenLinear(torch.autograd.Function):
    """Forward with the weight, backward to the input with its transpose; the weight itself gets no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.weight = weight  # the parameter itself, not a saved tensor: it does not change while it is frozen
        return packed_linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return packed_linear(gradients[0].contiguous(), ctx.weight.t(), None), None, None


class FrozenLinear(nn.Linear):
    """A drop-in for a frozen `nn.Linear` that trains through: same weight and name, oneDNN's forward and backward.

    The weight stays where it was, so saving, merging and PEFT's wrapping see an ordinary linear layer.
    """

    @classmethod
    def of(cls, linear: nn.Linear) -> "FrozenLinear":
        """Wrap `linear`, sharing its parameters, which stop requiring gradients. The weight must satisfy `can_pack`."""
        frozen = cls(1, 1, bias=linear.bias is not None, device="meta")
        frozen.in_features, frozen.out_features = linear.in_features, linear.out_features
        frozen.weight, frozen.bias = linear.weight, linear.bias
        return frozen.requires_grad_(False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - nn.Linear names it so
        """`input` of shape (..., in) to (..., out)."""
        y: Tensor = _FrozenLinear.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return y


def pack_frozen(model: nn.Module) -> int:
    """Replace every frozen `nn.Linear` of `model` by a `FrozenLinear`; returns how many. Call before PEFT."""
    found = [
        (module, name, child)
        for module in model.modules()
        for name, child in module.named_children()
        if type(child) is nn.Linear
        and not any(parameter.requires_grad for parameter in child.parameters())
        and can_pack(child.weight)
    ]
    for module, name, child in found:
        setattr(module, name, FrozenLinear.of(child))
    return len(found)
