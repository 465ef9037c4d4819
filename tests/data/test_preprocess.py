"""From raw intensities to what a network sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from brainmtl.data.preprocessing.foreground import find_foreground
from brainmtl.data.preprocessing.preprocess import (
    BACKGROUND_VALUE,
    IMAGE_SIZE,
    frame_volume,
    load_and_preprocess_image,
    normalize_zscore,
    preprocess_slice,
)
from brainmtl.data.preprocessing.regions import bounding_box
from brainmtl.errors import DataError


def head(shape: tuple[int, int] = (160, 130), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A textured ellipse of 60..200 on 0 (H, W) float32, and its true extent."""
    rows, columns = np.indices(shape)
    centre = np.array(shape) / 2
    inside = ((rows - centre[0]) / (0.40 * shape[0])) ** 2 + (
        (columns - centre[1]) / (0.38 * shape[1])
    ) ** 2 < 1
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 4)
    texture = 130 + 45 * texture / np.abs(texture).max()
    return np.where(inside, texture, 0).astype(np.float32), inside


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_shape_zscore_and_background() -> None:
    image, inside = head()
    prepared = preprocess_slice(image[None])
    assert prepared.image.shape == (1, IMAGE_SIZE, IMAGE_SIZE)
    assert prepared.image.dtype == np.float32
    values = prepared.image[0][prepared.foreground].astype(np.float64)
    assert values.mean() == pytest.approx(0, abs=1e-3) and values.std() == pytest.approx(
        1, abs=1e-3
    )
    assert (prepared.image[0][~prepared.foreground] == BACKGROUND_VALUE).all()
    back = prepared.geometry.mask_to_plane(prepared.foreground)
    assert overlap(back, inside) > 0.98


