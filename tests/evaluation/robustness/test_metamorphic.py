"""The checks compare what must be equal, and their figures are what they say."""

from __future__ import annotations

import numpy as np
import pytest
from textured_heads import prepare, raw_head

from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE, preprocess_slice
from brainmtl.evaluation.robustness.corruptions import head_of
from brainmtl.evaluation.robustness.metamorphic import (
    CHECKS,
    MAX_SHIFT,
    agreement,
    flip_left_right,
    intensity_scale,
    summary,
    translation,
)

PICTURE, HEAD, _ = raw_head(7)
IMAGE = prepare(PICTURE, HEAD)


def bright(image: np.ndarray) -> np.ndarray:
    """A segmentation that follows every flip and shift: pixels above the mean."""
    return image[0] > 0.5


@pytest.mark.parametrize("name", CHECKS)
def test_a_segmentation_that_follows_the_change_agrees_completely(name: str) -> None:
    _, make = CHECKS[name]
    for seed in range(20):
        variant = make(IMAGE, np.random.default_rng(seed))
        original = IMAGE if variant.original is None else variant.original
        assert variant.changed.shape == IMAGE.shape and variant.changed.dtype == np.float32
        found = agreement(*variant.undo(bright(variant.changed), bright(original)))
        assert found == pytest.approx(1.0, abs=0 if name != "intensity_scale" else 5e-3)


@pytest.mark.parametrize("name", ["flip_left_right", "translation"])
def test_a_segmentation_that_ignores_the_change_is_found_out(name: str) -> None:
    _, make = CHECKS[name]
    fixed = bright(IMAGE)
    found = agreement(*make(IMAGE, np.random.default_rng(1)).undo(fixed, fixed))
    assert found < 0.9


def test_flip_mirrors_columns() -> None:
    changed = flip_left_right(IMAGE, np.random.default_rng(0)).changed
    assert np.array_equal(changed, IMAGE[:, :, ::-1])
    assert changed.flags.c_contiguous, "torch takes no negative strides"


def test_translation_moves_every_pixel_by_a_few() -> None:
    shifts = set()
    for seed in range(200):
        image = np.full((1, 40, 40), BACKGROUND_VALUE, dtype=np.float32)
        image[0, 20, 20] = 1.0
        changed = translation(image, np.random.default_rng(seed)).changed
        row, column = np.argwhere(changed[0] == 1.0)[0] - 20
        assert 1 <= abs(row) <= MAX_SHIFT and 1 <= abs(column) <= MAX_SHIFT
        assert (changed == BACKGROUND_VALUE).sum() == image.size - 1
        shifts.add((row, column))
    assert len(shifts) > 100
    assert {np.sign(pair).tobytes() for pair in shifts} == {
        np.array(pair).tobytes() for pair in ((1, 1), (1, -1), (-1, 1), (-1, -1))
    }


def test_intensity_scale_is_undone_by_preprocessing_a_stored_image() -> None:
    for seed in range(10):
        variant = intensity_scale(IMAGE, np.random.default_rng(seed))
        assert np.array_equal(head_of(variant.changed), head_of(variant.original))
        np.testing.assert_allclose(variant.changed, variant.original, atol=0.01)
        # The search for the head finds the stored head again, but for its outermost pixels.
        assert (head_of(variant.original) != head_of(IMAGE)).mean() < 0.01


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.3, 2.0])
def test_intensity_scale_is_undone_by_preprocessing_a_raw_picture(factor: float) -> None:
    for seed in range(3):
        picture, _, _ = raw_head(seed)
        noisy = picture + np.abs(np.random.default_rng(seed).normal(0, 4, picture.shape))
        plain = preprocess_slice(noisy[None])
        scaled = preprocess_slice(factor * noisy[None])
        assert plain.geometry == scaled.geometry
        assert np.array_equal(plain.foreground, scaled.foreground)
        np.testing.assert_allclose(scaled.image, plain.image, atol=0.01)


def test_agreement_is_dice_and_undefined_for_two_empty_masks() -> None:
    rng = np.random.default_rng(0)
    for share in (0.02, 0.5, 0.98):
        one, other = rng.random((2, 30, 40)) < share
        inside_one, inside_other = set(np.flatnonzero(one)), set(np.flatnonzero(other))
        expected = 2 * len(inside_one & inside_other) / (len(inside_one) + len(inside_other))
        assert agreement(one, other) == pytest.approx(expected)
    empty = np.zeros((3, 3), dtype=bool)
    assert agreement(empty, empty) is None
    assert agreement(empty, ~empty) == agreement(~empty, empty) == 0.0
    assert agreement(~empty, ~empty) == 1.0


def test_summary_takes_the_bad_tail_of_both_figures() -> None:
    rng = np.random.default_rng(3)
    changes, dices = rng.random(101), rng.random(101)
    rows = [
        {"change": change, "flipped": k < 7, "mask_dice": dice if k >= 40 else None}
        for k, (change, dice) in enumerate(zip(changes, dices, strict=True))
    ]
    found = summary(rows)
    ordered, low = sorted(changes), sorted(dices[40:])
    assert found["n"] == 101
    assert found["probability_change"] == {
        "mean": pytest.approx(sum(changes) / 101),
        "p95": pytest.approx(ordered[95]),
        "max": ordered[-1],
    }
    assert found["mask_dice"] == {
        "mean": pytest.approx(sum(low) / 61),
        "p5": pytest.approx(low[3]),
        "min": low[0],
        "n": 61,
    }
    assert found["flipped"] == {"rate": pytest.approx(7 / 101), "counts": [7, 101]}


def test_summary_without_masks_defines_no_dice() -> None:
    found = summary([{"change": 0.25, "flipped": False, "mask_dice": None}])
    assert found["mask_dice"] == {"mean": None, "p5": None, "min": None, "n": 0}
    assert found["probability_change"] == {"mean": 0.25, "p95": 0.25, "max": 0.25}
