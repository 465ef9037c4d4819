"""Paired tests against brute force, hand-made values and simulation; and all degenerate inputs."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from brainmtl.evaluation.statistics import paired
from brainmtl.evaluation.statistics.weighted import (
    Ranking,
    balanced_accuracy,
    confusion_counts,
    mean,
    of_confusion,
)


def signed_rank_null(n: int) -> np.ndarray:
    """W of all 2^n sign patterns."""
    signs = np.array(list(product((0, 1), repeat=n)))
    return signs @ np.arange(1, n + 1)


@pytest.mark.parametrize("n", [1, 5, 6, 9, 12])
def test_signed_rank_quantile_by_enumeration(n: int) -> None:
    null = signed_rank_null(n)
    for level in (0.025, 0.05, 0.4):
        k = paired.signed_rank_quantile(n, level)
        assert (null <= k).mean() >= level
        assert k == 0 or (null <= k - 1).mean() < level


def test_signed_rank_quantile_published_and_normal() -> None:
    """Two-sided 5 % critical values: W <= 8 for n = 10, W <= 52 for n = 20, so one more each."""
    assert paired.signed_rank_quantile(10, 0.025) == 9
    assert paired.signed_rank_quantile(20, 0.025) == 53
    exact = paired.signed_rank_quantile(paired.EXACT_UP_TO, 0.025)
    n = paired.EXACT_UP_TO
    normal = n * (n + 1) / 4 - 1.959964 * np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    assert exact == pytest.approx(normal, abs=15)
    assert paired.signed_rank_quantile(n + 1, 0.025) > exact


@pytest.mark.parametrize("level", [0.025, 0.05])
def test_the_normal_quantile_is_the_exact_one(
    level: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = paired.EXACT_UP_TO + 1
    normal = paired.signed_rank_quantile(n, level)
    monkeypatch.setattr(paired, "EXACT_UP_TO", n)
    assert abs(paired.signed_rank_quantile(n, level) - normal) <= 2


def test_wilcoxon_depression_scores() -> None:
    """Hollander and Wolfe, Nonparametric Statistical Methods, examples 3.1, 3.3 and 3.4, the data
    of R's ?wilcox.test: one-sided p 0.0195, estimate -0.46, interval (-0.786, -0.010) at 96.1 %."""
    before = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
    after = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])
    found = paired.wilcoxon_signed_rank(before, after)
    assert found.p == pytest.approx(0.0390625)
    assert found.estimate == pytest.approx(-0.46, abs=1e-9)
    assert (found.low, found.high) == pytest.approx((-0.786, -0.010), abs=1e-9)


def test_wilcoxon_interval_covers_and_agrees_with_p() -> None:
    rng, hits = np.random.default_rng(1), 0
    for _ in range(400):
        second = rng.exponential(size=9) - rng.exponential(size=9) + 0.3
        found = paired.wilcoxon_signed_rank(np.zeros(9), second)
        hits += found.low <= 0.3 <= found.high
        assert (found.p < 0.05) == (not found.low <= 0 <= found.high)
    assert hits / 400 >= 0.93  # the exact level is 96.1 %


def test_wilcoxon_degenerate() -> None:
    zeros = paired.wilcoxon_signed_rank(np.full(8, 0.3), np.full(8, 0.1 + 0.2))
    assert (zeros.estimate, zeros.low, zeros.high, zeros.p) == (0, 0, 0, 1)
    assert zeros.note == "no pair differs"
    one = paired.wilcoxon_signed_rank(np.array([0.2]), np.array([0.5]))
    assert (one.p, one.low) == (1.0, None) and one.estimate == pytest.approx(0.3)
    five = paired.wilcoxon_signed_rank(np.zeros(5), np.arange(1.0, 6))
    assert five.p == pytest.approx(2 / 2**5) and five.low is None and "at least 6" in five.note
    six = paired.wilcoxon_signed_rank(np.zeros(6), np.arange(1.0, 7))
    assert six.p == pytest.approx(2 / 2**6) and (six.low, six.high) == (1.0, 6.0)
    none = paired.wilcoxon_signed_rank(np.array([]), np.array([]))
    assert none.estimate is none.p is None and none.n == 0


def test_wilcoxon_ties_and_some_zeros() -> None:
    first = np.zeros(12)
    second = np.array([0, 0, 1, 1, 1, -1, 2, 2, -1, 1, 1, 2.0])
    found = paired.wilcoxon_signed_rank(first, second)
    ranks_null = []  # all sign patterns of the ten differences with their mid-ranks
    ranks = np.array([4, 4, 4, 4, 9, 9, 4, 4, 4, 9.0])
    for signs in product((-1, 1), repeat=10):
        ranks_null.append((np.array(signs) * ranks).sum())
    observed = abs((np.sign(second[second != 0]) * ranks).sum())
    assert found.p == pytest.approx((np.abs(ranks_null) >= observed - 1e-9).mean(), abs=0.01)
    assert 0 <= found.low <= found.estimate <= found.high


