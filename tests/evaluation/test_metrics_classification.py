"""Every figure of the classifier against scikit-learn or brute force, degenerate cases included."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from brainmtl.evaluation import metrics

RNG = np.random.default_rng(0)
CASES = {
    "random": (RNG.integers(0, 2, 101), RNG.random(101)),
    "rounded": (RNG.integers(0, 2, 300), RNG.integers(0, 8, 300) / 7),
    "informative": (np.arange(200) % 2, RNG.beta(2 + 3 * (np.arange(200) % 2), 4)),
    "confident": (np.arange(90) % 2, np.repeat([1e-6, 1 - 1e-6, 0.5], 30)),
    "rare": ((np.arange(400) < 5).astype(int), RNG.random(400)),
    "ties": (np.array([0, 1, 0, 1, 1, 0]), np.array([0.5, 0.5, 0.2, 0.2, 0.9, 0.5])),
    "all equal": (np.array([0, 1, 1]), np.full(3, 0.5)),
    "perfect": (np.array([0, 0, 1]), np.array([0.1, 0.2, 0.8])),
    "inverted": (np.array([1, 1, 0]), np.array([0.1, 0.2, 0.8])),
    "none called": (np.array([0, 1]), np.array([0.1, 0.2])),
    "all called": (np.array([0, 1]), np.array([0.7, 0.8])),
    "two cases": (np.array([1, 0]), np.array([0.6, 0.4])),
    "zero and one": (np.array([1, 0, 1]), np.array([1.0, 0.0, 0.0])),
}


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("name", CASES)
def test_rates_equal_scikit_learn(name: str, threshold: float) -> None:
    labels, scores = CASES[name]
    calls = (scores >= threshold).astype(int)
    found = metrics.classification_metrics(labels, scores, threshold=threshold)
    nan = {"zero_division": np.nan}
    constant = len(np.unique(calls)) == 1
    expected = {
        "accuracy": reference.accuracy_score(labels, calls),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, calls),
        "sensitivity": reference.recall_score(labels, calls, **nan),
        "specificity": reference.recall_score(labels, calls, pos_label=0, **nan),
        "precision": reference.precision_score(labels, calls, **nan),
        "f1": reference.f1_score(labels, calls, **nan),
        "mcc": np.nan if constant else reference.matthews_corrcoef(labels, calls),
        "prevalence": labels.mean(),
        "majority_baseline": max(labels.mean(), 1 - labels.mean()),
        "brier": reference.brier_score_loss(labels, scores),
        "roc_auc": brute_force_auc(labels, scores),
        "pr_auc": brute_force_average_precision(labels, scores),
    }
    for key, value in expected.items():
        if np.isnan(value):
            assert found[key] is None, key
        else:
            assert found[key] == pytest.approx(value, abs=1e-12), key
    assert found["confusion_matrix"] == reference.confusion_matrix(labels, calls).tolist()
    assert found["n"] == len(labels)
    for key, (numerator, denominator) in found["counts"].items():
        assert found[key] == (numerator / denominator if denominator else None), key
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def brute_force_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """P(score of a positive > score of a negative), ties one half, over all pairs."""
    pairs = [(p, n) for p in scores[labels == 1] for n in scores[labels == 0]]
    return float(np.mean([1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs]))


def brute_force_average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """Sum over falling thresholds of precision times the recall gained."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        called = labels[scores >= threshold]
        recall = called.sum() / labels.sum()
        total += called.mean() * (recall - before)
        before = recall
    return total


def rates(labels: np.ndarray, scores: np.ndarray, threshold: float | None) -> tuple[float, float]:
    """(sensitivity, specificity); threshold None calls nobody."""
    called = np.zeros(len(scores), bool) if threshold is None else scores >= threshold
    return called[labels == 1].mean(), (~called)[labels == 0].mean()


@pytest.mark.parametrize(("text", "level"), [("0.90", 0.9), ("0.95", 0.95)])
@pytest.mark.parametrize("name", CASES)
def test_operating_points_equal_a_search_over_all_thresholds(
    name: str, text: str, level: float
) -> None:
    labels, scores = CASES[name]
    found = metrics.classification_metrics(labels, scores)
    points = [rates(labels, scores, threshold) for threshold in (None, *scores)]

    point = found["sensitivity_at_specificity"][text]
    best = max(sensitivity for sensitivity, specificity in points if specificity >= level)
    sensitivity, specificity = rates(labels, scores, point["threshold"])
    assert point["value"] == sensitivity == best and specificity >= level
    assert specificity == max(spec for sens, spec in points if sens == best)
    assert point["counts"] == [round(best * labels.sum()), labels.sum()]

    point = found["specificity_at_sensitivity"][text]
    best = max(specificity for sensitivity, specificity in points if sensitivity >= level)
    sensitivity, specificity = rates(labels, scores, point["threshold"])
    assert point["value"] == specificity == best and sensitivity >= level
    assert point["counts"] == [round(best * (labels == 0).sum()), (labels == 0).sum()]


@pytest.mark.parametrize("name", CASES)
def test_table_of_thresholds_counts_like_scikit_learn(name: str) -> None:
    labels, scores = CASES[name]
    table = metrics.classification_metrics(labels, scores)["thresholds"]
    assert [line["threshold"] for line in table] == [k / 10 for k in range(1, 10)]
    for line in table:
        calls = (scores >= line["threshold"]).astype(int)
        (tn, fp), (fn, tp) = reference.confusion_matrix(labels, calls, labels=[0, 1]).tolist()
        expected = {
            "sensitivity": [tp, tp + fn],
            "specificity": [tn, tn + fp],
            "ppv": [tp, tp + fp],
            "npv": [tn, tn + fn],
        }
        assert line["counts"] == expected and line["n"] == len(labels)
        for key, (numerator, denominator) in expected.items():
            assert line[key] == (numerator / denominator if denominator else None)


