"""Overlap of masks: counts, Dice, IoU, pixel accuracy, and their means over slices and patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from brainmtl.evaluation.metrics.common import check_same_grid, group_means, mean_sd, ratio

Counts = tuple[int, int, int]


def overlap(prediction: np.ndarray, reference: np.ndarray) -> Counts:
    """Pixel counts (intersection, predicted, reference) of two boolean arrays of one shape.

    Raises:
        ValueError: the shapes differ.
    """
    check_same_grid(prediction, reference)
    predicted, true = prediction.astype(bool, copy=False), reference.astype(bool, copy=False)
    both = np.count_nonzero(predicted & true)
    return int(both), int(np.count_nonzero(predicted)), int(np.count_nonzero(true))


def dice_from_counts(intersection: int, predicted: int, reference: int) -> float | None:
    """Dice = 2 |P n R| / (|P| + |R|); None on an empty reference."""
    return ratio(2 * intersection, predicted + reference) if reference else None


def iou_from_counts(intersection: int, predicted: int, reference: int) -> float | None:
    """IoU = |P n R| / |P u R|; None on an empty reference."""
    return ratio(intersection, predicted + reference - intersection) if reference else None


def pixel_accuracy_from_counts(
    intersection: int, predicted: int, reference: int, n: int
) -> float | None:
    """Share of the ``n`` pixels on which the masks agree, background included.

    None on an empty reference, like its neighbours. Background dominates it: an empty prediction of
    a tumour that fills one per cent of the grid scores 0.99.
    """
    return ratio(n - predicted - reference + 2 * intersection, n) if reference else None


def dice(prediction: np.ndarray, reference: np.ndarray) -> float | None:
    """Dice of two masks of one shape, in [0, 1]; None on an empty reference."""
    return dice_from_counts(*overlap(prediction, reference))


def iou(prediction: np.ndarray, reference: np.ndarray) -> float | None:
    """Intersection over union of two masks, in [0, 1]; None on an empty reference."""
    return iou_from_counts(*overlap(prediction, reference))


def pooled_dice(counts: Sequence[Counts]) -> float | None:
    """One Dice over all pixels of all masks together: 2 sum |P n R| / sum (|P| + |R|).

    Empty references take part through their false positives. None where no reference has a pixel.
    """
    return (
        dice_from_counts(*(sum(column) for column in zip(*counts, strict=True))) if counts else None
    )


def overlap_metrics(counts: Sequence[Counts], min_pixels: int = 1) -> dict[str, Any]:
    """Dice and IoU over masks with a reference, false positives over those with an empty one.

    Args:
        counts: (intersection, predicted, reference) per slice or volume, see :func:`overlap`.
        min_pixels: a mask on an empty reference is a false positive from this many pixels on.

    Returns:
        ``dice, dice_sd, iou, iou_sd, n`` (non-empty references) and ``empty`` with ``n,
        false_positive_rate, counts, min_pixels, mean_predicted_pixels`` (None where n is 0).
    """
    if min_pixels < 1:
        raise ValueError(f"min_pixels must be at least 1, got {min_pixels}")
    dices = mean_sd([dice_from_counts(*row) for row in counts])
    ious = mean_sd([iou_from_counts(*row) for row in counts])
    on_empty = [predicted for _, predicted, reference in counts if reference == 0]
    hits = sum(predicted >= min_pixels for predicted in on_empty)
    return {
        "dice": dices["mean"],
        "dice_sd": dices["sd"],
        "iou": ious["mean"],
        "iou_sd": ious["sd"],
        "n": dices["n"],
        "empty": {
            "n": len(on_empty),
            "false_positive_rate": ratio(hits, len(on_empty)),
            "counts": [int(hits), len(on_empty)],
            "min_pixels": int(min_pixels),
            "mean_predicted_pixels": ratio(sum(on_empty), len(on_empty)),
        },
    }


def patient_metrics(cases: Sequence[tuple[str, Counts]], min_voxels: int = 1) -> dict[str, Any]:
    """Dice and IoU per patient in the original grid: every patient counts once.

    Args:
        cases: (patient, (intersection, predicted, reference)) per volume.
        min_voxels: see ``min_pixels`` of :func:`overlap_metrics`.

    Returns:
        As :func:`overlap_metrics`, where a patient with several volumes enters with the mean over
        those volumes whose reference is not empty; plus ``n_cases`` (volumes in all). ``empty``
        counts volumes, not patients.
    """
    dices = mean_sd(group_means((patient, dice_from_counts(*counts)) for patient, counts in cases))
    ious = mean_sd(group_means((patient, iou_from_counts(*counts)) for patient, counts in cases))
    return {
        "dice": dices["mean"],
        "dice_sd": dices["sd"],
        "iou": ious["mean"],
        "iou_sd": ious["sd"],
        "n": dices["n"],
        "n_cases": len(cases),
        "empty": overlap_metrics([counts for _, counts in cases], min_voxels)["empty"],
    }
