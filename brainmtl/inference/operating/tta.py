"""Test-time augmentation: the mean over an image and its left-right mirror image.

A head is nearly symmetric, and training mirrors images too, so that both views are as good; no scan
of a patient is upside down, and other changes cost resampling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from brainmtl.errors import ConfigError

if TYPE_CHECKING:
    import torch

TTA_MODES = ("none", "flip")

# (probability (B,), probability per pixel (B, H, W)) of images (B, C, H, W)
Predicted = tuple[np.ndarray, np.ndarray]
Forward = Callable[["torch.Tensor"], Predicted]


def check_mode(mode: str) -> None:
    """Raise ConfigError unless ``mode`` is one of :data:`TTA_MODES`."""
    if mode not in TTA_MODES:
        raise ConfigError(f"tta={mode!r} is unknown: choose {' or '.join(TTA_MODES)}")


def predict_with_tta(forward: Forward, images: torch.Tensor, mode: str = "none") -> Predicted:
    """What ``forward`` says of ``images`` (B, C, H, W), averaged as ``mode`` says.

    ``forward`` gives probabilities, after sigmoid and softmax, such as
    :func:`brainmtl.evaluation.predict.forward` with its model and precision bound. ``mode`` "none"
    calls it once, "flip" twice.

    Raises:
        ConfigError: unknown mode.
    """
    return predict_modes(forward, images, (mode,))[mode]


def predict_modes(
    forward: Forward, images: torch.Tensor, modes: Sequence[str] = TTA_MODES
) -> dict[str, Predicted]:
    """``{mode: what predict_with_tta gives}`` for several modes, the plain image predicted once."""
    for mode in modes:
        check_mode(mode)
    plain = forward(images)
    found = {"none": plain}
    if "flip" in modes:
        # columns run from the patient's right to left
        found["flip"] = merge_flipped(plain, forward(images.flip(-1)))
    return {mode: found[mode] for mode in modes}


def merge_flipped(plain: Predicted, flipped: Predicted) -> Predicted:
    """Mean of the prediction of an image and of its mirror image, on the image's own grid."""
    probability = (plain[0] + flipped[0]) / 2
    pixels = (plain[1] + flipped[1][..., ::-1]) / 2
    return probability, pixels
