"""What a strategy may do: weigh the losses, and take the backward pass into its own hands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from brainmtl.training.losses import LossParts

TASKS = ("seg", "cls")


@dataclass(frozen=True)
class Step:
    """A training step before its backward pass.

    ``losses`` are the tasks' losses, by task, as nodes in the graph of the step's loss; ``others``
    are further summands of it. ``shared`` and ``own`` are the trained parameters of the encoder and
    of everything else; ``number`` counts the optimiser's steps, and seeds what is drawn together
    with ``seed``.
    """

    losses: dict[str, Tensor]
    others: tuple[Tensor, ...]
    shared: Sequence[nn.Parameter]
    own: Sequence[nn.Parameter]
    seed: int
    number: int


class Balance(nn.Module):
    """Base of the strategies; in use only where a stage trains both tasks.

    Whatever it learns or counts is a parameter or a buffer, and so in every checkpoint.
    ``several_devices``: whether gradients are averaged over devices, as ``loss.backward()`` does it.
    """

    several_devices = True

    def weigh(self, parts: LossParts) -> LossParts:
        """The parts with the total that this strategy makes of them; called once per step."""
        raise NotImplementedError

    def backward(self, loss: Tensor, step: Step) -> None:
        """Gradients of ``loss`` (scaled as the number format needs it) into every ``.grad``."""
        loss.backward()

    def start_epoch(self, epoch: int) -> None:
        """Told before the first step of an epoch, also of one that is resumed in its middle."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Optimiser groups (name, params, lr) of what the strategy learns itself."""
        return []

    def weights(self) -> Mapping[str, Tensor]:
        """Current weight of each task's loss, for the logs; empty where nothing changes."""
        return {}


def weighted_total(parts: LossParts, weights: Mapping[str, Tensor]) -> Tensor:
    """Sum of weight * loss over the tasks that this batch has annotations of.

    ``parts.total`` where there are none: it is 0 then, and in the graph.
    """
    losses = task_losses(parts)
    if not losses:
        return parts.total
    return torch.stack([weights[task] * value for task, value in losses.items()]).sum()


def task_losses(parts: LossParts) -> dict[str, Tensor]:
    """The losses that are there, by task."""
    return {
        task: value
        for task, value in zip(TASKS, (parts.seg, parts.cls), strict=True)
        if value is not None
    }


def flat_gradient(gradients: Sequence[Tensor | None], parameters: Sequence[nn.Parameter]) -> Tensor:
    """One float32 vector of the gradients of ``parameters``; 0 where the task does not reach one."""
    pairs = zip(gradients, parameters, strict=True)
    return torch.cat(
        [(torch.zeros_like(p) if g is None else g).flatten().float() for g, p in pairs]
    )
