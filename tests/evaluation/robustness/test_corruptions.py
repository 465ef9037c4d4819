"""Each corruption does what its table says, as if the raw picture had been corrupted."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats
from textured_heads import prepare, raw_head

from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE, normalize_zscore
from brainmtl.errors import DataError
from brainmtl.evaluation.robustness.corruptions import (
    CORRUPTIONS,
    LEVELS,
    RawLike,
    as_stored,
    corrupt,
    head_of,
    image_seed,
    raw_like,
)

ALL_LEVELS = range(1, LEVELS + 1)
GRADED = [name for name in CORRUPTIONS if name != "intensity_scale"]
HEADS = [raw_head(seed) for seed in range(3)]
IMAGES = [prepare(picture, head) for picture, head, _ in HEADS]
MASKS = [lesion.astype(np.uint8) for _, _, lesion in HEADS]


def distance(image: np.ndarray, clean: np.ndarray) -> float:
    return float(np.abs(image - clean)[:, head_of(clean)].mean())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_level_0_is_the_stored_image(name: str) -> None:
    image, mask = corrupt(IMAGES[0], MASKS[0], name, 0, seed=1)
    assert np.array_equal(image, IMAGES[0])
    assert np.array_equal(mask, MASKS[0])


@pytest.mark.parametrize("name", GRADED)
def test_each_level_is_farther_from_clean_than_the_one_before(name: str) -> None:
    means = [
        np.mean(
            [
                distance(corrupt(image, None, name, k, seed)[0], image)
                for seed, image in enumerate(IMAGES)
            ]
        )
        for k in range(LEVELS + 1)
    ]
    assert means[0] == 0
    assert (np.diff(means) > 0.005).all(), means


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("level", ALL_LEVELS)
def test_result_is_a_prepared_image(name: str, level: int) -> None:
    two_channels = np.concatenate([IMAGES[0], -0.5 * IMAGES[0]])
    two_channels[:, ~head_of(IMAGES[0])] = BACKGROUND_VALUE
    image, mask = corrupt(two_channels, MASKS[0], name, level, seed=3)
    assert image.shape == two_channels.shape and image.dtype == np.float32
    assert (
        mask.shape == MASKS[0].shape and mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 1}
    )
    head = head_of(image)
    if name == "rotation":
        assert abs(head.sum() / head_of(two_channels).sum() - 1) < 0.01
    else:
        assert np.array_equal(head, head_of(two_channels))
        assert np.array_equal(mask, MASKS[0])
    assert (image[:, ~head] == BACKGROUND_VALUE).all()
    np.testing.assert_allclose(image[:, head].mean(axis=1), 0, atol=2e-3)
    np.testing.assert_allclose(image[:, head].std(axis=1), 1, atol=2e-3)
    # Rounded as stored samples are, and a fixed point of the pipeline's normalisation.
    assert np.array_equal(image, image.astype(np.float16).astype(np.float32))
    for plane in image:
        np.testing.assert_allclose(normalize_zscore(plane, head), plane, atol=0.02)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_result_depends_on_the_seed_alone(name: str) -> None:
    before = IMAGES[1].copy()
    first, _ = corrupt(IMAGES[1], None, name, 4, seed=11)
    torch.manual_seed(999)  # nothing global may matter
    again, _ = corrupt(IMAGES[1], None, name, 4, seed=11)
    assert np.array_equal(first, again)
    assert np.array_equal(IMAGES[1], before), "the given image must stay as it is"
    others = [corrupt(IMAGES[1], None, name, 4, seed)[0] for seed in range(12, 20)]
    random = name in ("noise", "bias_field", "rotation")
    assert any(not np.allclose(first, other, atol=0.01) for other in others) == random


def as_if_raw(name: str, picture: np.ndarray, parameter: float) -> np.ndarray:
    """The corruption of a raw picture (0..700, air 0) by other means than the code's own."""
    if name in ("gamma_dark", "gamma_bright"):
        from monai.transforms import AdjustContrast

        return np.asarray(AdjustContrast(gamma=parameter)(picture[None]))[0]
    if name == "blur":
        radius = math.ceil(5 * parameter)
        kernel = stats.norm.pdf(np.arange(-radius, radius + 1), scale=parameter)
        blurred = ndimage.convolve1d(picture, kernel / kernel.sum(), axis=0)
        return ndimage.convolve1d(blurred, kernel / kernel.sum(), axis=1)
    if name == "low_resolution":
        plane = torch.from_numpy(picture)[None, None]
        shape = [round(size / parameter) for size in picture.shape]
        small = torch.nn.functional.interpolate(plane, shape, mode="bilinear", antialias=True)
        large = torch.nn.functional.interpolate(
            small, picture.shape, mode="bilinear", antialias=True
        )
        return large[0, 0].numpy()
    if name == "jpeg":
        stream = io.BytesIO()
        Image.fromarray(np.uint8(np.rint(picture / 700 * 255))).save(
            stream, format="JPEG", quality=int(parameter)
        )
        return np.asarray(Image.open(stream)).astype(np.float32)
    return 3.3 * picture  # intensity_scale


@pytest.mark.parametrize(
    "name", ["gamma_dark", "gamma_bright", "blur", "low_resolution", "jpeg", "intensity_scale"]
)
@pytest.mark.parametrize("level", ALL_LEVELS)
def test_like_the_raw_picture_corrupted_and_prepared(name: str, level: int) -> None:
    picture, head, _ = HEADS[0]
    expected = prepare(as_if_raw(name, picture, CORRUPTIONS[name].parameters[level - 1]), head)
    found, _ = corrupt(IMAGES[0], None, name, level, seed=0)
    error = np.abs(found - expected)[:, head]
    if (
        name == "jpeg"
    ):  # a grey value that float16 moved by one may move a whole block's coefficient
        assert error.mean() < 0.1 * distance(expected, IMAGES[0])
    else:  # gamma is steep at 0
        assert error.mean() < 5e-3 and np.mean(error > 0.05) < 5e-3