def test_values_are_exact_in_float16() -> None:
    image = preprocess_slice(head()[0][None]).image
    np.testing.assert_array_equal(image, image.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("shape", [(300, 140), (140, 300), (64, 48), (700, 640)])
def test_aspect_is_kept(shape: tuple[int, int]) -> None:
    rows, columns = np.indices(shape)
    radius = 0.35 * min(shape)
    disc = np.hypot(rows - shape[0] / 2, columns - shape[1] / 2) < radius
    texture = 100 + 20 * np.sin(rows / 5)
    prepared = preprocess_slice(np.where(disc, texture, 0)[None])
    r0, r1, c0, c1 = bounding_box(prepared.foreground)
    assert (r1 - r0) / (c1 - c0) == pytest.approx(1, abs=0.03)
    # The frame is one pixel of the picture exact.
    assert r1 - r0 == pytest.approx(IMAGE_SIZE / 1.04, abs=1.1 * prepared.geometry.scale[0])


def test_normalize_zscore_matches_numpy_within_the_percentiles() -> None:
    rng = np.random.default_rng(0)
    image, foreground = rng.normal(50, 7, (40, 50)), rng.random((40, 50)) < 0.6
    values = image[foreground]
    clipped = np.clip(values, *np.percentile(values, (0.1, 99.9)))
    result = normalize_zscore(image, foreground)
    np.testing.assert_allclose(
        result[foreground], (clipped - clipped.mean()) / clipped.std(), rtol=1e-5, atol=1e-5
    )
    assert (result[~foreground] == BACKGROUND_VALUE).all() and result.dtype == np.float32


@pytest.mark.parametrize("scale", [1e-3, 0.37, 250.0])
@pytest.mark.parametrize("shift", [0.0, -900.0, 12_345.0])
def test_intensity_scale_and_shift_change_nothing(scale: float, shift: float) -> None:
    image, _ = head()
    expected = preprocess_slice(image[None])
    moved = preprocess_slice((image.astype(np.float64) * scale + shift * scale)[None])
    assert moved.geometry == expected.geometry
    np.testing.assert_array_equal(moved.foreground, expected.foreground)
    np.testing.assert_allclose(moved.image, expected.image, atol=0.02)


def test_inverting_a_picture_finds_the_same_head() -> None:
    image, inside = head()
    assert overlap(find_foreground(255 - image), inside) > 0.98


@pytest.mark.parametrize("background", [0, 12, 100, 255])
@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_background_need_not_be_zero_or_clean(background: int, noise: float) -> None:
    image, inside = head()
    image = np.where(inside, image if background < 100 else image * 0.4, background)
    image = image + np.random.default_rng(1).normal(0, noise, image.shape)
    assert overlap(find_foreground(image), inside) > 0.96


def test_letters_rulers_and_specks_are_left_out() -> None:
    image, inside = head((200, 180))
    marked = image.copy()
    marked[4:12, 4:30:3] = 255  # a caption
    marked[20:180:8, 174:178] = 255  # a ruler
    marked[190, 90] = 255
    assert overlap(find_foreground(marked), inside) > 0.97


def test_dark_inclusions_belong_to_the_head() -> None:
    image, inside = head()
    image[70:90, 50:80] = 0  # a ventricle as dark as the background
    assert find_foreground(image)[72:88, 52:78].all()
    assert overlap(find_foreground(image), inside) > 0.98


def air(image: np.ndarray, level: float, seed: int = 0) -> np.ndarray:
    """``image`` (H, W) with Rayleigh noise of ``level`` where it is 0, but in its blanked corners."""
    noise = level * np.random.default_rng(seed).rayleigh(size=image.shape)
    rows, columns = np.indices(image.shape)
    height, width = np.array(image.shape) - 1
    near = np.minimum(rows, height - rows) + np.minimum(columns, width - columns)
    return np.where(image > 0, image, np.where(near < 0.2 * min(image.shape), 0, noise))


@pytest.mark.parametrize("level", [1, 4, 8])
def test_noise_of_the_air_between_blanked_corners_is_no_head(level: float) -> None:
    """As scanners write it; single slices of the TCGA cohort were half air before it was measured."""
    image, inside = head((256, 256))
    assert overlap(find_foreground(air(image, level)), inside) > 0.96


def test_noise_is_measured_slice_by_slice() -> None:
    """Coil correction makes the air of the outer slices brighter than that of the others."""
    image, inside = head((256, 256))
    planes = np.stack([air(image, level, seed=level) for level in (1, 2, 9)], axis=2)
    found = find_foreground(planes)
    assert all(overlap(found[:, :, k], inside) > 0.96 for k in range(3))


def test_faint_tissue_at_the_border_is_kept_where_there_is_no_air() -> None:
    """A stripped brain on exact zeros: fluid at its rim may be as faint as noise elsewhere."""
    image, inside = head()
    faint = inside & ~ndimage.binary_erosion(inside, iterations=6)
    image[faint] = 0.1 * np.percentile(image, 99)
    assert find_foreground(image)[faint].mean() > 0.9


@pytest.mark.parametrize("seed", range(4))
def test_photograph_cropped_into_the_head_is_kept(seed: int) -> None:
    """With tissue in every corner some of the rim may pass for background, the frame stays whole."""
    texture = np.random.default_rng(seed).normal(size=(120, 100))
    cropped = 130 + 160 * ndimage.gaussian_filter(texture, 1.5)
    prepared = preprocess_slice(cropped[None])
    assert find_foreground(cropped).mean() > 0.8
    r0, r1, c0, c1 = prepared.geometry.crop
    assert (r1 - r0) * (c1 - c0) > 0.95 * cropped.size


def test_corners_that_are_tissue_throughout_leave_the_whole_picture() -> None:
    """A picture whose 'background' would swallow all but a speck has no background."""
    picture = np.full((90, 90), 100.0)
    picture[40:43, 40:43] = 200
    assert find_foreground(picture).all()


def test_head_within_a_frame_within_a_mat() -> None:
    image, inside = head()
    framed = np.pad(np.pad(image, 40, constant_values=230), 30, constant_values=90)
    expected = np.pad(inside, 70)
    assert overlap(find_foreground(framed), expected) > 0.96


def volume(seed: int = 0) -> np.ndarray:
    """A brain (96, 80, 24) on 0: an ellipsoid of smooth texture, as after skull stripping."""
    shape = (96, 80, 24)
    grid = np.indices(shape) - (np.array(shape) / 2)[:, None, None, None]
    distance = (grid / np.array([40, 33, 11])[:, None, None, None]) ** 2
    inside = distance.sum(axis=0) < 1
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return np.where(inside, 300 + 100 * texture / texture.std(), 0).clip(0).astype(np.float32)


def test_zscored_volume_with_background_zero_is_framed_as_the_raw_one() -> None:
    raw = volume()
    brain = raw > 0
    centred = np.where(brain, (raw - raw[brain].mean()) / raw[brain].std(), 0).astype(np.float32)
    assert (centred[brain] < 0).mean() > 0.4
    first, second = frame_volume(raw), frame_volume(centred)
    assert overlap(first.foreground, brain) > 0.98 and overlap(second.foreground, brain) > 0.97
    assert abs(first.geometry.scale[0] / second.geometry.scale[0] - 1) < 0.03
    assert set(first.slices) == set(second.slices)
    for k in (8, 12, 16):
        geometry = first.slice_geometry(k)
        one = preprocess_slice(raw[None, :, :, k], first.foreground[:, :, k], geometry)
        other = preprocess_slice(centred[None, :, :, k], second.foreground[:, :, k], geometry)
        both = one.foreground & other.foreground
        assert np.abs(one.image - other.image)[0][both].mean() < 0.1


def test_outlier_voxels_do_not_flatten_the_rest() -> None:
    image, inside = head((240, 200))
    planes = np.stack([image] * 3, axis=2)
    spoiled = planes.copy()
    spoiled[120, 100, 1] = spoiled[60, 90, 1] = 32_770  # voxels like that occur in BraTS
    expected, frame = frame_volume(planes), frame_volume(spoiled)
    assert frame.geometry == expected.geometry
    assert overlap(frame.foreground[:, :, 1], inside) > 0.98
    geometry = frame.slice_geometry(1)
    clean = preprocess_slice(planes[None, :, :, 1], inside, geometry)
    prepared = preprocess_slice(spoiled[None, :, :, 1], inside, geometry)
    difference = np.abs(prepared.image - clean.image)[0][clean.foreground]
    assert np.median(difference) < 0.05 and np.percentile(difference, 99) < 0.15


def test_volume_has_one_frame_and_counts_brain_slices() -> None:
    raw = volume()
    frame = frame_volume(raw, (2.0, 1.0, 3.0))
    cover = (raw > 0).mean(axis=(0, 1))
    assert frame.geometry.slice_spacing_mm == 3.0 and frame.geometry.spacing_mm == (2.0, 1.0)
    assert frame.slice_geometry(5).slice_index == 5
    assert frame.slices == tuple(range(frame.slices[0], frame.slices[-1] + 1))
    assert cover[list(frame.slices)].min() > cover[[0, 23]].max()


def test_several_channels_share_foreground_and_frame() -> None:
    first, _ = head()
    second = np.where(first > 0, 500 - first, 0)
    second[5:100, 2:20] = 300  # no head: the first channel shows none there
    alone = preprocess_slice(first[None])
    both = preprocess_slice(np.stack([first, second]))
    assert both.image.shape == (2, IMAGE_SIZE, IMAGE_SIZE) and both.geometry == alone.geometry
    np.testing.assert_array_equal(both.image[0], alone.image[0])
    np.testing.assert_allclose(both.image[1][both.foreground].mean(), 0, atol=1e-3)


def test_padding_is_background_where_the_head_touches_the_border() -> None:
    """A head cut by the picture's border is not drawn on into the padding."""
    image, _ = head((300, 260), seed=4)
    cropped = image[:, 60:200]
    prepared = preprocess_slice(cropped[None])
    _, _, left, right = prepared.geometry.padding
    assert left > 20 and right > 20
    columns = int(left * prepared.geometry.scale[1]) - 2
    assert (prepared.image[0][:, :columns] == BACKGROUND_VALUE).all()


def picture(path: Path, array: np.ndarray) -> Path:
    Image.fromarray(array).save(path)
    return path


def nan_picture() -> np.ndarray:
    image = head()[0]
    image[80, 60] = np.nan
    return image


UNUSABLE = {
    "constant": (np.full((64, 64), 7, np.uint8), "constant"),
    "black": (np.zeros((64, 64), np.uint8), "constant"),
    "nan": (nan_picture(), "NaN"),
    "tiny": (np.arange(64, dtype=np.uint8).reshape(8, 8), "16 pixels"),
    "strip": (np.arange(480, dtype=np.uint16).reshape(8, 60).astype(np.uint8), "16 pixels"),
    "flat_head": (np.pad(np.full((60, 60), 90, np.uint8), 40), "constant"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_unusable_pictures_are_errors_that_name_the_file(tmp_path: Path, kind: str) -> None:
    array, reason = UNUSABLE[kind]
    path = picture(tmp_path / f"{kind}.{'tif' if kind == 'nan' else 'png'}", array)
    with pytest.raises(DataError, match=rf"{kind}\.(png|tif).*{reason}"):
        load_and_preprocess_image(path)


def test_no_foreground_is_an_error() -> None:
    image, _ = head()
    with pytest.raises(DataError, match="empty"):
        normalize_zscore(image, np.zeros(image.shape, bool))
    with pytest.raises(DataError, match="empty"):
        bounding_box(np.zeros((5, 5), bool))


def test_a_picture_is_prepared_as_its_array(tmp_path: Path) -> None:
    array = head()[0].astype(np.uint8)
    path = picture(tmp_path / "a.png", array)
    loaded = load_and_preprocess_image(path)
    np.testing.assert_array_equal(loaded.image, preprocess_slice(array[None]).image)
