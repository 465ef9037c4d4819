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
        trained = self.training and torch.is_grad_enabled()
        if trained and x.is_cpu and x.dtype is torch.bfloat16 and x.shape[2] * x.shape[3] >= _LARGE:
            return _InSums.apply(x, self.weight, self.bias, self.num_groups, self.eps)
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class _InSums(torch.autograd.Function):
    """torch's forward pass, and the same gradients from two sums over each channel.

    torch 2.13's own kernel takes 20 times as long as its forward pass where channels lie last in bfloat16,
    this half of that (benchmarks/group_norm.py).
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
        # All that follows but the last line is of (B, G) or (B, G, C / G): small.
        mean, rstd = mean.to(sums)[..., None], rstd.to(sums)[..., None]
        scale = weight.to(sums).view(1, *by_group[1:])
        total = dy.sum((2, 3), dtype=sums).view(by_group)
        product = (dy * x).sum((2, 3), dtype=sums).view(by_group)
        # y = scale * (x - mean) * rstd + bias, where mean and rstd depend on x too.
        centred = (product - total * mean) * rstd
        count = channels // groups * height * width
        slope = -(scale * centred).sum(2, keepdim=True) * rstd**2 / count
        offset = -slope * mean - (scale * total).sum(2, keepdim=True) * rstd / count
        per_channel = (
            value.expand(by_group).reshape(images, channels, 1, 1).to(x.dtype)
            for value in (offset, slope, scale * rstd)
        )
        offset, slope, factor = per_channel
        dx = torch.addcmul(offset, x, slope).addcmul_(dy, factor)
        return dx, centred.sum(0).view(-1), total.sum(0).view(-1), None, None
