"""The compared figures: value with interval per evaluation, and the paired test of two of them."""

from __future__ import annotations

import numpy as np

from brainmtl.evaluation.comparison.pairing import SharedCases
from brainmtl.evaluation.statistics import paired, weighted
from brainmtl.evaluation.statistics.bootstrap import Interval, Statistic, bootstrap_interval
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
    return bool(cases.dice.shape[1] if figure == "dice" else len(cases.labels))


def figure_interval(cases: SharedCases, k: int, figure: str, options: Options) -> Interval:
    """Value and 95 % interval of evaluation ``k`` on the common cases."""
    if figure == "dice":
        return bootstrap_interval(weighted.mean(cases.dice[k]), cases.dice.shape[1], **options)
    if figure == "accuracy":
        right = weighted.group_sums(cases.calls[k] == cases.labels, cases.groups, cases.n_groups)
        return proportion_interval(right, np.bincount(cases.groups), **options)
    return bootstrap_interval(_statistic(cases, k, figure), cases.n_groups, **options)


def paired_test(
    cases: SharedCases, first: int, second: int, figure: str, options: Options
) -> PairedTest:
    """Is evaluation ``second`` better than ``first``? Differences are second - first.

    Dice: Wilcoxon over patients. Where every group holds one image: McNemar for accuracy, DeLong for
    ROC-AUC. Balanced accuracy, and all figures of clustered images: bootstrap over the groups.
    """
    if figure == "dice":
        return paired.wilcoxon_signed_rank(cases.dice[first], cases.dice[second])
    if cases.independent and figure == "accuracy":
        right = cases.calls == cases.labels
        return paired.mcnemar_exact(right[first], right[second])
    if cases.independent and figure == "roc_auc":
        return paired.delong(cases.labels, cases.scores[first], cases.scores[second])
    statistics = (_statistic(cases, k, figure) for k in (first, second))
    return paired.paired_bootstrap(*statistics, cases.n_groups, **options)


def same_predictions(cases: SharedCases, first: int, second: int, figure: str) -> bool:
    """Whether two evaluations predict the same throughout: then there is nothing to test."""
    if figure == "dice":
        return np.array_equal(cases.masks[first], cases.masks[second], equal_nan=True)
    columns = [cases.scores] if figure == "roc_auc" else [cases.scores, cases.calls]
    return all(np.array_equal(column[first], column[second]) for column in columns)


def _statistic(cases: SharedCases, k: int, figure: str) -> Statistic:
    if figure == "roc_auc":
        return weighted.Ranking(cases.labels, cases.scores[k], cases.groups, cases.n_groups).roc_auc
    outcomes = weighted.confusion_counts(cases.labels, cases.calls[k])
    counts = weighted.group_sums(outcomes, cases.groups, cases.n_groups)
    if figure == "accuracy":
        return weighted.ratio(counts[:, 0] + counts[:, 3], counts.sum(axis=1))
    return weighted.of_confusion(weighted.balanced_accuracy, counts)
