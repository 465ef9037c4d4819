"""DICOM series with damaged values, or of more slices or pixels than a scan has: refused, and not by chance."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset
from test_dicom import AFFINE, small, write_series

from brainmtl.inference.folder import find_items
from brainmtl.inference.inputs.dicom import read_series
from brainmtl.inference.inputs.volume_files import MAX_AXIS
from brainmtl.inference.results import InputError


def every(**values: object) -> Callable[[FileDataset, int], None]:
    """Set attributes of every slice; None leaves them empty."""

    def change(dataset: FileDataset, k: int) -> None:
        for name, value in values.items():
            setattr(dataset, name, value)

    return change


@pytest.mark.parametrize(
    "values",
    [
        {"PixelSpacing": [1.0]},
        {"PixelSpacing": [1.0, 1.0, 1.0]},
        {"ImageOrientationPatient": [1.0, 0.0, 0.0]},
        {"ImagePositionPatient": [1.0, 0.0]},
        {"Rows": None},
        {"Rows": 0},
        {"Columns": [36, 36]},
        {"NumberOfFrames": [1, 1]},
        {"SamplesPerPixel": [1, 1]},
    ],
    ids=str,
)
def test_values_of_another_count_are_named(tmp_path: Path, values: dict[str, object]) -> None:
    (name,) = values
    with pytest.raises(InputError, match=f"IM0000: its {name} is not usable") as caught:
        read_series(write_series(tmp_path / "a", small(), AFFINE, change=every(**values)))
    assert caught.value.reason == "not_a_volume"


@pytest.mark.parametrize(
    ("slices", "values", "message"),
    [
        (5, {"PixelSpacing": [0, 0]}, "singular"),
        (5, {"PixelSpacing": [1e6, 1]}, r"voxels are 1 x 1e\+06 x 4 mm"),
        (1, {"SliceThickness": 0}, "singular"),
        (1, {"SliceThickness": 1e6}, r"x 1e\+06 mm"),
    ],
    ids=str,
)
def test_places_that_no_scan_has(
    tmp_path: Path, slices: int, values: dict[str, object], message: str
) -> None:
    folder = write_series(tmp_path / "a", small()[:, :, :slices], AFFINE, change=every(**values))
    with pytest.raises(InputError, match=f"^{re.escape(str(folder))}: .*{message}") as caught:
        read_series(folder)
    assert caught.value.reason == "not_a_volume"


def test_an_empty_number_of_samples_means_one(tmp_path: Path) -> None:
    whole = read_series(write_series(tmp_path / "a", small(), AFFINE))
    without = write_series(tmp_path / "b", small(), AFFINE, change=every(SamplesPerPixel=None))
    assert np.array_equal(read_series(without).array, whole.array)


@pytest.mark.parametrize("key", ["SpacingBetweenSlices", "SliceThickness"])
def test_a_thickness_of_two_values_is_refused(tmp_path: Path, key: str) -> None:
    folder = write_series(
        tmp_path / "a", small()[:, :, :1], AFFINE, change=every(**{key: [5.0, 6.0]})
    )
    with pytest.raises(InputError, match=f"its {key} is not usable"):
        read_series(folder)


@pytest.mark.parametrize("name", ["Rows", "Columns"])
def test_planes_too_large_are_refused_by_their_headers(tmp_path: Path, name: str) -> None:
    """There are pixels for a small plane alone: whoever unpacked them would call it damaged."""
    folder = write_series(tmp_path / "a", small(), AFFINE, change=every(**{name: MAX_AXIS + 1}))
    with pytest.raises(InputError, match=f"{MAX_AXIS + 1}.*or {MAX_AXIS} along an axis") as caught:
        read_series(folder)
    assert caught.value.reason == "too_large"


def test_too_many_slices_are_refused_by_their_number(tmp_path: Path) -> None:
    """Copies of one, which would else be said to lie at one place."""
    folder = write_series(tmp_path / "a", small()[:, :, :1], AFFINE)
    for k in range(1, MAX_AXIS + 1):
        shutil.copy(folder / "IM0000", folder / f"IM{k:04d}")
    with pytest.raises(InputError, match=f"x {MAX_AXIS + 1} voxels.*{MAX_AXIS} along") as caught:
        read_series(folder)
    assert caught.value.reason == "too_large"


def test_the_largest_plane_is_read(tmp_path: Path) -> None:
    voxels = np.ones((8, MAX_AXIS, 2), np.int16)
    assert read_series(write_series(tmp_path / "a", voxels, AFFINE)).array.shape == voxels.shape


def test_a_slice_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """It can be opened, by everybody, and its first byte cannot be read: as one without permission."""
    folder = write_series(tmp_path / "a", small(), AFFINE)
    (folder / "IM0099").symlink_to("/proc/self/mem")
    (folder / "gone").symlink_to("nowhere")
    with pytest.raises(InputError, match="a/IM0099 cannot be read") as caught:
        read_series(folder)
    assert caught.value.reason == "unreadable"
    (item,) = find_items(folder)[0]
    assert folder / "IM0099" in item.files and folder / "gone" not in item.files
