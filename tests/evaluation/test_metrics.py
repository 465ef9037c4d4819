"""Every metric against scikit-learn, MONAI or a brute-force version, degenerate cases included."""

from __future__ import annotations

import json
import statistics

import numpy as np
import pytest
import torch
from monai.metrics import compute_dice, compute_iou
from sklearn import metrics as reference

from brainmtl.evaluation import metrics

CASES = {
    "random": (np.random.default_rng(0).integers(0, 2, 101), np.random.default_rng(1).random(101)),
    "ties": (np.array([0, 1, 0, 1, 1, 0]), np.array([0.5, 0.5, 0.2, 0.2, 0.9, 0.5])),
    "all equal": (np.array([0, 1, 1]), np.full(3, 0.5)),
    "perfect": (np.array([0, 0, 1]), np.array([0.1, 0.2, 0.8])),
    "inverted": (np.array([1, 1, 0]), np.array([0.1, 0.2, 0.8])),
    "none called": (np.array([0, 1]), np.array([0.1, 0.2])),
    "all called": (np.array([0, 1]), np.array([0.7, 0.8])),
    "two cases": (np.array([1, 0]), np.array([0.6, 0.4])),
}


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("name", CASES)
def test_classification_equals_scikit_learn(name: str, threshold: float) -> None:
    labels, scores = CASES[name]
    calls = (scores >= threshold).astype(int)
    found = metrics.classification_metrics(labels, scores, threshold)
    nan = {"zero_division": np.nan}
    expected = {
        "accuracy": reference.accuracy_score(labels, calls),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, calls),
        "sensitivity": reference.recall_score(labels, calls, **nan),
        "specificity": reference.recall_score(labels, calls, pos_label=0, **nan),
        "precision": reference.precision_score(labels, calls, **nan),
        "f1": reference.f1_score(labels, calls, **nan),
        "prevalence": labels.mean(),
        "majority_baseline": max(labels.mean(), 1 - labels.mean()),
        "roc_auc": brute_force_auc(labels, scores),
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


def brute_force_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """P(score of a positive > score of a negative), ties one half, over all pairs."""
    pairs = [(p, n) for p in scores[labels == 1] for n in scores[labels == 0]]
    return float(np.mean([1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs]))


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("score", [0.1, 0.9])
@pytest.mark.parametrize("n", [1, 7])
def test_one_class_leaves_undefined_figures_none(label: int, score: float, n: int) -> None:
    found = metrics.classification_metrics(np.full(n, label), np.full(n, score))
    assert found["roc_auc"] is None and found["balanced_accuracy"] is None
    assert found["sensitivity" if label == 0 else "specificity"] is None
    correct = float((score >= 0.5) == label)
    assert found["sensitivity" if label == 1 else "specificity"] == correct
    assert found["accuracy"] == correct and found["majority_baseline"] == 1.0
    # F1 = 2TP / (2TP + FP + FN) is undefined only where all three are 0
    assert (found["f1"] is None) == (label == 0 and score < 0.5)
    json.dumps(found, allow_nan=False)


def test_no_rows_at_all() -> None:
    found = metrics.classification_metrics(np.array([], dtype=int), np.array([]))
    assert found["n"] == 0 and found["confusion_matrix"] == [[0, 0], [0, 0]]
    assert all(found[key] is None for key in (*found["counts"], "roc_auc", "balanced_accuracy"))


def test_score_at_the_threshold_is_positive() -> None:
    assert (
        metrics.classification_metrics(np.array([1, 0]), np.array([0.5, 0.49]))["accuracy"] == 1.0
    )


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, -1], [0.1, 0.2], "0 or 1"),
        ([0, 1], [0.1, np.nan], "finite"),
        ([0, 1], [0.1], "alike"),
    ],
)
def test_bad_input_is_refused(labels: list[int], scores: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.classification_metrics(np.array(labels), np.array(scores))


@pytest.mark.parametrize("density", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (17, 23), (8, 9, 10)])
def test_overlap_equals_monai(density: float, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(len(shape))
    prediction, truth = rng.random(shape) < density, rng.random(shape) < max(density, 0.3)
    truth.flat[0] = True
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (prediction, truth)]
    assert metrics.dice(prediction, truth) == pytest.approx(compute_dice(*tensors).item(), abs=1e-6)
    assert metrics.iou(prediction, truth) == pytest.approx(compute_iou(*tensors).item(), abs=1e-6)
    flat = truth.ravel(), prediction.ravel()
    assert metrics.iou(prediction, truth) == pytest.approx(
        reference.jaccard_score(*flat, zero_division=0.0)
    )


