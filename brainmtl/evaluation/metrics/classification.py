"""Figures of a binary classifier from labels, probabilities and calls."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from brainmtl.evaluation.metrics.calibration import (
    brier_score,
    expected_calibration_error,
    reliability_bins,
)
from brainmtl.evaluation.metrics.common import Rate, ratio
from brainmtl.evaluation.metrics.operating import (
    sensitivity_at_specificity,
    specificity_at_sensitivity,
    threshold_table,
)


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


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Area under the precision-recall curve as the step sum of precision times gain in recall.

    A classifier without skill reaches the prevalence. None unless both classes are present.
    """
    from sklearn.metrics import average_precision_score

    if len(np.unique(labels)) < 2:
        return None
    return float(average_precision_score(labels, scores))


def matthews(tn: int, fp: int, fn: int, tp: int) -> float | None:
    """Matthews correlation coefficient in [-1, 1] (Matthews 1975).

    None where one class is missing or never called.
    """
    return ratio(tp * tn - fp * fn, sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


def classification_metrics(
    labels: np.ndarray,
    scores: np.ndarray,
    *,
    calls: np.ndarray | None = None,
    threshold: float | None = 0.5,
) -> dict[str, Any]:
    """All classification figures of one source, plain JSON values.

    Args:
        labels: (N,) reference labels, 0 or 1; rows without a label (-1) must be left out before.
        scores: (N,) tumour probabilities in [0, 1].
        calls: (N,) 0 or 1, where the calls come from elsewhere (each fold has its own threshold).
        threshold: a score at or above it is called tumour. With ``calls`` it is only reported:
            the threshold behind them, None when it differs between folds.

    Returns:
        Rates as floats or None; ``counts[name] = [numerator, denominator]`` for every rate that is
        a proportion; ``confusion_matrix`` with rows = reference (0, 1) and columns = call (0, 1);
        ``majority_baseline`` = accuracy of always calling the more frequent class of these rows;
        ``reliability``, ``thresholds`` and the operating points as in the modules ``calibration``
        and ``operating``.

    Raises:
        ValueError: a label or call other than 0 or 1, a score that is no probability, unequal
            lengths, or neither calls nor a threshold.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if calls is None and threshold is None:
        raise ValueError("give calls or a threshold")
    calls = scores >= threshold if calls is None else np.asarray(calls)
    _check(labels, scores, calls)
    labels, calls = labels.astype(np.int64), calls.astype(np.int64)
    tn, fp, fn, tp = confusion(labels, calls)
    return {
        "n": len(labels),
        "n_positive": tp + fn,
        "n_negative": tn + fp,
        "threshold": None if threshold is None else float(threshold),
        **_rates(tn, fp, fn, tp),
        "roc_auc": roc_auc(labels, scores),
        "pr_auc": average_precision(labels, scores),
        "brier": brier_score(labels, scores),
        "ece": expected_calibration_error(labels, scores),
        "confusion_matrix": [[tn, fp], [fn, tp]],
        "sensitivity_at_specificity": sensitivity_at_specificity(labels, scores),
        "specificity_at_sensitivity": specificity_at_sensitivity(labels, scores),
        "reliability": reliability_bins(labels, scores),
        "thresholds": threshold_table(labels, scores),
    }


def _rates(tn: int, fp: int, fn: int, tp: int) -> dict[str, Any]:
    n, positives, negatives = tn + fp + fn + tp, tp + fn, tn + fp
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
        **rates,
        # Balanced accuracy and MCC are no proportions: the counts of their parts are in `counts`.
        "balanced_accuracy": (rates["sensitivity"] + rates["specificity"]) / 2 if both else None,
        "mcc": matthews(tn, fp, fn, tp),
        "counts": {name: list(count) for name, count in counts.items()},
    }


def _check(labels: np.ndarray, scores: np.ndarray, calls: np.ndarray) -> None:
    if labels.ndim != 1 or not labels.shape == scores.shape == calls.shape:
        raise ValueError(
            f"labels {labels.shape}, scores {scores.shape} and calls {calls.shape} must be (N,) alike"
        )
    for name, values in (("labels", labels), ("calls", calls)):
        if not np.isin(values, (0, 1)).all():
            raise ValueError(f"{name} must be 0 or 1, found {np.unique(values).tolist()}")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite: the model returned NaN or infinity")
    if len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
        raise ValueError(
            f"scores must be probabilities in [0, 1], found {scores.min():g} to {scores.max():g}"
        )
