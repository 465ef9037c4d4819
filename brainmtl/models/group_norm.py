"""Group normalisation whose backward pass does not hold up a training in bfloat16 on the CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_LARGE = 32 * 32  # pixels of a map; on smaller ones torch's own backward pass is the faster one


class GroupNorm(nn.GroupNorm):
    """Wu and He (2018), as torch has it: (B, C, H, W) -> (B, C, H, W).

    Large maps that are trained in bfloat16 on the CPU go backward through :class:`_InSums`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over the groups of channels of each image."""
        if self.training and torch.is_grad_enabled() and self.affine and _fits(x):
            return _InSums.apply(x, self.weight, self.bias, self.num_groups, self.eps)
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


def _fits(x: Tensor) -> bool:
    """Whether :class:`_InSums` computes it, and faster than torch."""
    return (
        x.is_cpu
        and x.dtype is torch.bfloat16
        and x.ndim == 4
        and x.shape[2] * x.shape[3] >= _LARGE
        and (x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last))
    )


class _InSums(torch.autograd.Function):
    """torch's forward pass, and its gradients from two sums over each channel.

    torch 2.13's own kernel takes 20 times as long as its forward pass where channels lie last in bfloat16,
    this two thirds of that (benchmarks/group_norm.py). Products and coefficients are rounded to x's type: in
    bfloat16 the gradients err by its rounding, where torch's err by that of the result alone.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float
    ) -> Tensor:
        images, channels, height, width = x.shape
        y, mean, rstd = torch.native_group_norm(
            x, weight, bias, images, channels, height * width, groups, eps
        )
        ctx.save_for_backward(x, weight, mean, rstd)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, rstd = ctx.saved_tensors
        images, channels, height, width = x.shape
        groups = mean.shape[1]
        sums = torch.promote_types(x.dtype, torch.float32)
        by_group = (images, groups, channels // groups)

        def per_channel(value: Tensor) -> Tensor:
            return value.expand(by_group).reshape(images, channels, 1, 1).to(x.dtype)

        mean, rstd = mean.to(sums)[..., None], rstd.to(sums)[..., None]
        # A product with x itself would round away what is small beside a large mean.
        rounded = per_channel(mean)
        left = rounded.view(by_group).to(sums) - mean
        centred = x - rounded
        total = dy.sum((2, 3), dtype=sums).view(by_group)
        product = (dy * centred).sum((2, 3), dtype=sums).view(by_group) + left * total
        # From here on (B, G, C / G), small: y = scale * (x - mean) * rstd + bias, with mean and rstd of x.
        scale = weight.to(sums).view(1, *by_group[1:])
        count = channels // groups * height * width
        slope = -(scale * product).sum(2, keepdim=True) * rstd**3 / count
        offset = slope * left - (scale * total).sum(2, keepdim=True) * rstd / count
        dx = torch.addcmul(per_channel(offset), centred, per_channel(slope), out=centred)
        dx = dx.addcmul_(dy, per_channel(scale * rstd))
        return dx, (product * rstd).sum(0).view(-1), total.sum(0).view(-1), None, None
