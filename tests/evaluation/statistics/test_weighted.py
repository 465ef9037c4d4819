"""Every weighted figure against scikit-learn on data in which each group is repeated by its weight."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics as sk

from brainmtl.evaluation.statistics import weighted
from brainmtl.evaluation.statistics.bootstrap import Statistic, resampling_weights

GROUPS = 12
THRESHOLD = 0.5


class Data:
    """Labels, scores and groups of N samples; ``ties``: scores with one decimal."""

    def __init__(self, seed: int, ties: bool, n: int = 60) -> None:
        rng = np.random.default_rng(seed)
        self.index = np.sort(
            np.concatenate([np.arange(GROUPS), rng.integers(0, GROUPS, n - GROUPS)])
        )
        self.labels = rng.integers(0, 2, n)
        self.scores = np.clip(rng.normal(0.35 + 0.3 * self.labels, 0.25), 0, 1)
        if ties:
            self.scores = self.scores.round(1)
        self.calls = (self.scores >= THRESHOLD).astype(int)
        self.ranking = weighted.Ranking(self.labels, self.scores, self.index, GROUPS)

    def repeated(self, weights: np.ndarray) -> np.ndarray:
        return np.repeat(np.arange(len(self.index)), weights[self.index].astype(int))

    def counts(self) -> np.ndarray:
        return weighted.group_sums(
            weighted.confusion_counts(self.labels, self.calls), self.index, GROUPS
        )


def best_sensitivity(labels: np.ndarray, scores: np.ndarray, target: float) -> float:
    """By trying every threshold."""
    found = [0.0]
    for threshold in np.unique(scores):
        calls = scores >= threshold
        if (~calls[labels == 0]).mean() >= target - 1e-9:
            found.append(calls[labels == 1].mean())
    return max(found)


def best_specificity(labels: np.ndarray, scores: np.ndarray, target: float) -> float:
    found = []
    for threshold in np.unique(scores):
        calls = scores >= threshold
        if calls[labels == 1].mean() >= target - 1e-9:
            found.append((~calls[labels == 0]).mean())
    return max(found)


def reference_ece(labels: np.ndarray, scores: np.ndarray) -> float:
    bins = np.minimum((scores * 10).astype(int), 9)
    gaps = [
        abs(scores[bins == b].mean() - labels[bins == b].mean()) * (bins == b).sum()
        for b in set(bins)
    ]
    return sum(gaps) / len(labels)


def own_ece(data: Data) -> Statistic:
    bins = np.minimum((data.scores * 10).astype(int), 9)
    excess = np.eye(10)[bins] * (data.scores - data.labels)[:, None]
    sums = weighted.group_sums(excess, data.index, GROUPS)
    return weighted.expected_calibration_error(sums, np.bincount(data.index, minlength=GROUPS))


CASES: dict[str, tuple[Callable[[Data], Statistic], Callable]] = {
    "roc_auc": (lambda d: d.ranking.roc_auc, lambda y, s, c: sk.roc_auc_score(y, s)),
    "average_precision": (
        lambda d: d.ranking.average_precision,
        lambda y, s, c: sk.average_precision_score(y, s),
    ),
    "sensitivity at specificity 0.9": (
        lambda d: d.ranking.sensitivity_at_specificity(0.9),
        lambda y, s, c: best_sensitivity(y, s, 0.9),
    ),
    "specificity at sensitivity 0.95": (
        lambda d: d.ranking.specificity_at_sensitivity(0.95),
        lambda y, s, c: best_specificity(y, s, 0.95),
    ),
    "balanced accuracy": (
        lambda d: weighted.of_confusion(weighted.balanced_accuracy, d.counts()),
        lambda y, s, c: sk.balanced_accuracy_score(y, c),
    ),
    "f1": (
        lambda d: weighted.of_confusion(weighted.f1, d.counts()),
        lambda y, s, c: sk.f1_score(y, c),
    ),
    "mcc": (
        lambda d: weighted.of_confusion(weighted.mcc, d.counts()),
        lambda y, s, c: sk.matthews_corrcoef(y, c),
    ),
    "brier": (
        lambda d: weighted.ratio(
            weighted.group_sums((d.scores - d.labels) ** 2, d.index, GROUPS),
            np.bincount(d.index, minlength=GROUPS),
        ),
        lambda y, s, c: sk.brier_score_loss(y, s),
    ),
    "ece": (own_ece, lambda y, s, c: reference_ece(y, s)),
}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_weights_are_repetitions(name: str, ties: bool) -> None:
    own, reference = CASES[name]
    for seed in range(4):
        data = Data(seed, ties)
        weights = resampling_weights(GROUPS, 25, seed).astype(float)
        found = own(data)(weights)
        for row, value in zip(weights, found, strict=True):
            rows = data.repeated(row)
            labels, scores, calls = data.labels[rows], data.scores[rows], data.calls[rows]
            assert value == pytest.approx(reference(labels, scores, calls), abs=1e-12)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_not_defined(label: int) -> None:
    labels, index = np.full(6, label), np.arange(6)
    ranking = weighted.Ranking(labels, np.linspace(0, 1, 6), index, 6)
    counts = weighted.confusion_counts(labels, np.array([0, 1] * 3))
    ones = np.ones((2, 6))
    with np.errstate(all="ignore"):
        for statistic in (
            ranking.roc_auc,
            ranking.average_precision,
            ranking.sensitivity_at_specificity(0.9),
            ranking.specificity_at_sensitivity(0.9),
            weighted.of_confusion(weighted.balanced_accuracy, counts),
            weighted.of_confusion(weighted.mcc, counts),
        ):
            assert np.isnan(statistic(ones)).all()


@pytest.mark.parametrize("label", [0, 1])
def test_one_sample_of_a_class_is_enough(label: int) -> None:
    labels, scores = np.full(7, 1 - label), np.array([0.1, 0.2, 0.3, 0.35, 0.5, 0.6, 0.9])
    labels[3] = label
    ranking = weighted.Ranking(labels, scores, np.arange(7), 7)
    for statistic, expected in (
        (ranking.roc_auc, sk.roc_auc_score(labels, scores)),
        (ranking.average_precision, sk.average_precision_score(labels, scores)),
        (ranking.sensitivity_at_specificity(0.9), best_sensitivity(labels, scores, 0.9)),
        (ranking.specificity_at_sensitivity(0.9), best_specificity(labels, scores, 0.9)),
    ):
        assert statistic(np.ones((1, 7))) == pytest.approx(expected)


def test_constant_scores() -> None:
    labels, index = np.array([0, 1, 0, 1]), np.arange(4)
    ranking = weighted.Ranking(labels, np.full(4, 0.3), index, 4)
    ones = np.ones((1, 4))
    assert ranking.roc_auc(ones) == 0.5
    assert ranking.average_precision(ones) == 0.5
    assert ranking.sensitivity_at_specificity(0.9)(ones) == 0.0
    assert ranking.specificity_at_sensitivity(0.9)(ones) == 0.0


@pytest.mark.parametrize("multiple", [-1.96, 0.0, 1.96])
def test_limits_of_agreement_are_mean_and_sample_sd(multiple: float) -> None:
    values = np.random.default_rng(0).normal(1000, 3, size=9)
    weights = resampling_weights(9, 20, 0).astype(float)
    found = weighted.limit_of_agreement(values, multiple)(weights)
    for row, value in zip(weights, found, strict=True):
        drawn = np.repeat(values, row.astype(int))
        assert value == pytest.approx(drawn.mean() + multiple * drawn.std(ddof=1), rel=1e-9)


def test_mean_difference_and_sums() -> None:
    first, second = np.array([1.0, 2.0, 6.0]), np.array([2.0, 2.0, 3.0])
    statistic = weighted.difference(weighted.mean(first), weighted.mean(second))
    assert statistic(np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 1.0]])) == pytest.approx(
        [-2 / 3, -1 / 3]
    )
    sums = weighted.group_sums(np.array([[1, 2], [3, 4], [5, 6]]), np.array([1, 0, 1]), 3)
    assert sums.tolist() == [[3, 4], [6, 8], [0, 0]]