def test_dice_of_extreme_masks() -> None:
    full, empty, half = np.ones((4, 4), bool), np.zeros((4, 4), bool), np.eye(4, dtype=bool)
    assert metrics.dice(full, full) == metrics.iou(full, full) == 1.0
    assert metrics.dice(empty, full) == metrics.iou(empty, full) == 0.0
    assert metrics.dice(half, ~half) == 0.0
    assert metrics.dice(full, half) == pytest.approx(2 * 4 / 20)
    # an empty reference has no Dice, whether the prediction is empty or not
    assert (
        metrics.dice(empty, empty) is metrics.dice(full, empty) is metrics.iou(full, empty) is None
    )


def test_overlap_counts_do_not_overflow_uint8() -> None:
    ones = np.ones((256, 256), np.uint8)
    assert metrics.overlap(ones, ones) == (65536, 65536, 65536)


def test_overlap_refuses_other_grids() -> None:
    with pytest.raises(ValueError, match="same grid"):
        metrics.overlap(np.ones((2, 3)), np.ones((3, 2)))


@pytest.mark.parametrize("values", [[], [0.5], [0.2, 0.4], [0.1, None, 0.9, 0.3], [None]])
def test_mean_and_sd_equal_the_standard_library(values: list[float | None]) -> None:
    defined = [value for value in values if value is not None]
    found = metrics.mean_sd(values)
    assert found["n"] == len(defined)
    expected = statistics.fmean(defined) if defined else None
    assert found["mean"] == (expected if expected is None else pytest.approx(expected))
    expected = statistics.stdev(defined) if len(defined) > 1 else None
    assert found["sd"] == (expected if expected is None else pytest.approx(expected))


def test_empty_references_have_columns_of_their_own() -> None:
    counts = [(5, 10, 10), (0, 3, 5), (0, 0, 0), (0, 9, 0), (0, 10, 0), (0, 0, 7)]
    found = metrics.overlap_metrics(counts, min_pixels=10)
    assert found["n"] == 3
    assert found["dice"] == pytest.approx(np.mean([0.5, 0.0, 0.0]))
    assert found["iou"] == pytest.approx(np.mean([5 / 15, 0.0, 0.0]))
    assert found["empty"] == {
        "n": 3,
        "false_positive_rate": pytest.approx(1 / 3),
        "counts": [1, 3],
        "min_pixels": 10,
        "mean_predicted_pixels": pytest.approx(19 / 3),
    }
    assert metrics.overlap_metrics(counts)["empty"]["counts"] == [2, 3]
    nothing = metrics.overlap_metrics([])
    assert nothing["dice"] is nothing["empty"]["false_positive_rate"] is None
    with pytest.raises(ValueError, match="at least 1"):
        metrics.overlap_metrics(counts, min_pixels=0)


def test_every_patient_counts_once() -> None:
    cases = [
        ("a", (10, 10, 10)),  # Dice 1.0
        ("a", (0, 10, 10)),  # Dice 0.0 -> patient a: 0.5
        ("a", (0, 4, 0)),  # empty reference: a false positive, not in Dice
        ("b", (9, 10, 10)),  # Dice 0.9
        ("c", (0, 0, 0)),  # healthy
    ]
    found = metrics.patient_metrics(cases)
    assert found["dice"] == pytest.approx((0.5 + 0.9) / 2)
    assert found["dice_sd"] == pytest.approx(statistics.stdev([0.5, 0.9]))
    assert (found["n"], found["n_cases"]) == (2, 5)
    assert found["empty"]["counts"] == [1, 2]
