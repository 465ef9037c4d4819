"""Intervals of metrics.json: every figure has one, about the figure's own value, fast and seeded."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import numpy as np
import pytest
import simulated

from brainmtl.evaluation.scores import score_sources
from brainmtl.evaluation.statistics import intervals
from brainmtl.evaluation.statistics.bootstrap import Interval
from brainmtl.evaluation.statistics.proportions import wilson

Lines = list[dict[str, Any]]
# Not estimates: sizes, what describes the data, and spreads.
DESCRIPTIONS = {
    "n", "n_positive", "n_negative", "n_cases", "hd95_n", "hd95_missed", "threshold", "tolerance",
    "prevalence", "majority_baseline", "min_pixels", "mean_predicted_pixels", "limit", "sd",
    "reference", "found", "false_positive_components",
}  # fmt: skip


def scored(rows: Lines, cases: Lines, resamples: int = 200) -> dict[str, dict[str, Any]]:
    result = score_sources(rows, cases, 0.5)
    intervals.add_intervals(result, rows, cases, resamples)
    return result


def figures(values: Any, prefix: str = "") -> dict[str, float | None]:
    """Dotted key -> figure, for all of metrics.json that is an estimate."""
    found: dict[str, float | None] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if name in DESCRIPTIONS or name.endswith("_sd") or name in ("counts", "reliability"):
            continue
        if name == "thresholds":
            for line in value:
                rates = {k: line[k] for k in ("sensitivity", "specificity", "ppv", "npv")}
                found |= figures(rates, f"{key}.{line['threshold']:g}.")
        elif isinstance(value, dict) and "value" in value:
            found[key] = value["value"]
        elif isinstance(value, dict):
            found |= figures(value, f"{key}.")
        elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            found[key] = value
    return found


MAIN_UNCALIBRATED = {
    "accuracy", "sensitivity", "specificity", "precision", "balanced_accuracy", "f1", "mcc",
    "roc_auc", "brier", "ece",
}  # fmt: skip


def estimated(values: dict[str, Any]) -> dict[str, float | None]:
    tasks = ("classification", "segmentation", "patient", "uncalibrated")
    found = figures({task: values[task] for task in tasks if values[task]})
    return {
        key: value
        for key, value in found.items()
        if not key.startswith("uncalibrated.") or key.split(".", 1)[1] in MAIN_UNCALIBRATED
    }


@pytest.fixture(scope="module")
def both() -> tuple[Lines, Lines]:
    rows, cases = simulated.volumes("phantom_brats", 20)
    return rows + simulated.pictures("kaggle", 60, per_group=2), cases


def test_every_figure_has_its_interval_and_no_other(both: tuple[Lines, Lines]) -> None:
    for values in scored(*both).values():
        assert set(values["intervals"]) == set(estimated(values))


def test_intervals_belong_to_the_values_they_stand_beside(
    both: tuple[Lines, Lines], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The definitions here and those of the metrics must never drift apart."""
    monkeypatch.setattr(Interval, "to_dict", lambda self: {"estimate": self.estimate})
    for values in scored(*both).values():
        for key, value in estimated(values).items():
            found = values["intervals"][key]["estimate"]
            assert found == pytest.approx(value, abs=1e-12), key


def test_bounds_enclose_the_value_and_are_plain_json(both: tuple[Lines, Lines]) -> None:
    for values in scored(*both, resamples=600).values():
        json.dumps(values["intervals"], allow_nan=False)
        for key, value in estimated(values).items():
            found = values["intervals"][key]
            if found["low"] is None:
                assert found["note"]
                continue
            if key.endswith(".ece"):  # biased upwards: the value can lie above its interval
                assert found["method"] == "basic" and 0 <= found["low"] < found["high"]
            else:
                assert found["method"] in ("bca", "percentile", "wilson")
                assert found["low"] - 1e-12 <= value <= found["high"] + 1e-12, key


