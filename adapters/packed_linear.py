"""Frozen fp32 linear layers on oneDNN's packed weights.

torch's own fp32 linear calls MKL, which reaches less than half of what an AMD processor can do; oneDNN on weights
packed once reaches 1.8 to 4 times MKL here (docs/log.md). Packing copies the weight, so the original should be let go.
Serving needs the forward only; training through a frozen layer needs the gradient of its input, and so a second,
transposed copy, which is made when a gradient first passes: below the lowest trained layer none does. Where the kernel
cannot be used (a GPU, another dtype, a torch without oneDNN) nothing is packed and `can_pack` says so.
"""

from functools import cached_property
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
    """`x @ weight.T + bias` for x of shape (..., in)."""
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return y


class _FrozenLinear(torch.autograd.Function):
    """Forward with the packed weight, backward to the input with the packed transpose; the weight gets no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: "FrozenLinear") -> Tensor:
        ctx.layer = layer
        return packed_linear(x, layer.packed, layer.bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return packed_linear(gradients[0].contiguous(), ctx.layer.transposed, None), None


class FrozenLinear(nn.Linear):
    """A drop-in for a frozen `nn.Linear` that trains through: same name and shapes, faster forward and backward.

    Unless it is to keep its weight, the packed copy is the only one: `weight` has its shape, takes no memory and is all
    NaN, so that whatever reads it by mistake shows; `dense` unpacks it.
    """

    packed: Tensor

    @classmethod
    def of(cls, linear: nn.Linear, *, keep_weight: bool = False) -> "FrozenLinear":
        """Wrap `linear`, whose weight must satisfy `can_pack`; its parameters stop requiring gradients."""
        frozen = cls(1, 1, bias=linear.bias is not None, device="meta")
        frozen.in_features, frozen.out_features = linear.in_features, linear.out_features
        frozen.packed = pack(linear.weight)
        nothing = torch.full((1,), torch.nan).expand(linear.weight.shape)
        frozen.weight = linear.weight if keep_weight else nn.Parameter(nothing)
        frozen.bias = linear.bias
        return frozen.requires_grad_(False)

    @cached_property
    def transposed(self) -> Tensor:
        """The packed transpose, for the gradient of the input."""
        return pack(self.dense().t().contiguous())

    def dense(self) -> Tensor:
        """The weight (out, in) as it was before packing, bit by bit."""
        return self.packed.to_dense()

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - nn.Linear names it so
        """`input` of shape (..., in) to (..., out)."""
        y: Tensor = _FrozenLinear.apply(input, self)  # type: ignore[no-untyped-call]
        return y


def pack_frozen(model: nn.Module, *, keep_weights: bool = False) -> int:
    """Replace every frozen `nn.Linear` of `model` by a `FrozenLinear`; returns how many. Call before PEFT.

    With `keep_weights` the unpacked weights stay beside the packed ones, for methods that read them (DoRA).
    """
    found = [
        (module, name, child)
        for module in model.modules()
        for name, child in module.named_children()
        if type(child) is nn.Linear
        and not any(parameter.requires_grad for parameter in child.parameters())
        and can_pack(child.weight)
    ]
    while found:  # popped, so that each original goes as soon as it is packed
        module, name, child = found.pop()
        setattr(module, name, FrozenLinear.of(child, keep_weight=keep_weights))
        del child
    return sum(isinstance(module, FrozenLinear) for module in model.modules())
