"""Packed linear layers compute what nn.Linear computes, forwards and backwards."""

import pytest
import torch
from torch import nn

from adapters.packed_linear import FrozenLinear, can_pack, pack, pack_frozen, packed_linear

needs_onednn = pytest.mark.skipif(not can_pack(torch.zeros(1, 1)), reason="this torch has no oneDNN packed linear")


@needs_onednn
@pytest.mark.parametrize("rows", [1, 3, 32, 257])
@pytest.mark.parametrize("bias", [True, False])
def test_packed_forward_and_input_gradient_equal_linear(rows: int, bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(48, 80, bias=bias)
    x = torch.randn(2, rows, 48, requires_grad=True)
    expected = linear(x)
    (expected_gradient,) = torch.autograd.grad(expected.square().sum(), x)
    frozen = FrozenLinear.of(linear)
    y = frozen(x)
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-4, rtol=1e-5)


@needs_onednn
def test_rows_of_one_batch_do_not_depend_on_each_other() -> None:
    torch.manual_seed(0)
    packed, x = pack(torch.randn(80, 48)), torch.randn(64, 48)
    other = x.clone()
    other[1:] = 100.0
    assert torch.equal(packed_linear(x, packed, None)[0], packed_linear(other, packed, None)[0])


@needs_onednn
def test_packing_a_model_keeps_names_weights_and_output() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).requires_grad_(False)
    x, names = torch.randn(5, 8), list(model.state_dict())
    expected = model(x)
    assert pack_frozen(model) == 2
    assert list(model.state_dict()) == names
    torch.testing.assert_close(model(x), expected, atol=1e-6, rtol=1e-5)


@needs_onednn
def test_a_frozen_layer_takes_no_memory_of_its_own() -> None:
    linear = nn.Linear(48, 80)
    frozen = FrozenLinear.of(linear)
    assert frozen.weight is linear.weight and not frozen.weight.requires_grad
    frozen(torch.randn(3, 48, requires_grad=True)).sum().backward()
    assert frozen.weight.grad is None and [name for name, _ in frozen.named_parameters()] == ["weight", "bias"]
    assert not any(isinstance(value, torch.Tensor) for value in vars(frozen).values())


@needs_onednn
def test_layers_that_learn_are_left_as_they_are() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 4)).requires_grad_(False)
    model[1].requires_grad_(True)
    assert pack_frozen(model) == 2 and type(model[1]) is nn.Linear
