"""Moving average of the weights: what is validated, stored and served."""

from __future__ import annotations

import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from brainmtl.errors import ConfigError

SCRATCH_DECAY = 0.99  # of runs that do not begin with the built-in weights


def resolve_decay(given: float | str, pretrained: bool) -> float:
    """``ema_decay`` in numbers: "auto" is 1, the mean of all steps, where a run began with the built-in
    weights, and :data:`SCRATCH_DECAY` where it did not and its first steps are worth nothing.

    Raises:
        ConfigError: neither "auto" nor within 0..1.
    """
    if given == "auto":
        return 1.0 if pretrained else SCRATCH_DECAY
    if isinstance(given, str) or not 0 <= given <= 1:
        raise ConfigError(
            f"ema_decay={given} must lie within 0 (no average) and 1 (the mean of all steps of a stage), or be auto"
        )
    return float(given)


class WeightEMA(WeightAveraging):
    """Keeps theta_ema = d * theta_ema + (1 - d) * theta after every optimiser step.

    d = min(decay, (1 + n) / (10 + n)) after n updates, so that a short stage is not held back by the
    weights that it started from (the warm-up of TensorFlow's ExponentialMovingAverage). With ``decay`` 1,
    d = (1 + n) / (2 + n): the mean of the weights after every step, as in SWAD (Cha et al. 2021), which
    averages densely for the sake of unseen domains. In the place of the start torch's AveragedModel
    takes the weights after the first step, which count twice.
    Validation runs on the average; a checkpoint's ``state_dict`` is the average too, and the trained
    weights stand beside it for resuming.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=EmaUpdate(decay))


class EmaUpdate:
    """The update of all tensors of one type, see :class:`WeightEMA`."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.warmup = 2 if decay == 1 else 10

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
