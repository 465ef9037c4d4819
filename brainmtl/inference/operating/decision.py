"""What is said of an image: one order of decisions for evaluation and serving.

input check -> abstain -> calibrated P -> segmentation gate on calibrated P -> label at the threshold
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from brainmtl.inference.operating import calibration
from brainmtl.inference.operating.operating_point import OperatingPoint


@dataclass(frozen=True)
class Decision:
    """``calibrated`` P in [0, 1], ``segment`` whether a mask is made, ``label`` 1 tumour or 0 none.

    Where ``abstained``, ``calibrated`` and ``label`` are None, ``segment`` is False, and ``reason``
    says why; ``reason`` is None otherwise.
    """

    calibrated: float | None
    segment: bool
    label: int | None
    abstained: bool = False
    reason: str | None = None


class Decisions(NamedTuple):
    """Arrays (N,) of what :class:`Decision` holds for one image: float64, bool, int64."""

    calibrated: np.ndarray
    segment: np.ndarray
    label: np.ndarray


def decide(
    probability: float | None,
    operating_point: OperatingPoint,
    abstain_reason: str | None = None,
) -> Decision:
    """The decision on one image.

    Args:
        probability: raw softmax P(tumour) in [0, 1]; None where the network did not run.
        operating_point: temperature, gate and threshold.
        abstain_reason: what the input check found wrong with the image, if anything. Nothing is
            then said of it, whatever the probability.

    Raises:
        ValueError: an empty reason, or no probability in [0, 1] although nothing is wrong.
    """
    if abstain_reason is not None:
        if not abstain_reason.strip():
            raise ValueError("abstain_reason must say why, or be None")
        return Decision(None, False, None, True, abstain_reason)
    if probability is None:
        raise ValueError("probability must be given unless there is an abstain_reason")
    calibrated, segment, label = decide_many([probability], operating_point)
    return Decision(float(calibrated[0]), bool(segment[0]), int(label[0]))


def decide_many(probabilities: Any, operating_point: OperatingPoint) -> Decisions:
    """The decisions on images (N,) that passed the input check; see :func:`decide`.

    Raises:
        ValueError: a probability outside [0, 1], or NaN.
    """
    calibrated = calibration.apply(probabilities, operating_point.temperature)
    segment = calibrated >= operating_point.seg_gate
    return Decisions(
        calibrated, segment, (calibrated >= operating_point.threshold).astype(np.int64)
    )
