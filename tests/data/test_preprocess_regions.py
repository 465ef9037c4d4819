"""The shortcuts of the foreground search give what numpy and scipy give, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from brainmtl.data.preprocessing.foreground import find_foreground
from brainmtl.data.preprocessing.regions import (
    bounding_box,
    dilate,
    enclosed,
    erode,
    filled,
    percentile,
)
from brainmtl.errors import DataError

SEEDS = range(60)


def blobs(seed: int, shape: tuple[int, int] | None = None) -> np.ndarray:
    """A random plane (H, W), bool: from specks over sponges to blobs with holes, often cut by the border."""
    rng = np.random.default_rng(seed)
    shape = shape or tuple(int(n) for n in rng.integers(1, 140, 2))
    texture = rng.normal(size=shape)
    if seed % 4:
        texture = ndimage.gaussian_filter(texture, rng.uniform(0.5, 5), mode="reflect")
    return texture > np.quantile(texture, rng.uniform(0.02, 0.98))


def plain_enclosed(solid: np.ndarray) -> np.ndarray:
    """The definition of ``enclosed``, by scipy alone and on the whole plane."""
    steps = max(1, min(solid.shape) // 128)
    padded = np.pad(solid, 4 * steps)
    closed = ndimage.binary_dilation(padded, iterations=steps)
    closed = ndimage.binary_erosion(closed, iterations=steps)
    closed = ndimage.binary_fill_holes(closed)
    opened = ndimage.binary_erosion(closed, iterations=2 * steps)
    opened = ndimage.binary_dilation(opened, iterations=2 * steps)
    inner = slice(4 * steps, -4 * steps)
    labels, count = ndimage.label(opened[inner, inner])
    sizes = ndimage.sum_labels(labels > 0, labels, range(1, count + 1))
    kept = [k + 1 for k, size in enumerate(sizes) if size >= 0.1 * max(sizes)]
    return ndimage.binary_fill_holes(np.isin(labels, kept))


@pytest.mark.parametrize("kind", ["float32", "float64", "uint8", "constant", "background"])
@pytest.mark.parametrize("size", [1, 2, 3, 57, 1000, 2049, 40_000, 262_144])
def test_percentile_is_numpys(kind: str, size: int) -> None:
    rng = np.random.default_rng(size)
    values = {
        "float32": rng.normal(50, 7, size).astype(np.float32),
        "float64": rng.lognormal(0, 2, size),
        "uint8": rng.integers(0, 256, size).astype(np.float32),
        "constant": np.full(size, 3.3, np.float32),
        # as in a picture: most are equal, and only the tail differs
        "background": np.where(rng.random(size) < 0.985, 0, rng.random(size)).astype(np.float32),
    }[kind]
    for q in (0, 0.1, 1, 49.9, 50, 50.1, 87.3, 99, 99.9, 100):
        assert percentile(values, q) == float(np.percentile(values, q)), q
        assert percentile(np.sort(values), q) == float(np.percentile(values, q)), q


@pytest.mark.parametrize("rhythm", [256, 257])
def test_percentile_where_a_sample_misses_the_tail(rhythm: int) -> None:
    """Values that come in a rhythm, so that equally spaced samples see only some of them."""
    values = np.tile(np.arange(rhythm, dtype=float), 1024)
    for q in (0.1, 99, 99.9):
        assert percentile(values, q) == float(np.percentile(values, q))


@pytest.mark.parametrize("seed", SEEDS)
def test_morphology_is_scipys(seed: int) -> None:
    plane = blobs(seed)
    for steps in (1, 2, 3, 4, 5, 8, 13):
        expected = ndimage.binary_erosion(plane, iterations=steps)
        np.testing.assert_array_equal(erode(plane, steps), expected)
        expected = ndimage.binary_erosion(plane, iterations=steps, border_value=1)
        np.testing.assert_array_equal(erode(plane, steps, outside=True), expected)
        expected = ndimage.binary_dilation(plane, iterations=steps)
        np.testing.assert_array_equal(dilate(plane, steps), expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_filled_holes_are_scipys(seed: int) -> None:
    before = blobs(seed)
    plane = before.copy()
    np.testing.assert_array_equal(filled(plane), ndimage.binary_fill_holes(before))
    np.testing.assert_array_equal(plane, before)  # the argument stays as it was


@pytest.mark.parametrize("shape", [(20, 31), (128, 90), (300, 270), (513, 640)])
@pytest.mark.parametrize("seed", range(15))
def test_enclosed_is_its_definition(seed: int, shape: tuple[int, int]) -> None:
    plane = blobs(seed, shape)
    np.testing.assert_array_equal(enclosed(plane), plain_enclosed(plane))


def test_convex_shapes_and_two_parts_take_the_same_way() -> None:
    """One run per row is one part only where the rows touch."""
    rows, columns = np.indices((200, 200))
    disc = np.hypot(rows - 90, columns - 100) < 60
    steps = (rows // 40) * 40
    stairs = (rows < 160) & (columns >= steps) & (columns < steps + 40)  # corner to corner
    for plane in (disc, stairs, np.ones_like(disc), np.zeros_like(disc), disc & (rows % 100 > 20)):
        np.testing.assert_array_equal(enclosed(plane), plain_enclosed(plane))


def test_foreground_is_the_definition_on_its_own_background() -> None:
    """Through find_foreground, whose limit is numpy's percentile of the distance."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((260, 240))
    for radius in (40, 70, 100):
        inside = np.hypot(rows - 130, columns - 118) < radius
        image = np.where(inside, rng.normal(120, 40, inside.shape), rng.normal(9, 1, inside.shape))
        image = image.clip(0, 255).astype(np.float32)
        corners = [
            image[r, c].ravel()
            for r in (slice(16), slice(-16, None))
            for c in (slice(15), slice(-15, None))
        ]
        background = np.median(np.concatenate(corners))
        distance = np.abs(image - background)
        strong = float(np.percentile(distance, 99))
        noise = 1.4826 * float(np.median(np.abs(np.concatenate(corners) - background)))
        limit = float(np.clip(4 * noise, 0.06 * strong, 0.25 * strong))
        np.testing.assert_array_equal(find_foreground(image), plain_enclosed(distance > limit))


def test_box_of_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match="no foreground"):
        bounding_box(np.zeros((4, 5), dtype=bool))
