"""Overlap of masks, lesions and volumes against MONAI, scikit-learn or a brute-force version."""

from __future__ import annotations

import statistics
from collections import deque
from itertools import product

import numpy as np
import pytest
import torch
from monai.metrics import compute_dice, compute_iou
from sklearn import metrics as reference

from brainmtl.evaluation import metrics


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
    assert found["n"] == 2 and metrics.patient_metrics([])["dice"] is None


@pytest.mark.parametrize("density", [0.0, 0.2, 1.0])
def test_pixel_accuracy_and_pooled_dice_equal_scikit_learn(density: float) -> None:
    rng = np.random.default_rng(4)
    predictions, truths = rng.random((5, 6, 7)) < density, rng.random((5, 6, 7)) < 0.3
    truths[2] = False
    counts = [metrics.overlap(*pair) for pair in zip(predictions, truths, strict=True)]
    for k, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
        found = metrics.pixel_accuracy_from_counts(*counts[k], truth.size)
        expected = reference.accuracy_score(truth.ravel(), prediction.ravel())
        assert found == (pytest.approx(expected) if k != 2 else None)
    expected = reference.f1_score(truths.ravel(), predictions.ravel(), zero_division=0.0)
    assert metrics.pooled_dice(counts) == pytest.approx(expected)
    assert metrics.pooled_dice([]) is metrics.pooled_dice([(0, 5, 0)]) is None


def test_group_means_leave_undefined_values_out() -> None:
    pairs = [("a", 1.0), ("b", None), ("a", None), ("c", 4.0), ("a", 2.0)]
    assert metrics.group_means(pairs) == [1.5, 4.0]
    assert metrics.group_means([]) == []


def components(mask: np.ndarray) -> list[set[tuple[int, ...]]]:
    """Flood fill over all neighbours that share a face, an edge or a corner."""
    remaining = {tuple(int(i) for i in place) for place in np.argwhere(mask)}
    steps = [step for step in product((-1, 0, 1), repeat=mask.ndim) if any(step)]
    found = []
    while remaining:
        queue = deque([remaining.pop()])
        own = set(queue)
        while queue:
            place = queue.popleft()
            for step in steps:
                neighbour = tuple(a + b for a, b in zip(place, step, strict=True))
                if neighbour in remaining:
                    remaining.remove(neighbour)
                    own.add(neighbour)
                    queue.append(neighbour)
        found.append(own)
    return found


@pytest.mark.parametrize("densities", [*product((0.0, 0.05, 0.3, 1.0), repeat=2)])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (15, 17), (7, 8, 9)])
def test_lesions_equal_a_flood_fill(shape: tuple[int, ...], densities: tuple[float, float]) -> None:
    rng = np.random.default_rng(11)
    prediction, truth = (rng.random(shape) < density for density in densities)
    found = metrics.lesion_counts(prediction, truth)
    lesions, ours = components(truth), components(prediction)
    assert found == {
        "reference": len(lesions),
        "found": sum(any(prediction[place] for place in own) for own in lesions),
        "false_positive": sum(not any(truth[place] for place in own) for own in ours),
    }


def test_lesions_by_hand() -> None:
    truth, prediction = np.zeros((2, 9, 9), bool)
    truth[0, 0] = truth[1, 1] = True  # joined by a corner: one lesion
    truth[4:6, 4:6] = truth[8, 8] = True
    prediction[5, 5] = True  # one pixel finds the second lesion
    prediction[0, 8] = prediction[8, 0] = True
    expected = {"reference": 3, "found": 1, "false_positive": 2}
    assert metrics.lesion_counts(prediction, truth) == expected
    with pytest.raises(ValueError, match="same grid"):
        metrics.lesion_counts(prediction, truth[1:])


def test_bounding_box_holds_all_and_nothing_more() -> None:
    mask = np.zeros((5, 6, 7), bool)
    assert mask[metrics.bounding_box(mask)].size == 0
    mask[1, 2, 3] = mask[4, 2, 0] = True
    assert metrics.bounding_box(mask) == (slice(1, 5), slice(2, 3), slice(0, 4))


@pytest.mark.parametrize("values", [[1.0, 1.0], [3.0, -1.0, 4.0, -1.5, 9.0]])
def test_bland_altman_equals_its_formula(values: list[float]) -> None:
    found = metrics.bland_altman(values)
    bias, sd = statistics.fmean(values), statistics.stdev(values)
    assert found == {
        "bias": pytest.approx(bias),
        "sd": pytest.approx(sd),
        "lower": pytest.approx(bias - 1.96 * sd),
        "upper": pytest.approx(bias + 1.96 * sd),
        "n": len(values),
    }
    assert metrics.bland_altman(values[:1]) is metrics.bland_altman([]) is None
