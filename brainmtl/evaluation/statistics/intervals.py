"""95 % intervals for every figure of metrics.json, from the lines of predictions.csv and cases.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brainmtl.data.preprocessing.preprocess import IMAGE_SIZE
from brainmtl.evaluation.statistics import weighted
from brainmtl.evaluation.statistics.bootstrap import (
    RESAMPLES,
    Interval,
    Statistic,
    bootstrap_interval,
)
from brainmtl.evaluation.statistics.proportions import proportion_interval

Lines = Sequence[Mapping[str, Any]]

OVERLAPS = ("dice", "iou", "nsd", "boundary_f", "hd95", "pixel_accuracy")
LIMITS = {"bias": 0.0, "lower": -1.96, "upper": 1.96}


def add_intervals(
    result: dict[str, dict[str, Any]],
    rows: Lines,
    cases: Lines,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> None:
    """Fill ``result[source]["intervals"]``: dotted key of a figure -> its interval.

    Patients, or groups of duplicate pictures, are the unit of resampling; proportions whose groups
    hold one trial each have Wilson intervals. An entry is ``{"low", "high", "method", "n",
    "resamples"}``, with ``note`` and ``left_out`` where there is something to say, or ``{"low": None,
    "high": None, "n", "note"}``. Only groups that take part in a figure are drawn for it.

    Args:
        result: metrics.json, changed in place.
        rows, cases: what ``result`` was computed from.
        resamples: of every bootstrap.
        seed: of the resampling; the same seed gives the same intervals.
    """
    for source, values in result.items():
        found = _Intervals(resamples, seed)
        own_rows = [row for row in rows if row["source"] == source]
        own_cases = [case for case in cases if case["source"] == source]
        labelled = [row for row in own_rows if row["cls"] >= 0]
        if labelled:
            _classification(found, labelled, values["classification"])
            _uncalibrated(found, labelled, values["uncalibrated"])
        if values["segmentation"]:
            masked = [row for row in own_rows if row["reference_pixels"] is not None]
            _slices(found, masked, values["segmentation"]["empty"]["min_pixels"])
            _patients(found, own_cases, values["segmentation"]["per_patient"])
        if values["patient"]:
            _detection(found, [case for case in own_cases if case["kind"] == "volume"])
        values["intervals"] = found.entries


def main_intervals(
    rows: Lines, cases: Lines, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Those of the rates of calls, ROC-AUC and Dice per patient alone, as in :func:`add_intervals`;
    for parts of a source."""
    found = _Intervals(resamples, seed)
    labelled = [row for row in rows if row["cls"] >= 0]
    if labelled:
        labels, groups = numbers(labelled, "cls"), group_numbers(labelled)
        _rates(found, "classification", labels, numbers(labelled, "call"), groups)
        _ranking(found, "classification", labels, numbers(labelled, "calibrated"), groups)
    if cases:
        key = "segmentation.per_patient.dice"
        found.mean_of_groups(key, numbers(cases, "dice"), group_numbers(cases))
    return found.entries


class _Intervals:
    """Intervals under their dotted keys, all with the same resampling."""

    def __init__(self, resamples: int, seed: int) -> None:
        self.options = {"resamples": resamples, "seed": seed}
        self.entries: dict[str, dict[str, Any]] = {}

    def add(self, key: str, interval: Interval) -> None:
        self.entries[key] = interval.to_dict()

    def statistic(self, key: str, statistic: Statistic, n_groups: int, method: str = "bca") -> None:
        self.add(key, bootstrap_interval(statistic, n_groups, method=method, **self.options))

    def proportion(
        self, key: str, hits: np.ndarray, trials: np.ndarray, groups: np.ndarray
    ) -> None:
        """Share of ``trials`` (N,) counts that are ``hits`` (N,) counts."""
        index, n = _factorise(groups)
        hits, trials = (weighted.group_sums(values, index, n) for values in (hits, trials))
        self.add(key, proportion_interval(hits, trials, **self.options))

    def ratio(self, key: str, values: np.ndarray, counts: np.ndarray, groups: np.ndarray) -> None:
        """Sum of ``values`` over the sum of ``counts``, for what is no proportion."""
        index, n = _factorise(groups)
        sums = (weighted.group_sums(array, index, n) for array in (values, counts))
        self.statistic(key, weighted.ratio(*sums), n)

    def mean(self, key: str, values: np.ndarray, groups: np.ndarray) -> None:
        """Mean of the defined ``values`` (N,), clustered."""
        defined = ~np.isnan(values)
        self.ratio(key, values[defined], np.ones(int(defined.sum())), groups[defined])

    def mean_of_groups(self, key: str, values: np.ndarray, groups: np.ndarray) -> None:
        """Mean over groups of the mean of their defined ``values`` (N,)."""
        means = group_means(values, groups)
        self.statistic(key, weighted.mean(means), len(means))


