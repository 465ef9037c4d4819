"""Two models on the same cases: is the second better than the first?

Differences are always second - first. A p-value is two-sided; Holm's method adjusts a family of
them. No test below gives p < 0.05 with fewer than six pairs that differ: under exchangeability of the
two models within each pair the smallest two-sided p of n such pairs is 2 / 2^n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from brainmtl.evaluation.statistics.bootstrap import (
    CONFIDENCE,
    RESAMPLES,
    Statistic,
    bca_interval,
    bca_p_value,
    point,
    resample,
)
from brainmtl.evaluation.statistics.weighted import difference
from brainmtl.words import quantity

MIN_PAIRS = 6  # 2 / 2^6 = 0.031 is the first smallest p below 0.05
EXACT_UP_TO = 200  # pairs; above, the signed-rank distribution is normal to three digits
DECIMALS = 12  # equal Dice from different divisions differ in the last bits: they are ties


@dataclass(frozen=True)
class PairedTest:
    """Difference second - first with its interval and p; None where it is not defined.

    ``n`` counts the pairs (Wilcoxon, McNemar, DeLong: patients or images) or groups (bootstrap), those
    in which the models do not differ included.
    """

    test: str
    estimate: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int
    note: str | None = None


def wilcoxon_signed_rank(
    first: np.ndarray, second: np.ndarray, confidence: float = CONFIDENCE
) -> PairedTest:
    """Wilcoxon's signed-rank test of paired values (n,), with the Hodges-Lehmann estimate.

    The estimate is the median of the Walsh averages (d_i + d_j) / 2, i <= j; the interval lies
    between two of them, chosen by the signed-rank distribution so that its level is at least
    ``confidence`` (Hollander, Wolfe and Chicken 2013, ch. 3). Pairs without difference do not enter
    p (Wilcoxon 1945) but do enter the estimate and its interval.
    """
    from scipy.stats import wilcoxon

    name = "Wilcoxon signed-rank"
    differences = np.round(np.asarray(second, float) - np.asarray(first, float), DECIMALS)
    n = len(differences)
    if not n:
        return PairedTest(name, None, None, None, None, 0, "no pair")
    if not differences.any():
        return PairedTest(name, 0.0, 0.0, 0.0, 1.0, n, "no pair differs")
    averages = walsh_averages(differences)
    rank = signed_rank_quantile(n, (1 - confidence) / 2)
    # Without the zeros: with them SciPy takes the normal approximation for a handful of pairs.
    moved = differences[differences != 0]
    p = float(wilcoxon(moved).pvalue)
    estimate = float(np.median(averages))
    if not rank:
        return PairedTest(name, estimate, None, None, p, n, _too_few(n))
    low, high = float(averages[rank - 1]), float(averages[-rank])
    note = None if len(moved) == n else f"{len(moved)} of {n} pairs differ"
    return PairedTest(name, estimate, low, high, p, n, note)


def walsh_averages(differences: np.ndarray) -> np.ndarray:
    """All (d_i + d_j) / 2 with i <= j, sorted: (n (n + 1) / 2,)."""
    rows, columns = np.triu_indices(len(differences))
    return np.sort((differences[rows] + differences[columns]) / 2)


def signed_rank_quantile(n: int, level: float) -> int:
    """Smallest k with P(W <= k) >= level for the signed-rank statistic of n pairs (no ties)."""
    from scipy.special import ndtri

    if n > EXACT_UP_TO:
        sd = np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return int(np.floor(n * (n + 1) / 4 + ndtri(level) * sd))
    mass = np.zeros(n * (n + 1) // 2 + 1)
    mass[0] = 1.0
    for rank in range(1, n + 1):  # each rank enters the sum with probability one half
        shifted = np.zeros_like(mass)
        shifted[rank:] = mass[: len(mass) - rank]
        mass = (mass + shifted) / 2
    return int(np.searchsorted(np.cumsum(mass), level))


def mcnemar_exact(
    first: np.ndarray, second: np.ndarray, confidence: float = CONFIDENCE
) -> PairedTest:
    """Exact McNemar test of two accuracies; ``first`` and ``second`` (n,) say what was right.

    The interval of the difference of the proportions is that of Bonett and Price (2012), a Wald
    interval with one pair added to each kind of disagreement.
    """
    from scipy.special import ndtri
    from statsmodels.stats.contingency_tables import mcnemar

    name = "McNemar exact"
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    n = len(first)
    if not n:
        return PairedTest(name, None, None, None, None, 0, "no pair")
    gained, lost = int((second & ~first).sum()), int((first & ~second).sum())
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    p = float(mcnemar([[both, lost], [gained, neither]], exact=True).pvalue)
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    reach = ndtri((1 + confidence) / 2) * np.sqrt((up + down - (up - down) ** 2) / (n + 2))
    low, high = max(-1.0, up - down - reach), min(1.0, up - down + reach)
    note = None if gained or lost else "no pair differs"
    return PairedTest(name, (gained - lost) / n, float(low), float(high), min(p, 1.0), n, note)


def delong(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, confidence: float = CONFIDENCE
) -> PairedTest:
    """Test of two ROC-AUCs on the same independent samples (DeLong, DeLong, Clarke-Pearson 1988).

    Midranks instead of all pairs, after Sun and Xu (2014). ``labels`` (n,) 0 or 1, ``first`` and
    ``second`` (n,) scores. Without p where a class has fewer than two samples; the normal distribution
    promises more of a few samples than exchanging the models can give, so p is at least 2 / 2^n.
    """
    from scipy.special import ndtr, ndtri

    name = "DeLong"
    labels = np.asarray(labels, int)
    scores = np.stack([np.asarray(first, float), np.asarray(second, float)])
    n, positives = len(labels), int(labels.sum())
    if not 0 < positives < n:
        return PairedTest(name, None, None, None, None, n, "one class only: no ROC curve")
    areas, covariance = delong_covariance(labels, scores)
    estimate = float(areas[1] - areas[0])
    if min(positives, n - positives) < 2:
        return PairedTest(name, estimate, None, None, None, n, "a class with one sample: no test")
    spread = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    if spread <= 1e-16:
        if abs(estimate) <= 1e-12:
            return PairedTest(name, 0.0, 0.0, 0.0, 1.0, n, "no pair differs in its ranks")
        return PairedTest(
            name, estimate, None, None, None, n, "the difference has variance 0: no test"
        )
    sd = float(np.sqrt(spread))
    reach = float(ndtri((1 + confidence) / 2)) * sd
    p = max(float(2 * ndtr(-abs(estimate) / sd)), smallest_p(n))
    return PairedTest(name, estimate, max(-1.0, estimate - reach), min(1.0, estimate + reach), p, n)


def delong_covariance(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(AUCs (k,), their covariance (k, k)) of ``scores`` (k, n); each class needs one sample.

    Placements come from midranks (Sun and Xu 2014); the covariance is NaN in a class of one sample.
    """
    from scipy.stats import rankdata

    positive, negative = scores[:, labels == 1], scores[:, labels == 0]
    m, n = positive.shape[1], negative.shape[1]
    together = rankdata(np.concatenate([positive, negative], axis=1), axis=1)
    above = (together[:, :m] - rankdata(positive, axis=1)) / n  # share of negatives below
    below = 1 - (together[:, m:] - rankdata(negative, axis=1)) / m
    with np.errstate(divide="ignore", invalid="ignore"):
        covariance = _covariance(above) / m + _covariance(below) / n
    return above.mean(axis=1), covariance