@pytest.mark.parametrize(("gained", "lost"), [(6, 1), (0, 5), (3, 3), (12, 2)])
def test_mcnemar_is_the_sign_test_of_the_disagreements(gained: int, lost: int) -> None:
    first = np.array([0] * gained + [1] * lost + [1] * 20 + [0] * 4)
    second = np.array([1] * gained + [0] * lost + [1] * 20 + [0] * 4)
    found = paired.mcnemar_exact(first, second)
    assert found.p == pytest.approx(binomtest(gained, gained + lost).pvalue)
    assert found.estimate == pytest.approx(second.mean() - first.mean())
    assert found.low < found.estimate < found.high and found.n == len(first)


def test_mcnemar_interval_of_bonett_and_price() -> None:
    """By hand: n = 20, 6 gained, 1 lost: 7/22 and 2/22, half width 1.96 sqrt((9 - 25/22) / 22^2)."""
    first = np.array([0] * 6 + [1] * 14)
    second = np.array([1] * 6 + [0] + [1] * 13)
    found = paired.mcnemar_exact(first, second)
    half = 1.959964 * np.sqrt(9 - 25 / 22) / 22
    assert (found.low, found.high) == pytest.approx((5 / 22 - half, 5 / 22 + half), abs=1e-6)


def test_mcnemar_interval_covers() -> None:
    rng, hits = np.random.default_rng(2), 0
    for _ in range(500):
        kind = rng.choice(4, size=30, p=[0.6, 0.2, 0.1, 0.1])  # both, gained, lost, neither
        found = paired.mcnemar_exact(np.isin(kind, (0, 2)), np.isin(kind, (0, 1)))
        hits += found.low <= 0.1 <= found.high
    assert 0.92 <= hits / 500 <= 0.99


def test_mcnemar_degenerate() -> None:
    same = paired.mcnemar_exact(np.ones(7), np.ones(7))
    assert (same.estimate, same.p, same.note) == (0.0, 1.0, "no pair differs")
    assert same.low < 0 < same.high
    assert paired.mcnemar_exact(np.array([0]), np.array([1])).p == 1.0
    none = paired.mcnemar_exact(np.array([]), np.array([]))
    assert none.estimate is none.p is None