def test_wilson_for_one_picture_per_group_and_bootstrap_for_several() -> None:
    single = scored(simulated.pictures("kaggle", 50), [])["kaggle"]
    counts = single["classification"]["counts"]
    for rate in ("accuracy", "sensitivity", "specificity", "precision"):
        assert single["intervals"][f"classification.{rate}"] == wilson(*counts[rate]).to_dict()
    assert single["intervals"]["classification.roc_auc"]["method"] == "bca"
    several = scored(simulated.pictures("kaggle", 50, per_group=3), [])["kaggle"]["intervals"]
    accuracy = several["classification.accuracy"]
    assert (accuracy["method"], accuracy["n"], accuracy["resamples"]) == ("bca", 50, 200)


def test_patients_are_the_unit() -> None:
    """Slices of a patient repeated fivefold leave every clustered interval where it was."""
    rows, cases = simulated.volumes("brats", 20)
    once = scored(rows, cases)["brats"]["intervals"]
    copies = scored(rows * 5, cases * 5)["brats"]["intervals"]
    for key, found in once.items():
        if key.endswith(".ece"):  # its bins are cut at quantiles, which copies move a little
            continue
        assert copies[key]["low"] == pytest.approx(found["low"], abs=1e-9), key
        assert copies[key]["n"] == found["n"], key


def test_pictures_with_masks_are_no_patients() -> None:
    """A table may hold both; calls of patients are made of volumes."""
    rows, cases = simulated.volumes("table", 12)
    pictures = [
        case | {"kind": "image", "group": f"p{k}", "patient_call": 1 - case["patient_call"]}
        for k, case in enumerate(cases)
    ]
    alone, mixed = (scored(rows, own)["table"] for own in (cases, cases + pictures))
    for figure in ("sensitivity", "specificity"):
        assert mixed["patient"][figure] == alone["patient"][figure]
        key = f"patient.{figure}"
        assert mixed["intervals"][key] == alone["intervals"][key]


def test_only_groups_that_take_part_are_drawn() -> None:
    rows, cases = simulated.volumes("brats", 20)  # every fifth patient is healthy
    found = scored(rows, cases)["brats"]["intervals"]
    assert found["segmentation.dice"]["n"] == found["segmentation.per_patient.dice"]["n"] == 16
    assert found["classification.sensitivity"]["n"] == found["patient.sensitivity"]["n"] == 16
    assert found["patient.specificity"]["n"] == 4
    holders = {row["group"] for row in rows if row["reference_pixels"] == 0}
    assert found["segmentation.empty.false_positive_rate"]["n"] == len(holders)
    assert found["segmentation.per_patient.empty.false_positive_rate"]["n"] == 4


def test_one_patient_and_one_class() -> None:
    rows, cases = simulated.volumes("brats", 1, 12)
    values = scored(rows, cases)["brats"]
    for key, found in values["intervals"].items():
        if found.get("method") == "wilson":
            assert found["n"] == 1, key  # a single trial is its own group
        else:
            assert found["low"] is None and "no interval" in found["note"], key
    assert values["intervals"]["patient.sensitivity"]["method"] == "wilson"
    assert values["intervals"]["patient.specificity"]["low"] is None
    positives = [row for row in simulated.pictures("kaggle", 30) if row["cls"] == 1]
    found = scored(positives, [])["kaggle"]["intervals"]
    for figure in ("roc_auc", "pr_auc", "balanced_accuracy", "specificity", "mcc"):
        assert found[f"classification.{figure}"]["low"] is None
    assert found["classification.sensitivity"]["low"] is not None


def test_no_labels_or_no_masks_or_nothing() -> None:
    rows, cases = simulated.volumes("brats", 6)
    unlabelled = scored([row | {"cls": -1} for row in rows], cases)["brats"]["intervals"]
    assert {key.split(".")[0] for key in unlabelled} == {"segmentation", "patient"}
    pictures = scored(simulated.pictures("kaggle", 9), [])["kaggle"]["intervals"]
    assert {key.split(".")[0] for key in pictures} == {"classification", "uncalibrated"}
    neither = [row | {"cls": -1} for row in simulated.pictures("kaggle", 9)]
    assert scored(neither, [])["kaggle"]["intervals"] == {}


