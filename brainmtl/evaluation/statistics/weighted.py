"""Figures as functions of group weights ``(R, G) -> (R,)``, what the cluster bootstrap resamples.

Additive figures need one matrix product of the weights with sums per group; ranking figures (areas
under curves, sensitivity at a fixed specificity) one cumulative sum over the scores. NaN where a
figure is not defined under some weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from brainmtl.evaluation.statistics.bootstrap import Statistic

ROUNDING = 1e-9  # a specificity of 0.9 is reached by 9 of 10, whatever 1 - 0.9 is in binary


def group_sums(values: np.ndarray, index: np.ndarray, n_groups: int) -> np.ndarray:
    """Sums per group, (G,) or (G, K), of ``values`` (N,) or (N, K); ``index`` (N,) in 0..G-1."""
    values = np.asarray(values, dtype=np.float64)
    sums = np.zeros((n_groups, *values.shape[1:]))
    np.add.at(sums, index, values)
    return sums


def ratio(numerators: np.ndarray, denominators: np.ndarray) -> Statistic:
    """Ratio of sums: ``sum(w * numerators) / sum(w * denominators)``, both (G,)."""
    return lambda weights: (weights @ numerators) / (weights @ denominators)


def mean(values: np.ndarray) -> Statistic:
    """Mean over groups of one value per group, (G,)."""
    return ratio(np.asarray(values, dtype=np.float64), np.ones(len(values)))


def limit_of_agreement(values: np.ndarray, multiple: float) -> Statistic:
    """``mean + multiple * SD`` of one value per group (Bland and Altman 1986: -1.96 and 1.96)."""
    values = np.asarray(values, dtype=np.float64)
    centred = values - values.mean() if len(values) else values

    def statistic(weights: np.ndarray) -> np.ndarray:
        n = weights.sum(axis=1)
        average = weights @ centred / n
        variance = (weights @ centred**2 / n - average**2) * n / (n - 1)
        return values.mean() + average + multiple * np.sqrt(np.maximum(variance, 0))

    return statistic


def of_confusion(
    function: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    counts: np.ndarray,
) -> Statistic:
    """``function(tn, fp, fn, tp)`` of the weighted confusion counts; ``counts`` is (G, 4)."""
    return lambda weights: function(*(weights @ counts).T)


def confusion_counts(labels: np.ndarray, calls: np.ndarray) -> np.ndarray:
    """(N, 4) indicators of tn, fp, fn, tp for 0/1 labels and calls."""
    return np.eye(4)[2 * np.asarray(labels, dtype=int) + np.asarray(calls, dtype=int)]


def balanced_accuracy(tn: np.ndarray, fp: np.ndarray, fn: np.ndarray, tp: np.ndarray) -> np.ndarray:
    """Mean of sensitivity and specificity."""
    return (tp / (tp + fn) + tn / (tn + fp)) / 2


def f1(tn: np.ndarray, fp: np.ndarray, fn: np.ndarray, tp: np.ndarray) -> np.ndarray:
    """2 TP / (2 TP + FP + FN)."""
    return 2 * tp / (2 * tp + fp + fn)


def mcc(tn: np.ndarray, fp: np.ndarray, fn: np.ndarray, tp: np.ndarray) -> np.ndarray:
    """Matthews correlation coefficient (Matthews 1975)."""
    margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / np.sqrt(margins)


def expected_calibration_error(excess: np.ndarray, total: np.ndarray) -> Statistic:
    """Sum over bins of |sum of (probability - label)| over the number of samples.

    ``excess`` (G, B) holds the sums of probability - label per group and bin, ``total`` (G,) the
    samples per group (Guo et al. 2017, whose bin weights n_b / n cancel the means within bins).
    """
    return lambda weights: np.abs(weights @ excess).sum(axis=1) / (weights @ total)


class Ranking:
    """Ranking figures of scores with labels, as statistics of group weights.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,), higher = more likely 1; equal scores share a threshold.
        index: (N,) group of each sample in 0..n_groups-1.
    """

    def __init__(
        self, labels: np.ndarray, scores: np.ndarray, index: np.ndarray, n_groups: int
    ) -> None:
        order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
        falling = np.asarray(scores)[order]
        self._group = np.asarray(index)[order]
        self._positive = np.asarray(labels, dtype=np.float64)[order]
        # The curve has a point after the last of equal scores.
        self._ends = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))

    def _curve(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weighted true and false positives when all down to each distinct score are called.

        (R, K) each; the last column calls everything, so it holds the totals.
        """
        # np.take keeps rows contiguous, indexing with [:, ...] does not: sums are ten times faster.
        drawn = np.take(weights, self._group, axis=1)
        called = np.take(np.cumsum(drawn, axis=1), self._ends, axis=1)
        true = np.take(np.cumsum(drawn * self._positive, axis=1), self._ends, axis=1)
        return true, called - true

    def roc_auc(self, weights: np.ndarray) -> np.ndarray:
        """Area under the ROC curve; ties count one half."""
        true, wrong = self._curve(weights)
        steps = np.diff(wrong, axis=1, prepend=0.0)
        area = (steps * (true - 0.5 * np.diff(true, axis=1, prepend=0.0))).sum(axis=1)
        return area / (true[:, -1] * wrong[:, -1])

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """Area under the precision-recall curve as a step function, as scikit-learn has it.

        Like the other figures it is taken to need both classes.
        """
        true, wrong = self._curve(weights)
        precision = true / np.maximum(true + wrong, 1.0)
        area = (np.diff(true, axis=1, prepend=0.0) * precision).sum(axis=1) / true[:, -1]
        return np.where(wrong[:, -1] > 0, area, np.nan)

    def sensitivity_at_specificity(self, target: float) -> Statistic:
        """Highest sensitivity of the thresholds whose specificity is at least ``target``."""

        def statistic(weights: np.ndarray) -> np.ndarray:
            true, wrong = self._curve(weights)
            positives, negatives = true[:, -1], wrong[:, -1]
            allowed = wrong <= ((1 - target) * negatives + ROUNDING)[:, None]
            found = np.where(allowed, true, 0.0).max(axis=1) / positives
            return np.where(negatives > 0, found, np.nan)

        return statistic

    def specificity_at_sensitivity(self, target: float) -> Statistic:
        """Highest specificity of the thresholds whose sensitivity is at least ``target``."""

        def statistic(weights: np.ndarray) -> np.ndarray:
            true, wrong = self._curve(weights)
            positives, negatives = true[:, -1:], wrong[:, -1:]
            reached = true >= target * positives - ROUNDING
            found = np.where(reached, 1 - wrong / negatives, 0.0).max(axis=1)
            return np.where(positives[:, 0] > 0, found, np.nan)

        return statistic


def difference(first: Statistic, second: Statistic) -> Statistic:
    """``second - first`` under the same weights."""
    return lambda weights: second(weights) - first(weights)
