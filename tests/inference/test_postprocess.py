"""Cleaning of masks against a flood fill written out, MONAI, and degenerate masks."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from monai.transforms import FillHoles
from scipy import ndimage

from brainmtl.errors import ConfigError
from brainmtl.inference.operating.postprocess import (
    PostprocessOptions,
    clean_slice,
    clean_volume,
    fill_holes,
    label_components,
    min_component_voxels,
    remove_small,
)


def flood(mask: np.ndarray, diagonal: bool) -> list[set[tuple[int, ...]]]:
    """Components of a mask of any number of axes, by walking from pixel to pixel."""
    steps = [
        step
        for step in product((-1, 0, 1), repeat=mask.ndim)
        if any(step) and (diagonal or sum(map(abs, step)) == 1)
    ]
    left = set(map(tuple, np.argwhere(mask).tolist()))
    found = []
    while left:
        todo = [left.pop()]
        component = set(todo)
        while todo:
            here = todo.pop()
            for step in steps:
                there = tuple(a + b for a, b in zip(here, step, strict=True))
                if there in left:
                    left.remove(there)
                    component.add(there)
                    todo.append(there)
        found.append(component)
    return found


def mask_of(pixels: list[set[tuple[int, ...]]], shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    for pixel in set().union(*pixels):
        mask[pixel] = True
    return mask


def slow_fill(mask: np.ndarray) -> np.ndarray:
    outer = [
        component
        for component in flood(~mask, diagonal=False)
        if any(
            p in (0, n - 1) for pixel in component for p, n in zip(pixel, mask.shape, strict=True)
        )
    ]
    return ~mask_of(outer, mask.shape)


def blobs(shape: tuple[int, ...], seed: int, sigma: float = 1.0) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return noise > 0.3 * noise.std()


MASKS = {
    **{f"plane {seed}": blobs((30, 26), seed) for seed in range(4)},
    **{f"noise {seed}": np.random.default_rng(seed).random((20, 22)) < 0.45 for seed in range(3)},
    **{f"volume {seed}": blobs((12, 10, 9), seed) for seed in range(3)},
    "empty": np.zeros((8, 9), bool),
    "full": np.ones((8, 9), bool),
    "empty volume": np.zeros((4, 5, 6), bool),
    "one pixel": np.pad(np.ones((1, 1), bool), 3),
    "ring": np.pad(~np.pad(np.ones((3, 3), bool), 1), 2),
    "checkerboard": np.indices((8, 8)).sum(0) % 2 == 0,
}


@pytest.mark.parametrize("name", MASKS)
def test_removal_equals_a_flood_fill(name: str) -> None:
    mask = MASKS[name]
    components = flood(mask, diagonal=True)
    labels, sizes = label_components(mask)
    assert sorted(sizes[1:]) == sorted(map(len, components)) and sizes[0] == 0
    assert ((labels > 0) == mask).all()
    for minimum in (0, 1, 2, 5, 17, mask.size + 1):
        expected = mask_of([c for c in components if len(c) >= minimum], mask.shape)
        found = remove_small(mask, minimum)
        assert found.dtype == bool
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", MASKS)
def test_filling_equals_a_flood_fill_and_monai(name: str) -> None:
    mask = MASKS[name]
    before = mask.copy()
    found = fill_holes(mask)
    np.testing.assert_array_equal(mask, before)
    np.testing.assert_array_equal(found, slow_fill(mask))
    monai = np.asarray(FillHoles(connectivity=1)(mask[None].astype(np.uint8)))[0] > 0
    np.testing.assert_array_equal(found, monai)


def test_holes_are_filled_before_sizes_are_taken() -> None:
    ring = MASKS["ring"]  # 16 pixels around a hole of 9
    assert clean_slice(ring, PostprocessOptions(17, fill_holes=False)).sum() == 0
    assert clean_slice(ring, PostprocessOptions(17, fill_holes=True)).sum() == 25
    assert clean_slice(ring, PostprocessOptions()).sum() == 16
    assert clean_slice(ring.astype(np.uint8), PostprocessOptions(16)).dtype == bool


def test_the_default_leaves_masks_alone() -> None:
    assert PostprocessOptions() == PostprocessOptions(0, False, 0.0)
    for mask in MASKS.values():
        clean = clean_slice if mask.ndim == 2 else clean_volume
        found = clean(mask, PostprocessOptions())
        np.testing.assert_array_equal(found, mask)
        assert found is not mask


@pytest.mark.parametrize(
    ("ml", "voxel_ml", "voxels"),
    [(0.0, 0.001, 0), (0.3, 0.001, 300), (0.3, None, 300), (0.1, 0.003, 34), (2.0, 0.0045, 445)],
)
def test_millilitres_become_voxels(ml: float, voxel_ml: float | None, voxels: int) -> None:
    options = PostprocessOptions(min_component_ml=ml)
    assert min_component_voxels(options, voxel_ml) == voxels


def test_a_volume_is_cleaned_in_three_dimensions() -> None:
    mask = np.zeros((12, 12, 12), dtype=bool)
    mask[1:4, 1:4, 1:4] = True
    mask[2, 2, 2] = False  # a cavity of one voxel
    mask[8, 8, :8] = True  # 8 voxels, one in each of 8 slices
    mask[4, 4, 4] = True  # touches the cube at a corner
    options = PostprocessOptions(fill_holes=True, min_component_ml=0.009)
    found = clean_volume(mask, options, voxel_ml=0.001)
    assert found.sum() == 28 and found[2, 2, 2] and found[4, 4, 4]
    np.testing.assert_array_equal(found, clean_volume(mask, options, None))
    assert clean_volume(mask, options, voxel_ml=0.002).sum() == 36
    # pixels are those of the prepared grid: they say nothing about this one
    assert clean_volume(mask, PostprocessOptions(100)).sum() == mask.sum()


def test_planes_and_volumes_are_not_mixed_up() -> None:
    with pytest.raises(ValueError, match="no plane"):
        clean_slice(np.zeros((4, 4, 4), bool), PostprocessOptions())
    with pytest.raises(ValueError, match="no volume"):
        clean_volume(np.zeros((4, 4), bool), PostprocessOptions())


@pytest.mark.parametrize(
    "options",
    [
        {"min_component_pixels": -1},
        {"min_component_pixels": 1.5},
        {"min_component_pixels": True},
        {"min_component_ml": -0.1},
        {"min_component_ml": float("nan")},
        {"min_component_ml": float("inf")},
        {"fill_holes": "yes"},
        {"fill_holes": None},
    ],
    ids=str,
)
def test_options_that_cannot_work_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        PostprocessOptions(**options)
