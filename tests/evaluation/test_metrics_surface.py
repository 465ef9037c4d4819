"""Surface metrics against MONAI and against all pairs of surface pixels."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial.distance import cdist

from brainmtl.evaluation import metrics


def blobs(shape: tuple[int, ...], share: float, seed: int) -> np.ndarray:
    """Smooth random regions that cover about ``share`` of the grid."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5)
    return noise > np.quantile(noise, 1 - share)


def pixel(shape: tuple[int, ...], place: float) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(int(place * (size - 1)) for size in shape)] = True
    return mask


PAIRS = {
    "blobs": lambda shape: (blobs(shape, 0.2, 1), blobs(shape, 0.15, 2)),
    "noise": lambda shape: tuple(np.random.default_rng(3).random((2, *shape)) < 0.3),
    "same": lambda shape: (blobs(shape, 0.3, 4), blobs(shape, 0.3, 4)),
    "pixels": lambda shape: (pixel(shape, 0.2), pixel(shape, 0.9)),
    "same pixel": lambda shape: (pixel(shape, 0.5), pixel(shape, 0.5)),
    "pixel in full": lambda shape: (pixel(shape, 0.0), np.ones(shape, bool)),
    "full": lambda shape: (np.ones(shape, bool), np.ones(shape, bool)),
    "full on blobs": lambda shape: (np.ones(shape, bool), blobs(shape, 0.1, 5)),
}
GRIDS = [
    ((24, 31), None),
    ((24, 31), (0.7, 1.9)),
    ((8, 9, 10), None),
    ((8, 9, 10), (0.5, 0.5, 4.0)),
    ((8, 9, 10), (1.0, 1.5, 3.0)),
    ((1, 9), None),
    ((5, 1, 6), (3.0, 1.0, 1.0)),
]


def surface_by_hand(mask: np.ndarray) -> np.ndarray:
    """Places of the pixels that have a background neighbour across a face."""
    padded = np.pad(mask, 1)
    faces = np.eye(mask.ndim, dtype=int)
    steps = [*faces, *-faces]
    return np.array(
        [p for p in np.argwhere(mask) if not all(padded[tuple(p + 1 + step)] for step in steps)]
    )


def by_hand(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> dict[str, float]:
    """The three metrics from both sets of distances."""
    near = ours <= tolerance + 1e-9, theirs <= tolerance + 1e-9
    precision, recall = near[0].mean(), near[1].mean()
    both = precision > 0 and recall > 0
    return {
        "nsd": np.concatenate(near).mean(),
        "boundary_f": 2 / (1 / precision + 1 / recall) if both else 0.0,
        "hd95": max(np.percentile(ours, 95), np.percentile(theirs, 95)),
    }


@pytest.mark.parametrize(("shape", "spacing"), GRIDS)
@pytest.mark.parametrize("name", PAIRS)
def test_equals_all_pairs_of_surface_pixels(
    name: str, shape: tuple[int, ...], spacing: tuple[float, ...] | None
) -> None:
    prediction, truth = PAIRS[name](shape)
    scale = np.ones(len(shape)) if spacing is None else np.array(spacing)
    pairs = cdist(surface_by_hand(prediction) * scale, surface_by_hand(truth) * scale)
    for tolerance in (0.0, 1.0, 2.0, 3.5):
        found = metrics.surface_metrics(prediction, truth, spacing, tolerance)
        expected = by_hand(pairs.min(axis=1), pairs.min(axis=0), tolerance)
        assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.filterwarnings("ignore:monai.metrics.utils:FutureWarning")
@pytest.mark.parametrize(("shape", "spacing"), GRIDS[:5])
@pytest.mark.parametrize("name", PAIRS)
def test_equals_monai(name: str, shape: tuple[int, ...], spacing: tuple[float, ...] | None) -> None:
    prediction, truth = PAIRS[name](shape)
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (prediction, truth)]
    options = {"include_background": True, "spacing": None if spacing is None else list(spacing)}
    found = metrics.surface_metrics(prediction, truth, spacing, 1.25)
    nsd = compute_surface_dice(*tensors, class_thresholds=[1.25], **options)
    hd95 = compute_hausdorff_distance(*tensors, percentile=95, **options)
    assert found["nsd"] == pytest.approx(nsd.item(), abs=1e-6)
    assert found["hd95"] == pytest.approx(hd95.item(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("shape", "spacing"), GRIDS[:5])
def test_distances_equal_the_distance_transform(
    shape: tuple[int, ...], spacing: tuple[float, ...] | None
) -> None:
    masks = PAIRS["blobs"](shape)
    surfaces = []
    for mask in masks:
        surface = np.zeros(shape, bool)
        surface[tuple(surface_by_hand(mask).T)] = True
        surfaces.append(surface)
    found = metrics.surface_distances(*masks, spacing)
    assert found is not None
    for distances, own, other in zip(found, surfaces, surfaces[::-1], strict=True):
        expected = distance_transform_edt(~other, sampling=spacing)[own]
        np.testing.assert_allclose(distances, expected, atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (9, 8), (4, 5, 6)])
def test_empty_masks(shape: tuple[int, ...]) -> None:
    empty, full = np.zeros(shape, bool), np.ones(shape, bool)
    undefined = {"nsd": None, "boundary_f": None, "hd95": None}
    assert metrics.surface_metrics(empty, empty) == undefined
    assert metrics.surface_metrics(full, empty) == undefined
    missed = {"nsd": 0.0, "boundary_f": 0.0, "hd95": None}
    assert metrics.surface_metrics(empty, full) == missed
    assert metrics.surface_distances(empty, full) is None


def test_a_shift_is_measured_in_millimetres() -> None:
    truth = np.zeros((20, 30, 10), bool)
    truth[5:12, 5:12, 3:6] = True
    for axis, spacing in product(range(3), [(1.0, 1.0, 1.0), (0.4, 0.9, 3.0)]):
        shift = np.roll(truth, 1, axis)
        found = metrics.surface_metrics(shift, truth, spacing, tolerance=spacing[axis])
        assert found == pytest.approx({"nsd": 1.0, "boundary_f": 1.0, "hd95": spacing[axis]})
        assert metrics.surface_metrics(shift, truth, spacing, spacing[axis] * 0.99)["nsd"] < 1


def test_tolerance_survives_rounding_of_the_spacing() -> None:
    """5 * 0.4 = 2, but 12 * 0.4 - 7 * 0.4 is a little more."""
    ours, theirs = np.zeros((2, 1, 20), bool)
    ours[0, [0, 12]] = theirs[0, [0, 7]] = True
    assert 12 * 0.4 - 7 * 0.4 > 2.0
    assert metrics.surface_metrics(ours, theirs, (1.0, 0.4), tolerance=2.0)["nsd"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spacing": (1.0,)}, "2 positive numbers"),
        ({"spacing": (1.0, 0.0)}, "positive"),
        ({"spacing": (1.0, np.nan)}, "positive"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"tolerance": np.nan}, "tolerance"),
        ({"reference": np.ones((3, 4))}, "same grid"),
    ],
)
def test_misuse_is_refused(arguments: dict, message: str) -> None:
    masks = {"prediction": np.ones((4, 4)), "reference": np.ones((4, 4))}
    with pytest.raises(ValueError, match=message):
        metrics.surface_metrics(**(masks | arguments))
