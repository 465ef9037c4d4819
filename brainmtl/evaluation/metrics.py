"""Pure metric functions on numpy arrays; what is not defined is ``None``, never NaN and never 0.

Conventions (also in docs/evaluation.md):

- Positive class = tumour = 1. A score is called positive when ``score >= threshold``.
- A rate with denominator 0 (sensitivity without positives, precision without a positive call, ...)
  is not defined. ROC-AUC and balanced accuracy need both classes.
- Dice and IoU are defined on non-empty references only. An empty reference never enters a mean of
  Dice, whether the prediction is empty (perfect) or not (a false positive); such slices have their
  own columns: false-positive rate and mean predicted pixels.
- SD is the sample standard deviation (n - 1) and needs two values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Rate = tuple[int, int]


def ratio(numerator: float, denominator: float) -> float | None:
    """``numerator / denominator``, or None when the denominator is 0."""
    return float(numerator) / float(denominator) if denominator else None


def overlap(prediction: np.ndarray, reference: np.ndarray) -> tuple[int, int, int]:
    """Pixel counts (intersection, predicted, reference) of two boolean arrays of one shape.

    Raises:
        ValueError: the shapes differ.
    """
    if prediction.shape != reference.shape:
        raise ValueError(
            f"prediction {prediction.shape} and reference {reference.shape} differ in shape: "
            "bring both to the same grid first"
        )
    predicted, true = prediction.astype(bool, copy=False), reference.astype(bool, copy=False)
    both = np.count_nonzero(predicted & true)
    return int(both), int(np.count_nonzero(predicted)), int(np.count_nonzero(true))


def dice_from_counts(intersection: int, predicted: int, reference: int) -> float | None:
    """Dice = 2 |P n R| / (|P| + |R|); None on an empty reference."""
    return ratio(2 * intersection, predicted + reference) if reference else None


def iou_from_counts(intersection: int, predicted: int, reference: int) -> float | None:
    """IoU = |P n R| / |P u R|; None on an empty reference."""
    return ratio(intersection, predicted + reference - intersection) if reference else None


def dice(prediction: np.ndarray, reference: np.ndarray) -> float | None:
    """Dice of two masks of one shape, in [0, 1]; None on an empty reference."""
    return dice_from_counts(*overlap(prediction, reference))


def iou(prediction: np.ndarray, reference: np.ndarray) -> float | None:
    """Intersection over union of two masks, in [0, 1]; None on an empty reference."""
    return iou_from_counts(*overlap(prediction, reference))


def mean_sd(values: Sequence[float | None]) -> dict[str, float | int | None]:
    """``{"mean", "sd", "n"}`` of the defined values; mean is None for n = 0, SD for n < 2."""
    defined = np.array([value for value in values if value is not None], dtype=np.float64)
    return {
        "mean": float(defined.mean()) if defined.size else None,
        "sd": float(defined.std(ddof=1)) if defined.size > 1 else None,
        "n": int(defined.size),
    }


def confusion(labels: np.ndarray, calls: np.ndarray) -> tuple[int, int, int, int]:
    """(tn, fp, fn, tp) of 0/1 arrays; an array without entries gives four zeros."""
    from sklearn.metrics import confusion_matrix

    if not len(labels):
        return 0, 0, 0, 0
    tn, fp, fn, tp = confusion_matrix(labels, calls, labels=[0, 1]).ravel()
    return int(tn), int(fp), int(fn), int(tp)


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Area under the ROC curve (ties count one half); None unless both classes are present."""
    from sklearn.metrics import roc_auc_score

    if len(np.unique(labels)) < 2:
        return None
    return float(roc_auc_score(labels, scores))


def classification_metrics(
    labels: np.ndarray, scores: np.ndarray, threshold: float = 0.5
) -> dict[str, Any]:
    """All classification figures of one source, plain JSON values.

    Args:
        labels: (N,) reference labels, 0 or 1; rows without a label (-1) must be left out before.
        scores: (N,) tumour probabilities in [0, 1].
        threshold: a score at or above it is called tumour.

    Returns:
        Rates as floats or None; ``counts[name] = [numerator, denominator]`` for every rate that is
        a proportion; ``confusion_matrix`` with rows = reference (0, 1) and columns = call (0, 1);
        ``majority_baseline`` = accuracy of always calling the more frequent class of these rows.

    Raises:
        ValueError: a label other than 0 or 1, a score that is not finite, or unequal lengths.
    """
    labels, scores = np.asarray(labels).astype(np.int64), np.asarray(scores, dtype=np.float64)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise ValueError(f"labels {labels.shape} and scores {scores.shape} must be (N,) alike")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels must be 0 or 1, found {np.unique(labels).tolist()}")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite: the model returned NaN or infinity")
    tn, fp, fn, tp = confusion(labels, (scores >= threshold).astype(np.int64))
    n, positives, negatives = len(labels), tp + fn, tn + fp
    counts: dict[str, Rate] = {
        "accuracy": (tp + tn, n),
        "sensitivity": (tp, positives),
        "specificity": (tn, negatives),
        "precision": (tp, tp + fp),
        "f1": (2 * tp, 2 * tp + fp + fn),
        "prevalence": (positives, n),
        "majority_baseline": (max(positives, negatives), n),
    }
    rates = {name: ratio(*count) for name, count in counts.items()}
    both = positives > 0 and negatives > 0
    return {
        "n": n,
        "n_positive": positives,
        "n_negative": negatives,
        "threshold": float(threshold),
        **rates,
        # The mean of two proportions has no count of its own: those of its parts are in `counts`.
        "balanced_accuracy": (rates["sensitivity"] + rates["specificity"]) / 2 if both else None,
        "roc_auc": roc_auc(labels, scores),
        "confusion_matrix": [[tn, fp], [fn, tp]],
        "counts": {name: list(count) for name, count in counts.items()},
    }


def overlap_metrics(counts: Sequence[tuple[int, int, int]], min_pixels: int = 1) -> dict[str, Any]:
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


def patient_metrics(
    cases: Sequence[tuple[str, tuple[int, int, int]]], min_voxels: int = 1
) -> dict[str, Any]:
    """Dice and IoU per patient in the original grid: every patient counts once.

    Args:
        cases: (patient, (intersection, predicted, reference)) per volume.
        min_voxels: see ``min_pixels`` of :func:`overlap_metrics`.

    Returns:
        As :func:`overlap_metrics`, where a patient with several volumes enters with the mean over
        those volumes whose reference is not empty; plus ``n_cases`` (volumes in all). ``empty``
        counts volumes, not patients.
    """
    by_patient: dict[str, list[tuple[int, int, int]]] = {}
    for patient, counts in cases:
        by_patient.setdefault(patient, []).append(counts)
    per_patient = [overlap_metrics(rows) for rows in by_patient.values()]
    dices = mean_sd([metrics["dice"] for metrics in per_patient])
    ious = mean_sd([metrics["iou"] for metrics in per_patient])
    return {
        "dice": dices["mean"],
        "dice_sd": dices["sd"],
        "iou": ious["mean"],
        "iou_sd": ious["sd"],
        "n": dices["n"],
        "n_cases": len(cases),
        "empty": overlap_metrics([counts for _, counts in cases], min_voxels)["empty"],
    }
