"""How far probabilities agree with observed frequencies."""

from __future__ import annotations

from typing import Any

import numpy as np

BINS = 10


def brier_score(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Mean squared difference of probability and label (Brier 1950), in [0, 1]; None for N = 0."""
    return float(np.mean((scores - labels) ** 2)) if len(labels) else None


def expected_calibration_error(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """ECE in [0, 1]: mean over the samples of |mean probability - observed frequency| of their bin.

    The sum is that of Guo et al. 2017 (ICML); the bins are of equal mass, not of equal width, as
    Nixon et al. 2019 (CVPR Workshops) recommend: the probabilities of a confident network crowd at
    0 and 1, where bins of equal width would leave the middle nearly empty. None for N = 0.
    """
    if not len(labels):
        return None
    return float(
        sum(
            found["n"] * abs(found["mean_probability"] - found["observed"])
            for found in reliability_bins(labels, scores)
        )
        / len(labels)
    )


def reliability_bins(labels: np.ndarray, scores: np.ndarray) -> list[dict[str, Any]]:
    """Points of the reliability diagram from (N,) labels in {0, 1} and probabilities in [0, 1].

    Ten bins, cut at the deciles of the scores. Equal scores always share a bin, so that fewer may
    result.

    Returns:
        Per non-empty bin, in rising order: ``low, high`` (smallest and largest probability in it),
        ``n``, ``mean_probability``, ``observed`` (share of label 1).
    """
    if not len(labels):
        return []
    inner_edges = np.quantile(scores, np.linspace(0, 1, BINS + 1))[1:-1]
    index = np.searchsorted(inner_edges, scores)  # a score at an edge goes into the lower bin
    found = []
    for number in np.unique(index):
        inside = index == number
        own = scores[inside]
        found.append(
            {
                "low": float(own.min()),
                "high": float(own.max()),
                "n": int(inside.sum()),
                "mean_probability": float(own.mean()),
                "observed": float(labels[inside].mean()),
            }
        )
    return found
