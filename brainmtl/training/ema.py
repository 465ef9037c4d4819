"""Exponential moving average of the weights: what is validated, stored and served."""

from __future__ import annotations

import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from brainmtl.errors import ConfigError


class WeightEMA(WeightAveraging):
    """Keeps theta_ema = d * theta_ema + (1 - d) * theta after every optimiser step.

    d = min(decay, (1 + n) / (warmup + n)) after n updates, so that a short stage is not held back by
    the weights that it started from (10 is the warm-up of TensorFlow's ExponentialMovingAverage).
    With ``decay`` 1 and ``warmup`` 2 it is the plain mean of the weights at the start and after
    every step, as in SWAD (Cha et al. 2021), which averages densely for the sake of unseen domains.
    Validation runs on the average; a checkpoint's ``state_dict`` is the average too, and the trained
    weights stand beside it for resuming.

    Raises:
        ConfigError: ``decay`` outside (0, 1], or ``warmup`` below 2.
    """

    def __init__(self, decay: float, warmup: float = 10) -> None:
        if not 0 < decay <= 1:
            raise ConfigError(
                f"ema_decay={decay} must lie above 0 and be at most 1 (0 turns the average off)"
            )
        if not warmup >= 2:
            raise ConfigError(f"ema_warmup={warmup} must be 2 (the mean of all steps) or more")
        super().__init__(multi_avg_fn=EmaUpdate(decay, warmup))


class EmaUpdate:
    """The update of all tensors of one type, see :class:`WeightEMA`."""

    def __init__(self, decay: float, warmup: float = 10) -> None:
        self.decay, self.warmup = decay, warmup

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
        rate = 1 - min(self.decay, (1 + done) / (self.warmup + done))
        torch._foreach_lerp_(averages, weights, rate)
