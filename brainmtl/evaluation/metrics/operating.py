"""What other thresholds would give: operating points on the ROC curve, and a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from brainmtl.evaluation.metrics.common import ratio

LEVELS = (0.90, 0.95)
THRESHOLDS = tuple(k / 10 for k in range(1, 10))


def sensitivity_at_specificity(labels: np.ndarray, scores: np.ndarray) -> dict[str, dict[str, Any]]:
    """The highest sensitivity among all thresholds whose specificity reaches 0.90, and 0.95.

    The threshold is chosen on the very samples that are scored, so the value is optimistic: it
    describes the ROC curve, not what a threshold fixed beforehand would achieve.

    Returns:
        ``{"0.90": {"value", "threshold", "counts": [called positives, positives]}, ...}``.
        ``threshold`` is None where only calling nobody reaches the level (value 0); all three are
        None unless both classes are present.
    """
    return _points(labels, scores, _best_sensitivity)


def specificity_at_sensitivity(labels: np.ndarray, scores: np.ndarray) -> dict[str, dict[str, Any]]:
    """The highest specificity among all thresholds whose sensitivity reaches 0.90, and 0.95.

    As :func:`sensitivity_at_specificity`; ``counts`` are [negatives not called, negatives].
    """
    return _points(labels, scores, _best_specificity)


def threshold_table(labels: np.ndarray, scores: np.ndarray) -> list[dict[str, Any]]:
    """Sensitivity, specificity, PPV and NPV at the thresholds 0.1, 0.2 ... 0.9, with their counts.

    Returns:
        Per threshold ``{"threshold", "sensitivity", "specificity", "ppv", "npv", "n", "counts"}``,
        ``counts[name] = [numerator, denominator]``. PPV and NPV hold for the prevalence of these
        samples only.
    """
    positive, lines = labels == 1, []
    for threshold in THRESHOLDS:
        called = scores >= threshold
        tp, fp = int(np.sum(called & positive)), int(np.sum(called & ~positive))
        fn, tn = int(np.sum(~called & positive)), int(np.sum(~called & ~positive))
        counts = {
            "sensitivity": [tp, tp + fn],
            "specificity": [tn, tn + fp],
            "ppv": [tp, tp + fp],
            "npv": [tn, tn + fn],
        }
        rates = {name: ratio(*count) for name, count in counts.items()}
        lines.append({"threshold": float(threshold), **rates, "n": len(labels), "counts": counts})
    return lines


def _points(
    labels: np.ndarray,
    scores: np.ndarray,
    best: Callable[[np.ndarray, np.ndarray, int, int, float], tuple[int, int, int]],
) -> dict[str, dict[str, Any]]:
    from sklearn.metrics import roc_curve

    positives = int(np.sum(labels == 1))
    negatives = len(labels) - positives
    if not positives or not negatives:
        return {f"{level:.2f}": dict.fromkeys(("value", "threshold", "counts")) for level in LEVELS}
    # From calling nobody (threshold infinity) to calling all; both rates rise along the curve.
    fpr, tpr, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    fp, tp = np.rint(fpr * negatives), np.rint(tpr * positives)
    points = {}
    for level in LEVELS:
        place, hits, n = best(fp, tp, negatives, positives, level)
        threshold = thresholds[place]
        points[f"{level:.2f}"] = {
            "value": hits / n,
            "threshold": float(threshold) if np.isfinite(threshold) else None,
            "counts": [hits, n],
        }
    return points


def _best_sensitivity(
    fp: np.ndarray, tp: np.ndarray, negatives: int, positives: int, level: float
) -> tuple[int, int, int]:
    allowed = (negatives - fp) / negatives >= level
    # The first of equal sensitivities has the highest specificity.
    place = int(np.argmax(np.where(allowed, tp, -1)))
    return place, int(tp[place]), positives


def _best_specificity(
    fp: np.ndarray, tp: np.ndarray, negatives: int, positives: int, level: float
) -> tuple[int, int, int]:
    place = int(np.argmax(tp / positives >= level))
    return place, negatives - int(fp[place]), negatives
