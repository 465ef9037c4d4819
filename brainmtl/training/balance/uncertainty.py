"""Weights from learned uncertainty (Kendall, Gal and Cipolla 2018, arXiv:1705.07115)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from brainmtl.errors import ConfigError
from brainmtl.training.balance.base import TASKS, Balance, weighted_total
from brainmtl.training.losses import LossParts


class UncertaintyWeights(Balance):
    """L = sum over the tasks of exp(-s) L_task + s / 2, with a learned log variance s = log sigma^2.

    Of the paper's two forms it is that of classification, L / sigma^2 + log sigma, for both tasks:
    the masks too are trained with a likelihood of classes, one per pixel, and no squared error whose
    Gaussian likelihood would bring the factor 1/2 of the form of regression, L / (2 sigma^2) +
    log sigma. (The Dice part of L_seg is no likelihood at all; the formula is applied to it as
    everyone does.) Both s start at 0, which is L_seg + L_cls; the best s for a loss that stays at L
    is log(2 L). ``learning_rate`` is theirs, without weight decay, under the stage's schedule.

    A batch without annotations of a task leaves the s of that task where it is.
    """

    def __init__(self, learning_rate: float = 1e-2) -> None:
        super().__init__()
        if not learning_rate > 0:
            raise ConfigError(f"balance.learning_rate={learning_rate}: must be positive, e.g. 0.01")
        self.learning_rate = learning_rate
        self.log_variances = nn.ParameterDict({task: torch.zeros(()) for task in TASKS})

    def weigh(self, parts: LossParts) -> LossParts:
        """The parts with the weighted total; it can be negative where losses are small."""
        weights = {task: torch.exp(-s) for task, s in self.log_variances.items()}
        total = weighted_total(parts, weights)
        for task, value in zip(TASKS, (parts.seg, parts.cls), strict=True):
            if value is not None:
                total = total + 0.5 * self.log_variances[task]
        return parts._replace(total=total)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The log variances, as the group ``balance``."""
        params = list(self.log_variances.values())
        return [{"name": "balance", "params": params, "lr": self.learning_rate}]

    def weights(self) -> dict[str, Tensor]:
        """exp(-s) of each task."""
        return {task: torch.exp(-s.detach()) for task, s in self.log_variances.items()}