@pytest.mark.parametrize("name", CASES)
def test_reliability_equals_scikit_learn_and_is_free_of_order(name: str) -> None:
    labels, scores = CASES[name]
    bins = metrics.reliability_bins(labels, scores)
    observed, predicted = calibration_curve(labels, scores, n_bins=10, strategy="quantile")
    assert [b["observed"] for b in bins] == pytest.approx(observed.tolist())
    assert [b["mean_probability"] for b in bins] == pytest.approx(predicted.tolist())
    assert sum(b["n"] for b in bins) == len(labels) and len(bins) <= 10
    for b in bins:
        inside = (scores >= b["low"]) & (
            scores <= b["high"]
        )  # whole groups of ties: no bin overlaps
        assert inside.sum() == b["n"]
        assert labels[inside].mean() == pytest.approx(b["observed"])
    gaps = [b["n"] / len(labels) * abs(b["observed"] - b["mean_probability"]) for b in bins]
    assert metrics.expected_calibration_error(labels, scores) == pytest.approx(sum(gaps))
    order = np.random.default_rng(3).permutation(len(labels))
    assert metrics.expected_calibration_error(labels[order], scores[order]) == pytest.approx(
        sum(gaps)
    )


def test_calibrated_probabilities_have_a_small_ece() -> None:
    rng = np.random.default_rng(5)
    scores = rng.random(20_000)
    labels = (rng.random(20_000) < scores).astype(int)
    bins = metrics.reliability_bins(labels, scores)
    assert [b["n"] for b in bins] == [2000] * 10  # equal mass
    assert metrics.expected_calibration_error(labels, scores) < 0.02
    assert metrics.expected_calibration_error(labels, scores**4) > 0.2
    # a constant score is one bin: the gap between it and the prevalence
    constant = metrics.expected_calibration_error(labels, np.full(20_000, 0.9))
    assert constant == pytest.approx(0.9 - labels.mean())


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("score", [0.1, 0.9])
@pytest.mark.parametrize("n", [1, 7])
def test_one_class_leaves_undefined_figures_none(label: int, score: float, n: int) -> None:
    found = metrics.classification_metrics(np.full(n, label), np.full(n, score))
    for key in ("roc_auc", "pr_auc", "balanced_accuracy", "mcc"):
        assert found[key] is None
    assert found["sensitivity" if label == 0 else "specificity"] is None
    correct = float((score >= 0.5) == label)
    assert found["sensitivity" if label == 1 else "specificity"] == correct
    assert found["accuracy"] == correct and found["majority_baseline"] == 1.0
    # F1 = 2TP / (2TP + FP + FN) is undefined only where all three are 0
    assert (found["f1"] is None) == (label == 0 and score < 0.5)
    nothing = {"value": None, "threshold": None, "counts": None}
    for name in ("sensitivity_at_specificity", "specificity_at_sensitivity"):
        assert found[name] == {"0.90": nothing, "0.95": nothing}
    assert found["brier"] == pytest.approx((score - label) ** 2)
    assert found["ece"] == pytest.approx(abs(score - label))
    json.dumps(found, allow_nan=False)


def test_no_rows_at_all() -> None:
    found = metrics.classification_metrics(np.array([], dtype=int), np.array([]))
    assert found["n"] == 0 and found["confusion_matrix"] == [[0, 0], [0, 0]]
    undefined = (*found["counts"], "roc_auc", "pr_auc", "balanced_accuracy", "mcc", "brier", "ece")
    assert all(found[key] is None for key in undefined)
    assert found["reliability"] == []
    json.dumps(found, allow_nan=False)


def test_calls_may_come_from_elsewhere() -> None:
    labels, scores = CASES["informative"]
    thresholds = np.where(np.arange(len(labels)) < 80, 0.3, 0.7)  # two folds
    calls = (scores >= thresholds).astype(int)
    found = metrics.classification_metrics(labels, scores, calls=calls, threshold=None)
    assert found["threshold"] is None
    assert found["accuracy"] == reference.accuracy_score(labels, calls)
    assert found["roc_auc"] == metrics.classification_metrics(labels, scores)["roc_auc"]
    for threshold in (0.3, 0.7):
        alone = metrics.classification_metrics(labels, scores, threshold=threshold)
        assert alone["confusion_matrix"] != found["confusion_matrix"]


def test_score_at_the_threshold_is_positive() -> None:
    assert (
        metrics.classification_metrics(np.array([1, 0]), np.array([0.5, 0.49]))["accuracy"] == 1.0
    )


@pytest.mark.parametrize(
    ("labels", "scores", "options", "message"),
    [
        ([0, -1], [0.1, 0.2], {}, "labels must be 0 or 1"),
        ([0, 0.5], [0.1, 0.2], {}, "labels must be 0 or 1"),
        ([0, 1], [0.1, np.nan], {}, "finite"),
        ([0, 1], [0.1, 1.2], {}, "probabilities"),
        ([0, 1], [0.1], {}, "alike"),
        ([0, 1], [0.1, 0.2], {"calls": np.array([1])}, "alike"),
        ([0, 1], [0.1, 0.2], {"calls": np.array([1, 0.5])}, "calls must be 0 or 1"),
        ([0, 1], [0.1, 0.2], {"threshold": None}, "calls or a threshold"),
    ],
)
def test_bad_input_is_refused(
    labels: list[int], scores: list[float], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.classification_metrics(np.array(labels), np.array(scores), **options)
