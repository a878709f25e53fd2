"""Frozen fp32 linear layers on oneDNN's packed weights.

torch's own fp32 linear calls MKL, which reaches less than half of what an AMD processor can do; oneDNN on weights
packed once reaches 1.8 to 4 times MKL here (docs/log.md). Packing copies the weight, so the original should be let go.
Serving needs the forward only; training through a frozen layer needs the gradient of its input, and so a second,
transposed copy. Where the kernel cannot be used (a GPU, another dtype, a torch without oneDNN) nothing is packed and
`can_pack` says so.
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
    """`x @ weight.T + bias` for x of shape (..., in)."""
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return y


class _FrozenLinear(torch.autograd.Function):
    """Forward with the packed weight, backward to the input with the packed transpose; the weight gets no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, packed: Tensor, transposed: Tensor, bias: Tensor | None) -> Tensor:
        ctx.transposed = transposed
        return packed_linear(x, packed, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return packed_linear(gradients[0].contiguous(), ctx.transposed, None), None, None, None


class FrozenLinear(nn.Linear):
    """A drop-in for a frozen `nn.Linear` that trains through: same weight and name, faster forward and backward.

    The weight stays where it was, so saving, merging and PEFT's wrapping see an ordinary linear layer.
    """

    packed: Tensor
    transposed: Tensor

    @classmethod
    def of(cls, linear: nn.Linear) -> "FrozenLinear":
        """Wrap `linear`, sharing its parameters, which stop requiring gradients. The weight must satisfy `can_pack`."""
        frozen = cls(1, 1, bias=linear.bias is not None, device="meta")
        frozen.in_features, frozen.out_features = linear.in_features, linear.out_features
        frozen.weight, frozen.bias = linear.weight.requires_grad_(False), linear.bias
        frozen.packed, frozen.transposed = pack(linear.weight), pack(linear.weight.detach().t().contiguous())
        return frozen

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - nn.Linear names it so
        """`input` of shape (..., in) to (..., out)."""
        y: Tensor = _FrozenLinear.apply(input, self.packed, self.transposed, self.bias)  # type: ignore[no-untyped-call]
        return y


def pack_frozen(model: nn.Module) -> int:
    """Replace every `nn.Linear` of a fully frozen `model` by a `FrozenLinear`; returns how many. Call before PEFT."""
    found = [
        (module, name, child)
        for module in model.modules()
        for name, child in module.named_children()
        if type(child) is nn.Linear and can_pack(child.weight)
    ]
    for module, name, child in found:
        setattr(module, name, FrozenLinear.of(child))
    return len(found)
