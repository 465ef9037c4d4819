"""The compared figures: value with interval per arm, and the paired test of two of them.

An arm of several seeds has the mean of their figures. A case that is drawn, or left out, is so in all
of them, so intervals are over cases, with the seeds averaged.
"""

from __future__ import annotations

import numpy as np

from brainmtl.evaluation.comparison.pairing import SharedCases
from brainmtl.evaluation.statistics import paired, weighted
from brainmtl.evaluation.statistics.bootstrap import Interval, Statistic, bootstrap_interval, point
from brainmtl.evaluation.statistics.paired import PairedTest
from brainmtl.evaluation.statistics.proportions import proportion_interval

FIGURES = {
    "dice": "Dice per patient",
    "balanced_accuracy": "Balanced accuracy",
    "roc_auc": "ROC-AUC",
    "accuracy": "Accuracy",
}
Options = dict[str, int]  # resamples, seed


def measured(cases: SharedCases, figure: str) -> bool:
    """Whether the source has what a figure needs: masks with tumour for Dice, else labels."""
    return bool(cases.n_patients if figure == "dice" else len(cases.labels))


def figure_interval(cases: SharedCases, k: int, figure: str, options: Options) -> Interval:
    """Value of arm ``k`` on the common cases, the mean over its seeds, with its 95 % interval."""
    if figure == "accuracy" and cases.n_seeds(k) == 1:
        right = weighted.group_sums(cases.calls[k][0] == cases.labels, cases.groups, cases.n_groups)
        return proportion_interval(right, np.bincount(cases.groups), **options)
    return bootstrap_interval(_statistic(cases, k, figure), _n_units(cases, figure), **options)


def seed_values(cases: SharedCases, k: int, figure: str) -> list[float | None]:
    """The figure of each seed of arm ``k``; None where it is not defined."""
    n = _n_units(cases, figure)
    return [point(statistic, n) for statistic in _seed_statistics(cases, k, figure)]


def paired_test(
    cases: SharedCases, first: int, second: int, figure: str, options: Options
) -> PairedTest:
    """Is arm ``second`` better than ``first``? Differences are second - first.

    Dice: Wilcoxon over patients, of several seeds over the patients' means. Of single runs whose
    groups hold one image each: McNemar for accuracy, DeLong for ROC-AUC. Balanced accuracy, and all
    figures of clustered images or of several seeds: bootstrap over the groups.
    """
    if figure == "dice":
        means = (cases.dice[k].mean(axis=0) for k in (first, second))
        return paired.wilcoxon_signed_rank(*means)
    if cases.independent and cases.n_seeds(first) == cases.n_seeds(second) == 1:
        if figure == "accuracy":
            right = (cases.calls[k][0] == cases.labels for k in (first, second))
            return paired.mcnemar_exact(*right)
        if figure == "roc_auc":
            return paired.delong(cases.labels, cases.scores[first][0], cases.scores[second][0])
    statistics = (_statistic(cases, k, figure) for k in (first, second))
    differing = differing_groups(cases, first, second, figure)
    return paired.paired_bootstrap(*statistics, cases.n_groups, n_differing=differing, **options)


def differing_groups(cases: SharedCases, first: int, second: int, figure: str) -> int:
    """Groups whose exchange between the two arms would change the figure of either."""
    if figure == "roc_auc":
        one, other = (np.sort(cases.scores[k], axis=0) for k in (first, second))
        moved = (
            np.ones(len(cases.labels)) if one.shape != other.shape else (one != other).any(axis=0)
        )
        return int((weighted.group_sums(moved * 1.0, cases.groups, cases.n_groups) > 0).sum())
    counts = [np.mean(_outcomes(cases, k), axis=0) for k in (first, second)]
    return int((~np.isclose(*counts)).any(axis=1).sum())


def same_predictions(cases: SharedCases, first: int, second: int, figure: str) -> bool:
    """Whether two arms predict the same throughout: then there is nothing to test."""
    if figure == "dice":
        return np.array_equal(cases.masks[first], cases.masks[second], equal_nan=True)
    columns = [cases.scores] if figure == "roc_auc" else [cases.scores, cases.calls]
    return all(np.array_equal(column[first], column[second]) for column in columns)


def _n_units(cases: SharedCases, figure: str) -> int:
    """What is resampled: patients with tumour for Dice, else groups of labelled images."""
    return cases.n_patients if figure == "dice" else cases.n_groups


def _statistic(cases: SharedCases, k: int, figure: str) -> Statistic:
    """The mean over the seeds of arm ``k``, all under the same weights of the groups."""
    statistics = _seed_statistics(cases, k, figure)
    return lambda weights: np.mean([statistic(weights) for statistic in statistics], axis=0)


def _seed_statistics(cases: SharedCases, k: int, figure: str) -> list[Statistic]:
    labels, groups, n_groups = cases.labels, cases.groups, cases.n_groups
    if figure == "dice":
        return [weighted.mean(dice) for dice in cases.dice[k]]
    if figure == "roc_auc":
        return [
            weighted.Ranking(labels, scores, groups, n_groups).roc_auc for scores in cases.scores[k]
        ]
    counts = _outcomes(cases, k)
    if figure == "accuracy":
        return [weighted.ratio(own[:, 0] + own[:, 3], own.sum(axis=1)) for own in counts]
    return [weighted.of_confusion(weighted.balanced_accuracy, own) for own in counts]


def _outcomes(cases: SharedCases, k: int) -> list[np.ndarray]:
    """Confusion counts of each group (n_groups, 4), for each seed of arm ``k``."""
    outcomes = (weighted.confusion_counts(cases.labels, calls) for calls in cases.calls[k])
    return [weighted.group_sums(outcome, cases.groups, cases.n_groups) for outcome in outcomes]
