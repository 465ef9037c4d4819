"""Which slices of a volume show brain, and the one frame of them all."""

from __future__ import annotations

import numpy as np
import pytest

from brainmtl.data.preparation.cases import prepare_slices
from brainmtl.data.preprocessing.geometry import VolumeGeometry
from brainmtl.data.preprocessing.preprocess import frame_volume, prepare_mask, preprocess_slice
from brainmtl.data.records import Case
from brainmtl.errors import DataError


def discs(radii: list[float]) -> np.ndarray:
    """A disc of texture in the middle of each plane (96, 80, N), with these radii."""
    rows, columns = np.indices((96, 80))
    distance = np.hypot(rows - 48, columns - 40)
    texture = 100 + 20 * np.sin(rows / 5)
    return np.stack([np.where(distance < radius, texture, 0) for radius in radii], axis=2)


def test_slices_show_brain_from_a_tenth_of_the_frame_on() -> None:
    """The box of a disc of 30 pixels holds 3,600, a tenth of which one of 10.7 has."""
    frame = frame_volume(discs([5, 9, 12, 25, 30, 30, 30, 12, 9]))
    assert frame.slices == (2, 3, 4, 5, 6, 7)


def test_a_slice_with_tumour_is_kept_however_little_brain_it_shows() -> None:
    image = discs([5, 9, 30, 30, 30, 9, 5])
    mask = np.zeros(image.shape, bool)
    mask[44:52, 36:44, 4:6] = True  # slice 5 is a thirteenth of the frame
    volume = VolumeGeometry.stack(image.shape[:2], image.shape[2])
    records, left_out = prepare_slices(Case(image[None], mask, volume, None, tuple(range(10, 17))))
    assert [record.position for record in records] == [12, 13, 14, 15] and left_out == 3
    assert [bool(record.mask.any()) for record in records] == [False, False, True, True]
    for record in records:
        own = prepare_mask(mask[:, :, record.position - 10], record.prepared.geometry)
        np.testing.assert_array_equal(record.mask, own)
    records, _ = prepare_slices(Case(image[None], None, volume, None, tuple(range(10, 17))))
    assert [record.position for record in records] == [12, 13, 14]


def test_a_single_slice_of_brain_has_a_frame() -> None:
    frame = frame_volume(discs([0, 30, 0]))
    assert frame.slices == (1,) and frame.geometry.scale[0] == pytest.approx(256 / 62, rel=0.05)


def test_noise_in_one_slice_or_outside_the_brain_does_not_widen_the_frame() -> None:
    raw = discs([0, 0, 25, 30, 30, 30, 25, 0, 0])
    expected = frame_volume(raw)
    spoiled = raw.copy()
    spoiled[40:56, 2:9, :2] = 90  # in slices without brain
    spoiled[80:94, 20:60, 4] = 90  # a fifth of the disc, in a single slice
    assert frame_volume(spoiled).foreground[86, 40, 4]
    assert frame_volume(spoiled).geometry == expected.geometry
    assert frame_volume(spoiled).slices == expected.slices


def test_nan_in_another_channel_is_an_error() -> None:
    """The foreground, which looks at the first one alone, does not show it."""
    planes = np.moveaxis(discs([30, 30]), 2, 0)
    planes[1, 48, 40] = np.nan
    with pytest.raises(DataError, match="NaN"):
        preprocess_slice(planes)