def _covariance(placements: np.ndarray) -> np.ndarray:
    centred = placements - placements.mean(axis=1, keepdims=True)
    return centred @ centred.T / (placements.shape[1] - np.float64(1))


def paired_bootstrap(
    first: Statistic,
    second: Statistic,
    n_groups: int,
    *,
    n_differing: int | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> PairedTest:
    """Difference of two statistics of the same groups: BCa interval, and p where it touches 0.

    No test below :data:`MIN_PAIRS` groups, and no interval where fewer than that differ: resampling
    promises more than the data hold.

    Args:
        first, second: statistics of weighted groups.
        n_groups: how many groups both are over.
        n_differing: groups in which the models predict differently; None: all may.
    """
    name = "cluster bootstrap"
    statistic = difference(first, second)
    estimate = point(statistic, n_groups)
    if estimate is None:
        return PairedTest(name, None, None, None, None, n_groups, "not defined")
    if n_groups < MIN_PAIRS:
        return PairedTest(name, estimate, None, None, None, n_groups, _too_few(n_groups))
    found = resample(statistic, n_groups, resamples=resamples, seed=seed)
    interval = bca_interval(found, confidence)
    if interval.low is None or (found.constant and abs(estimate) > 1e-12):
        note = interval.note or "not defined"
        return PairedTest(name, estimate, None, None, None, n_groups, note)
    if found.constant:
        return PairedTest(name, 0.0, 0.0, 0.0, 1.0, n_groups, "no group differs")
    differing = n_groups if n_differing is None else n_differing
    # Nor can exchanging the models within the groups give less.
    p = max(bca_p_value(found), smallest_p(differing))
    if differing < MIN_PAIRS:
        note = f"{differing} of {n_groups} groups differ: too few for an interval"
        return PairedTest(name, estimate, None, None, p, n_groups, note)
    note = (
        f"{quantity(found.left_out, 'resamples')} left out (one class only)"
        if found.left_out
        else None
    )
    return PairedTest(name, estimate, interval.low, interval.high, p, n_groups, note)


def smallest_p(n: int) -> float:
    """The smallest two-sided p of exchanging two models within ``n`` pairs that differ: 2 / 2^n, at most 1."""
    return min(1.0, 2.0 ** (1 - n))


def _too_few(n: int) -> str:
    return f"n = {n}: too few to show any difference, a test needs at least {MIN_PAIRS}"


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm-adjusted p-values (Holm 1979) in the order given; None stays None and counts for nothing."""
    from statsmodels.stats.multitest import multipletests

    tested = [k for k, p in enumerate(p_values) if p is not None]
    adjusted: list[float | None] = [None] * len(p_values)
    if tested:
        found = multipletests([p_values[k] for k in tested], method="holm")[1]
        for k, p in zip(tested, found, strict=True):
            adjusted[k] = float(p)
    return adjusted
