"""The convex hull of a mask (its use for heat maps: tests/inference/test_gradcam.py)."""

from __future__ import annotations

import numpy as np
import pytest

from brainmtl.data.preprocessing.hull import convex_hull


@pytest.mark.parametrize("seed", range(5))
def test_it_is_convex_and_the_least_that_is(seed: int) -> None:
    points = np.random.default_rng(seed).integers(5, 55, (6, 2))
    mask = np.zeros((60, 64), dtype=bool)
    mask[tuple(points.T)] = True
    hull = convex_hull(mask)
    assert hull.shape == mask.shape and hull.dtype == bool and hull[mask].all()
    np.testing.assert_array_equal(convex_hull(hull), hull)
    # a pixel is in it unless some direction has it beyond all points
    angles = np.linspace(0, 2 * np.pi, 2000)
    directions = np.stack([np.cos(angles), np.sin(angles)])
    limits = (points @ directions).max(axis=0)
    beyond = (np.argwhere(mask | True) @ directions > limits + 1e-2).any(axis=1)
    assert (hull.ravel() == beyond).sum() <= 2  # on an edge


def test_a_rectangle_is_its_own() -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[3:9, 2:17] = True
    np.testing.assert_array_equal(convex_hull(mask), mask)


@pytest.mark.parametrize("pixels", [[], [(4, 4)], [(4, 4), (9, 9)], [(4, k) for k in range(9)]])
def test_no_area_stays_as_it_is(pixels: list[tuple[int, int]]) -> None:
    mask = np.zeros((12, 12), dtype=bool)
    for pixel in pixels:
        mask[pixel] = True
    np.testing.assert_array_equal(convex_hull(mask), mask)