def test_intensity_scale_changes_nothing_at_any_level() -> None:
    for level in ALL_LEVELS:
        for seed in range(6):
            scaled, _ = corrupt(IMAGES[0], None, "intensity_scale", level, seed)
            np.testing.assert_allclose(scaled, IMAGES[0], atol=0.01)


@pytest.mark.parametrize("sigma", CORRUPTIONS["noise"].parameters)
def test_noise_is_rician(sigma: float) -> None:
    plane = np.repeat(np.float32([0.0, 0.3, 1.0]), 40_000).reshape(300, 400)
    raw = RawLike(plane, np.ones(plane.shape, dtype=bool), deviation=0.5)
    noisy = CORRUPTIONS["noise"].apply(raw, sigma, np.random.default_rng(2))
    for signal in (0.0, 0.3, 1.0):
        values = noisy[plane == np.float32(signal)]
        expected = stats.rice(signal / (0.5 * sigma), scale=0.5 * sigma)
        assert values.mean() == pytest.approx(expected.mean(), abs=0.01 * sigma)
        assert values.std() == pytest.approx(expected.std(), abs=0.01 * sigma)


def test_bias_field_has_the_gain_of_the_table_and_one_shape_for_all_levels() -> None:
    head = HEADS[0][1]
    raw = RawLike(np.where(head, 0.7, 0).astype(np.float32), head, deviation=0.1)
    fields = []
    for gain in CORRUPTIONS["bias_field"].parameters:
        plane = CORRUPTIONS["bias_field"].apply(raw, gain, np.random.default_rng(4))
        assert (plane[~head] == 0).all()
        field = plane[head] / 0.7
        assert field.max() / field.min() == pytest.approx(gain, rel=1e-4)
        fields.append(np.log(field) / np.log(gain))
        steps = np.abs(np.diff(np.where(head, plane, np.nan), axis=0))
        assert np.nanmax(steps) < 0.1 * gain, "a coil's gain is smooth"
    for field in fields[1:]:
        np.testing.assert_allclose(field, fields[0], atol=1e-4)


@pytest.mark.parametrize("level", ALL_LEVELS)
def test_rotation_moves_image_and_mask_alike(level: int) -> None:
    degrees = CORRUPTIONS["rotation"].parameters[level - 1]
    seen = set()
    for seed in range(8):
        image, mask = corrupt(IMAGES[2], MASKS[2], "rotation", level, seed)
        direction = max(
            (1, -1), key=lambda sign: (_turned(MASKS[2], sign * degrees) & (mask > 0)).sum()
        )
        seen.add(direction)
        expected = _turned(MASKS[2], direction * degrees)
        overlap = 2 * (expected & (mask > 0)).sum() / (expected.sum() + mask.sum())
        assert overlap > 0.97
        turned = ndimage.rotate(
            IMAGES[2][0], direction * degrees, reshape=False, order=1, cval=-3.0
        )
        inner = ndimage.binary_erosion(head_of(image), iterations=3)
        assert np.corrcoef(turned[inner], image[0][inner])[0, 1] > 0.99
    assert seen == {1, -1}
    alone, none = corrupt(IMAGES[2], None, "rotation", level, 0)
    assert none is None
    assert np.array_equal(alone, corrupt(IMAGES[2], MASKS[2], "rotation", level, 0)[0])


def _turned(mask: np.ndarray, degrees: float) -> np.ndarray:
    return ndimage.rotate(mask, degrees, reshape=False, order=0) > 0


def test_raw_like_is_the_raw_picture_up_to_its_scale() -> None:
    picture, head, _ = HEADS[1]
    raw = raw_like(IMAGES[1][0], head_of(IMAGES[1]))
    assert np.array_equal(raw.head, head)
    np.testing.assert_allclose(raw.plane, picture / 700, atol=1e-3)
    assert raw.deviation == pytest.approx(picture[head].std() / 700, rel=1e-2)
    np.testing.assert_allclose(as_stored([raw.plane], raw.head), IMAGES[1], atol=0.01)


def test_image_seed_differs_between_images_purposes_and_seeds() -> None:
    seeds = {
        image_seed(seed, image, purpose)
        for seed in range(5)
        for image in ("a", "b", "a_z001")
        for purpose in CORRUPTIONS
    }
    assert len(seeds) == 5 * 3 * len(CORRUPTIONS)
    assert image_seed(3, "a", "noise") == 2_027_251_794  # the same on every machine


def test_what_cannot_be_corrupted_is_refused() -> None:
    with pytest.raises(ValueError, match="'fog' is unknown"):
        corrupt(IMAGES[0], None, "fog", 1, 0)
    with pytest.raises(ValueError, match=r"level 6 must be one of 0\.\.5"):
        corrupt(IMAGES[0], None, "blur", 6, 0)
    blank = np.full((1, 64, 64), BACKGROUND_VALUE, dtype=np.float32)
    with pytest.raises(DataError, match="empty or constant"):
        corrupt(blank, None, "blur", 1, 0)
    blank[0, 20:40, 20:40] = 1.0
    with pytest.raises(DataError, match="empty or constant"):
        corrupt(blank, None, "jpeg", 1, 0)