def _factorise(groups: np.ndarray) -> tuple[np.ndarray, int]:
    """(index in 0..n-1 of each entry, n)."""
    names, index = np.unique(groups, return_inverse=True)
    return index, len(names)


def numbers(lines: Lines, key: str) -> np.ndarray:
    """A column as float64, NaN for what is not defined."""
    return np.array([np.nan if line[key] is None else line[key] for line in lines], dtype=float)


def group_numbers(lines: Lines) -> np.ndarray:
    """The groups of lines as numbers, (N,)."""
    return _factorise(np.array([str(line["group"]) for line in lines]))[0]


def group_means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Mean of the defined values of each group that has one, (G,)."""
    defined = ~np.isnan(values)
    index, n = _factorise(groups[defined])
    return weighted.group_sums(values[defined], index, n) / np.bincount(index, minlength=n)


def _classification(found: _Intervals, rows: Lines, values: Mapping[str, Any]) -> None:
    labels, scores, groups = numbers(rows, "cls"), numbers(rows, "calibrated"), group_numbers(rows)
    _rates(found, "classification", labels, numbers(rows, "call"), groups)
    ranking = _probabilities(found, "classification", labels, scores, groups, values)
    n = int(groups.max()) + 1
    found.statistic("classification.pr_auc", ranking.average_precision, n)
    for name in ("sensitivity_at_specificity", "specificity_at_sensitivity"):
        for level in values[name]:
            statistic = getattr(ranking, name)(float(level))
            found.statistic(f"classification.{name}.{level}", statistic, n)
    for line in values["thresholds"]:
        threshold = line["threshold"]
        key = f"classification.thresholds.{threshold:g}"
        _table_line(found, key, labels == 1, scores >= threshold, groups)


def _uncalibrated(found: _Intervals, rows: Lines, values: Mapping[str, Any]) -> None:
    labels, scores, groups = numbers(rows, "cls"), numbers(rows, "probability"), group_numbers(rows)
    _rates(found, "uncalibrated", labels, scores >= values["threshold"], groups)
    _probabilities(found, "uncalibrated", labels, scores, groups, values)


def _rates(
    found: _Intervals, prefix: str, labels: np.ndarray, calls: np.ndarray, groups: np.ndarray
) -> None:
    positive, called = labels == 1, calls == 1
    for name, hits, trials in (
        ("accuracy", positive == called, np.ones_like(positive)),
        ("sensitivity", positive & called, positive),
        ("specificity", ~positive & ~called, ~positive),
        ("precision", positive & called, called),
    ):
        found.proportion(f"{prefix}.{name}", hits, trials, groups)
    n = int(groups.max()) + 1
    counts = weighted.group_sums(weighted.confusion_counts(labels, calls), groups, n)
    for function in (weighted.balanced_accuracy, weighted.f1, weighted.mcc):
        statistic = weighted.of_confusion(function, counts)
        found.statistic(f"{prefix}.{function.__name__}", statistic, n)


def _table_line(
    found: _Intervals, key: str, positive: np.ndarray, called: np.ndarray, groups: np.ndarray
) -> None:
    for name, hits, trials in (
        ("sensitivity", positive & called, positive),
        ("specificity", ~positive & ~called, ~positive),
        ("ppv", positive & called, called),
        ("npv", ~positive & ~called, ~called),
    ):
        found.proportion(f"{key}.{name}", hits, trials, groups)


def _probabilities(
    found: _Intervals,
    prefix: str,
    labels: np.ndarray,
    scores: np.ndarray,
    groups: np.ndarray,
    values: Mapping[str, Any],
) -> weighted.Ranking:
    """ROC-AUC, Brier score and calibration error, the latter with the bins of the estimate."""
    n = int(groups.max()) + 1
    ranking = _ranking(found, prefix, labels, scores, groups)
    found.mean(f"{prefix}.brier", (scores - labels) ** 2, groups)
    lows = np.array([part["low"] for part in values["reliability"]])
    bins = np.searchsorted(lows, scores, side="right") - 1
    excess = np.eye(len(lows))[bins] * (scores - labels)[:, None]
    statistic = weighted.expected_calibration_error(
        weighted.group_sums(excess, groups, n), np.bincount(groups, minlength=n)
    )
    found.statistic(f"{prefix}.ece", statistic, n, method="basic")
    return ranking


def _ranking(
    found: _Intervals, prefix: str, labels: np.ndarray, scores: np.ndarray, groups: np.ndarray
) -> weighted.Ranking:
    """ROC-AUC; returns the ranking that further figures are read from."""
    n = int(groups.max()) + 1
    ranking = weighted.Ranking(labels, scores, groups, n)
    found.statistic(f"{prefix}.roc_auc", ranking.roc_auc, n)
    return ranking


def _slices(found: _Intervals, rows: Lines, min_pixels: int) -> None:
    groups = group_numbers(rows)
    intersection, predicted, reference = (
        numbers(rows, f"{part}_pixels") for part in ("intersection", "predicted", "reference")
    )
    held = np.where(reference > 0, reference, np.nan)  # undefined on an empty reference
    union = predicted + held - intersection
    derived = {
        "dice": 2 * intersection / (predicted + held),
        "iou": intersection / union,
        "pixel_accuracy": 1 - (union - intersection) / IMAGE_SIZE**2,
    }
    for name in OVERLAPS:
        values = derived[name] if name in derived else numbers(rows, name)
        found.mean(f"segmentation.{name}", values, groups)
    empty = reference == 0
    hits = empty & (predicted >= min_pixels)
    found.proportion("segmentation.empty.false_positive_rate", hits, empty, groups)


def _patients(found: _Intervals, cases: Lines, values: Mapping[str, Any]) -> None:
    prefix, groups = "segmentation.per_patient", group_numbers(cases)
    columns = {name: numbers(cases, name) for name in (*OVERLAPS, "gated_dice", "volume_error_ml")}
    columns["absolute_volume_error_ml"] = np.abs(columns["volume_error_ml"])
    for name, column in columns.items():
        if values[name] is not None:  # distances in millimetres and pixels have no common mean
            found.mean_of_groups(f"{prefix}.{name}", column, groups)
    if values["bland_altman"]:
        errors = group_means(columns["volume_error_ml"], groups)
        for name, multiple in LIMITS.items():
            statistic = weighted.limit_of_agreement(errors, multiple)
            found.statistic(f"{prefix}.bland_altman.{name}", statistic, len(errors))
    reference, hits, invented = (
        numbers(cases, name)
        for name in ("lesions_reference", "lesions_found", "false_positive_components")
    )
    found.proportion(f"{prefix}.lesions.sensitivity", hits, reference, groups)
    key = f"{prefix}.lesions.false_positives_per_case"
    found.ratio(key, invented, np.ones(len(cases)), groups)
    empty = numbers(cases, "reference_voxels") == 0
    hits = empty & (numbers(cases, "predicted_voxels") >= values["empty"]["min_pixels"])
    found.proportion(f"{prefix}.empty.false_positive_rate", hits, empty, groups)


def _detection(found: _Intervals, volumes: Lines) -> None:
    """A patient counts once: labelled, or called, tumour when any of the volumes is."""
    groups = group_numbers(volumes)
    n = int(groups.max()) + 1
    label, call = (
        weighted.group_sums(numbers(volumes, f"patient_{name}"), groups, n) > 0
        for name in ("label", "call")
    )
    once = np.arange(n)
    found.proportion("patient.sensitivity", label & call, label, once)
    found.proportion("patient.specificity", ~label & ~call, ~label, once)
