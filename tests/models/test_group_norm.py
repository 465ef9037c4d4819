"""Group norm: torch's own, with a backward pass of its own where training is in bfloat16 on the CPU."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from brainmtl.models import create_multi_task_model
from brainmtl.models.group_norm import GroupNorm, _InSums

GROUPS = 4


def inputs(
    dtype: torch.dtype, side: int = 12, mean: float = 1
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x of SD 2, weight, bias and the gradient of y; weights are never in bfloat16."""
    generator = torch.Generator().manual_seed(0)
    x, dy = torch.randn(2, 3, 16, side, side + 1, generator=generator, dtype=torch.float64)
    weight, bias = torch.rand(2, 16, generator=generator, dtype=torch.float64) + 0.5
    x = (2 * x + mean).to(dtype).contiguous(memory_format=torch.channels_last)
    wide = torch.promote_types(dtype, torch.float32)
    found = (x, weight.to(wide), bias.to(wide))
    return *(value.requires_grad_() for value in found), dy.to(dtype)


def reference(x: Tensor, weight: Tensor, bias: Tensor, dy: Tensor) -> tuple[Tensor, ...]:
    """Gradients by torch in float64."""
    wide = [value.detach().double().requires_grad_() for value in (x, weight, bias)]
    return torch.autograd.grad(F.group_norm(wide[0], GROUPS, *wide[1:]), wide, dy.double())


def test_gradients_are_those_of_finite_differences() -> None:
    *values, _ = inputs(torch.float64, side=3)
    assert torch.autograd.gradcheck(lambda *given: _InSums.apply(*given, GROUPS, 1e-5), values)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_gradients_are_those_of_torch(layout: torch.memory_format) -> None:
    x, weight, bias, dy = inputs(torch.float64)
    x = x.detach().contiguous(memory_format=layout).requires_grad_()
    y = _InSums.apply(x, weight, bias, GROUPS, 1e-5)
    torch.testing.assert_close(y, F.group_norm(x, GROUPS, weight, bias), rtol=0, atol=0)
    for found, expected in zip(
        torch.autograd.grad(y, (x, weight, bias), dy), reference(x, weight, bias, dy), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mean", [0, 1, 30])
def test_in_bfloat16_they_err_by_its_rounding(mean: float) -> None:
    x, weight, bias, dy = inputs(torch.bfloat16, mean=mean)
    y = _InSums.apply(x, weight, bias, GROUPS, 1e-5)
    found = torch.autograd.grad(y, (x, weight, bias), dy)
    assert [value.dtype for value in found] == [torch.bfloat16, torch.float32, torch.float32]
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    for own, exact in zip(found, reference(x, weight, bias, dy), strict=True):
        error = (own - exact).square().mean().sqrt() / exact.square().mean().sqrt()
        assert error < 0.004  # a number in bfloat16 has 8 bits: 2**-8


@pytest.mark.parametrize(
    ("dtype", "side", "training", "grad", "own"),
    [
        (torch.bfloat16, 32, True, True, True),
        (torch.bfloat16, 31, True, True, False),
        (torch.float32, 32, True, True, False),
        (torch.bfloat16, 32, False, True, False),
        (torch.bfloat16, 32, True, False, False),
    ],
    ids=["training", "small", "float32", "evaluation", "no gradient"],
)
def test_where_it_is_used(
    dtype: torch.dtype, side: int, training: bool, grad: bool, own: bool
) -> None:
    x, _, _, _ = inputs(dtype, side)
    norm = GroupNorm(GROUPS, 16).train(training)
    with torch.set_grad_enabled(grad):
        y = norm(x)
    assert (y.grad_fn is not None and "_InSums" in type(y.grad_fn).__name__) == own
    assert torch.equal(y, F.group_norm(x, GROUPS, norm.weight, norm.bias))


@pytest.mark.parametrize("kind", ["strided", "without weights", "three axes"])
def test_what_it_cannot_do_is_left_to_torch(kind: str) -> None:
    x, _, _, _ = inputs(torch.bfloat16, 64)
    x = x.detach()
    norm = GroupNorm(GROUPS, 16, affine=kind != "without weights").train()
    if kind == "strided":
        x = x[..., ::2]
    elif kind == "three axes":
        x = x[..., 0].contiguous()
    x.requires_grad_()
    y = norm(x)
    assert torch.equal(y, F.group_norm(x, GROUPS, norm.weight, norm.bias))
    y.sum().backward()
    assert x.grad is not None


def test_frozen_weights_get_no_gradient() -> None:
    x, _, _, _ = inputs(torch.bfloat16, 32)
    norm = GroupNorm(GROUPS, 16).train().requires_grad_(False)
    norm(x).float().square().sum().backward()
    assert x.grad.any() and norm.weight.grad is None and norm.bias.grad is None


def test_a_network_trains_with_it_as_with_torch_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradients of a whole default network agree as far as bfloat16 lets them."""
    gradients = []
    for _ in range(2):
        torch.manual_seed(0)
        model = create_multi_task_model(norm="group", stem="space_to_depth_4", base_filters=16)
        images = torch.randn(4, 1, 128, 128).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            output = model.to(memory_format=torch.channels_last).train()(images)
        (output.seg.float().square().mean() + output.cls.float().square().mean()).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
        monkeypatch.setattr(GroupNorm, "forward", torch.nn.GroupNorm.forward)
    own, torchs = gradients
    assert not torch.equal(own, torchs)
    assert F.cosine_similarity(own, torchs, dim=0) > 0.99