def test_a_perfect_classifier_is_not_certain() -> None:
    rows = simulated.pictures("kaggle", 12, per_group=2)
    perfect = [row | {"calibrated": float(row["cls"]), "call": row["cls"]} for row in rows]
    found = scored(perfect, [])["kaggle"]["intervals"]
    assert found["classification.accuracy"]["low"] == pytest.approx(wilson(12, 12).low)
    area = found["classification.roc_auc"]
    assert area["low"] == area["high"] == 1.0 and "no variation" in area["note"]


def test_seed_and_resamples_decide(both: tuple[Lines, Lines]) -> None:
    rows, cases = both
    results = [score_sources(rows, cases, 0.5) for _ in range(3)]
    for result, seed in zip(results, (0, 0, 1), strict=True):
        intervals.add_intervals(result, rows, cases, resamples=100, seed=seed)
    first, again, other = (result["phantom_brats"]["intervals"] for result in results)
    assert first == again != other
    assert first["segmentation.dice"]["resamples"] == 100


def test_two_thousand_resamples_of_a_large_source_take_seconds() -> None:
    """5,000 slices of 40 patients and 200 pictures; processor time, so that load does not count."""
    rows, cases = simulated.volumes("brats", 40, 95)
    rows += simulated.pictures("kaggle", 200)
    assert len(rows) > 5000
    result = score_sources(rows, cases, 0.5)
    before = time.process_time()
    intervals.add_intervals(result, rows, cases)
    assert time.process_time() - before < 20
    assert result["brats"]["intervals"]["segmentation.dice"]["resamples"] == 2000


def test_calibration_error_interval_covers_the_true_error() -> None:
    """An overconfident classifier whose true error is known from a very large sample."""
    rng = np.random.default_rng(0)

    def draw(n: int) -> Lines:
        logits = rng.normal(0, 1.5, n)
        labels = rng.random(n) < 1 / (1 + np.exp(-logits))
        scores = 1 / (1 + np.exp(-1.5 * logits))
        base = simulated.pictures("kaggle", 1)[0]
        return [
            base
            | {"group": f"g{k}", "cls": int(label), "calibrated": float(score), "probability": 0.5}
            for k, (label, score) in enumerate(zip(labels, scores, strict=True))
        ]

    true = score_sources(draw(40_000), [], 0.5)["kaggle"]["classification"]["ece"]
    hits = 0
    for _ in range(40):
        rows = draw(300)
        values = score_sources(rows, [], 0.5)["kaggle"]["classification"]
        found = intervals._Intervals(300, 0)
        labels, scores = intervals.numbers(rows, "cls"), intervals.numbers(rows, "calibrated")
        intervals._probabilities(found, "c", labels, scores, np.arange(300), values)
        hits += found.entries["c.ece"]["low"] <= true <= found.entries["c.ece"]["high"]
    assert hits >= 34  # with BCa intervals about 28


def test_clustered_interval_is_wider_than_that_of_independent_slices() -> None:
    rng = np.random.default_rng(0)
    rows = simulated.pictures("kaggle", 30, per_group=1)
    base = [row | {"call": int(rng.random() < 0.7), "cls": 1} for row in rows]
    clustered = [row | {"image_id": f"{row['image_id']}_{k}"} for row in base for k in range(8)]
    found = scored(clustered, [], 1000)["kaggle"]["intervals"]["classification.sensitivity"]
    naive = wilson(sum(row["call"] for row in clustered), len(clustered))
    ratio = (found["high"] - found["low"]) / (naive.high - naive.low)
    assert ratio == pytest.approx(math.sqrt(8), rel=0.15)