def brute_force_delong(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUCs and covariance from all pairs, equations 2 to 6 of DeLong et al. (1988)."""
    kernel = []
    for row in scores:
        difference = row[labels == 1][:, None] - row[labels == 0][None, :]
        kernel.append(np.where(difference > 0, 1.0, np.where(difference == 0, 0.5, 0.0)))
    v10, v01 = (np.stack([k.mean(axis=axis) for k in kernel]) for axis in (1, 0))
    covariance = np.cov(v10) / v10.shape[1] + np.cov(v01) / v01.shape[1]
    return np.array([k.mean() for k in kernel]), covariance


@pytest.mark.parametrize("decimals", [1, 8])
@pytest.mark.parametrize("seed", range(4))
def test_delong_by_brute_force(seed: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.array([0, 1] * 4 + list(rng.integers(0, 2, 40)))
    scores = (rng.normal(size=(2, 48)) + labels * rng.random((2, 1))).round(decimals)
    areas, covariance = paired.delong_covariance(labels, scores)
    expected_areas, expected = brute_force_delong(labels, scores)
    assert areas == pytest.approx(expected_areas)
    assert areas[0] == pytest.approx(roc_auc_score(labels, scores[0]))
    assert covariance == pytest.approx(expected)
    found = paired.delong(labels, *scores)
    sd = np.sqrt(expected[0, 0] + expected[1, 1] - 2 * expected[0, 1])
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * sd, rel=1e-5)
    assert found.estimate == pytest.approx(areas[1] - areas[0])
    assert (found.p < 0.05) == (not found.low <= 0 <= found.high)


def test_delong_rejects_as_often_as_it_should() -> None:
    rng, hits = np.random.default_rng(3), 0
    labels = np.repeat([0, 1], 40)
    for _ in range(400):
        shared = rng.normal(size=80) + labels
        found = paired.delong(labels, shared + rng.normal(size=80), shared + rng.normal(size=80))
        hits += found.p < 0.05
    assert 0.02 <= hits / 400 <= 0.085


def test_delong_degenerate() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1])
    scores = np.array([0.1, 0.6, 0.2, 0.5, 0.8, 0.9])
    same = paired.delong(labels, scores, scores**2)  # another scale, the same ranks
    assert (same.estimate, same.low, same.high, same.p) == (0, 0, 0, 1)
    perfect = paired.delong(labels, np.full(6, 0.5), labels.astype(float))
    assert perfect.estimate == 0.5 and perfect.p is None and "variance 0" in perfect.note
    single = paired.delong(np.array([0, 0, 1]), scores[:3], scores[3:])
    assert single.p is None and single.estimate is not None and "one sample" in single.note
    for one_class in (np.zeros(6), np.ones(6), np.array([])):
        found = paired.delong(one_class, one_class, one_class)
        assert found.estimate is found.p is None


def test_paired_bootstrap_is_that_of_the_differences() -> None:
    from brainmtl.evaluation.statistics.bootstrap import bootstrap_interval

    rng = np.random.default_rng(4)
    first = rng.random(20)
    second = first + rng.normal(0.1, 0.1, 20)
    found = paired.paired_bootstrap(mean(first), mean(second), 20)
    expected = bootstrap_interval(mean(second - first), 20)
    assert found.estimate == pytest.approx((second - first).mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.p < 0.05) == (not found.low <= 0 <= found.high)
    # Unpaired, the same two samples would not have been told apart.
    assert found.high - found.low < 0.6 * (
        bootstrap_interval(mean(second), 20).high - bootstrap_interval(mean(second), 20).low
    )


def test_paired_bootstrap_rejects_about_as_often_as_it_should() -> None:
    """Balanced accuracy of two equally good models, 30 patients with 8 slices of both labels."""
    rng, hits, studies = np.random.default_rng(6), 0, 150
    labels = np.tile([0, 1], (30, 4))
    for _ in range(studies):
        effect = rng.normal(size=(30, 1))
        counts = [
            confusion_counts(labels, effect + 2 * labels - 1 + rng.normal(size=(30, 8)) > 0).sum(1)
            for _ in range(2)
        ]
        statistics = [of_confusion(balanced_accuracy, c) for c in counts]
        hits += paired.paired_bootstrap(*statistics, 30, resamples=600).p < 0.05
    assert hits / studies <= 0.11


def test_paired_bootstrap_degenerate() -> None:
    values = np.linspace(0, 1, 10)
    same = paired.paired_bootstrap(mean(values), mean(values), 10)
    assert (same.estimate, same.low, same.high, same.p) == (0, 0, 0, 1)
    shifted = paired.paired_bootstrap(mean(values), mean(values + 0.5), 10)
    assert shifted.estimate == pytest.approx(0.5)
    assert shifted.low is shifted.p is None and "no variation" in shifted.note
    for n in (1, 5):
        few = paired.paired_bootstrap(mean(values[:n]), mean(values[:n] ** 2 - 1), n)
        assert few.p is few.low is None and few.estimate is not None and "at least 6" in few.note
    six = paired.paired_bootstrap(mean(np.zeros(6)), mean(np.arange(1.0, 7)), 6)
    assert six.p == 2 / 2**6
    ranking = Ranking(np.ones(8), values[:8], np.arange(8), 8)
    none = paired.paired_bootstrap(ranking.roc_auc, ranking.roc_auc, 8)
    assert none.estimate is none.p is None
    assert paired.paired_bootstrap(mean(values[:0]), mean(values[:0]), 0).estimate is None


@pytest.mark.parametrize(("n", "share"), [(38, 0.05), (100, 0.03), (38, 0.2)])
def test_few_groups_that_differ_are_not_taken_for_a_difference(n: int, share: float) -> None:
    """Balanced accuracy of one picture per group, the two models exchangeable where they differ."""
    rng, hits, studies = np.random.default_rng(8), 0, 120
    labels = np.arange(n) % 2
    for _ in range(studies):
        first = np.where(rng.random(n) < 0.85, labels, 1 - labels)
        other = rng.random(n) < share
        second = np.where(other, 1 - first, first)
        swap = rng.random(n) < 0.5
        first, second = np.where(swap, second, first), np.where(swap, first, second)
        statistics = [
            of_confusion(balanced_accuracy, confusion_counts(labels, calls))
            for calls in (first, second)
        ]
        found = paired.paired_bootstrap(*statistics, n, n_differing=int(other.sum()), resamples=400)
        hits += found.p < 0.05
        if 0 < other.sum() < 6:
            assert found.low is None
            assert found.p >= 2.0 ** (1 - other.sum())
            assert found.note == f"{other.sum()} of {n} groups differ: too few for an interval"
    assert hits / studies <= 0.11


def test_pairs_without_difference_leave_the_signed_rank_test_exact() -> None:
    """SciPy alone: p = 0.043 for 5 of 40, which the 2^5 sign patterns cannot give."""
    second = np.zeros(40)
    second[:5] = np.arange(1.0, 6)
    found = paired.wilcoxon_signed_rank(np.zeros(40), second)
    assert found.p == 2 / 2**5
    assert (found.estimate, found.low, found.high) == (0, 0, 0)
    assert found.note == "5 of 40 pairs differ"


def test_delong_promises_no_more_of_five_images_than_exchanging_can_give() -> None:
    labels = np.array([0, 0, 1, 1, 1])
    first, second = np.array([0.6, 0.5, 0.55, 0.3, 0.2]), np.array([0.1, 0.2, 0.9, 0.8, 0.7])
    assert paired.delong(labels, first, second).p >= 2 / 2**5


def test_holm_by_hand() -> None:
    assert paired.holm([0.01, None, 0.04, 0.03, 0.5]) == pytest.approx(
        [0.04, None, 0.09, 0.09, 0.5]
    )
    assert paired.holm([None, None]) == [None, None]
    assert paired.holm([]) == []
    assert paired.holm([0.2]) == [0.2]
