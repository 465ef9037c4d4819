"""Exponential moving average of the weights: what is validated, stored and served."""

from __future__ import annotations

import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from brainmtl.errors import ConfigError


class WeightEMA(WeightAveraging):
    """Keeps theta_ema = d * theta_ema + (1 - d) * theta after every optimiser step.

    d = min(decay, (1 + n) / (10 + n)) after n updates, so that a short stage is not held back by the
    weights that it started from (the warm-up of TensorFlow's ExponentialMovingAverage).
    Validation runs on the average; a checkpoint's ``state_dict`` is the average too, and the trained
    weights stand beside it for resuming.

    Raises:
        ConfigError: ``decay`` outside (0, 1).
    """

    def __init__(self, decay: float) -> None:
        if not 0 < decay < 1:
            raise ConfigError(
                f"ema_decay={decay} must lie between 0 and 1 (0 turns the average off)"
            )
        super().__init__(multi_avg_fn=EmaUpdate(decay))


class EmaUpdate:
    """The update of all tensors of one type, see :class:`WeightEMA`."""

    def __init__(self, decay: float) -> None:
        self.decay = decay

    @torch.no_grad()
    def __call__(
        self, averages: list[Tensor], weights: list[Tensor], updates: Tensor | int
    ) -> None:
        """Update ``averages`` in place after ``updates`` earlier ones; counters (integers) are copied."""
        if not averages[0].is_floating_point():
            for average, weight in zip(averages, weights, strict=True):
                average.copy_(weight)
            return
        done = int(updates)
        rate = 1 - min(self.decay, (1 + done) / (10 + done))
        torch._foreach_lerp_(averages, weights, rate)
