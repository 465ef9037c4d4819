"""Gradient surgery (PCGrad; Yu et al. 2020, arXiv:2001.06782) on the shared encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from brainmtl.training.balance.base import Balance, Step, flat_gradient
from brainmtl.training.losses import LossParts


class PCGrad(Balance):
    """L = L_seg + lambda_cls * L_cls, with the tasks' conflict taken out of the encoder's gradient.

    Where the gradients of two tasks point against each other (negative inner product), each loses
    its component along the other before they are added. Decoder and head have one task each and keep
    its gradient. With gradient accumulation every batch is corrected by itself.

    The scale that float16 needs multiplies all gradients alike, and so the correction too: it is
    divided out before clipping as ever, and an overflow is not finite after the correction either,
    so that the step is left out. Costs a second backward pass through the encoder.
    """

    several_devices = False

    def weigh(self, parts: LossParts) -> LossParts:
        """The parts as they are: lambda_cls is in the total, and so in the gradients."""
        return parts

    def backward(self, loss: Tensor, step: Step) -> None:
        """Gradients of every task by itself, corrected on ``step.shared``, into ``.grad``."""
        if len(step.losses) < 2 or not step.shared:
            loss.backward()
            return
        nodes = [*step.losses.values(), *step.others]
        # How the loss depends on each summand: lambda_cls, 1 / accumulated batches, float16's scale.
        scales = torch.autograd.grad(loss, nodes, retain_graph=True)
        shared: list[Tensor] = []
        for k, (node, scale) in enumerate(zip(nodes, scales, strict=True)):
            found = torch.autograd.grad(
                node,
                [*step.shared, *step.own],
                grad_outputs=scale,
                retain_graph=k + 1 < len(nodes),
                allow_unused=True,
            )
            shared.append(flat_gradient(found[: len(step.shared)], step.shared))
            _accumulate(step.own, found[len(step.shared) :])
        generator = torch.Generator().manual_seed(step.seed * 1_000_003 + step.number)
        tasks = len(step.losses)
        merged = project_conflicting(torch.stack(shared[:tasks]), generator)
        for other in shared[tasks:]:
            merged = merged + other
        _accumulate(step.shared, _split(merged, step.shared))


def project_conflicting(gradients: Tensor, generator: torch.Generator) -> Tensor:
    """Algorithm 1 of the paper: (K, n) gradients of the tasks -> (n,) the sum of the corrected ones.

    Each gradient g_i goes through the others in an order drawn from ``generator``; where its inner
    product with g_j is negative, it is replaced by g_i - (g_i . g_j) / |g_j|^2 g_j.
    """
    # float32: inner products over a million half precision entries mean nothing
    gradients = gradients.float()
    squares = (gradients * gradients).sum(1)
    corrected = gradients.clone()
    for i, own in enumerate(corrected):
        for j in torch.randperm(len(gradients), generator=generator).tolist():
            if j == i:
                continue
            product = torch.dot(own, gradients[j])
            # No branch on the value, which would wait for the GPU; where g_j is 0, so is the product.
            share = product.clamp_max(0) / torch.where(squares[j] > 0, squares[j], 1.0)
            own -= share * gradients[j]
    return corrected.sum(0)


def _split(vector: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    parts = vector.split([p.numel() for p in parameters])
    # empty_like: a gradient in the memory layout of its weight is what the optimiser is fast with
    pairs = zip(parts, parameters, strict=True)
    return [torch.empty_like(p).copy_(part.view_as(p)) for part, p in pairs]


def _accumulate(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> None:
    """As backward() does it: added to what earlier batches left."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            previous = parameter.grad
            parameter.grad = gradient if previous is None else previous + gradient
