"""The headers of one DICOM series as an even stack of planes: their order, and the affine.

Attributes as in DICOM PS3.3, C.7.6.2 (Image Plane Module). Patients lie in LPS mm there; the affine of
this project maps voxels to RAS mm, so that x and y change sign.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brainmtl.data.preprocessing.geometry import check_affine
from brainmtl.errors import DataError
from brainmtl.inference.inputs.volume_files import too_large
from brainmtl.inference.results import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

ATTRIBUTES = {  # and how many numbers each has
    "ImagePositionPatient": 3,
    "ImageOrientationPatient": 6,
    "PixelSpacing": 2,
    "Rows": 1,
    "Columns": 1,
}
# Slices may lie this share of their distance away from even spacing; a missing one is a whole one.
SPACING_TOLERANCE = 0.1
ANGLE_TOLERANCE = 1e-3  # of direction cosines


def sorted_stack(folder: Path, files: list[tuple[Path, Dataset]]) -> list[tuple[Path, Dataset]]:
    """The images along their normal, all of one grid and evenly spaced.

    Raises:
        InputError: with ``reason`` format_not_allowed, not_a_volume or too_large.
    """
    for path, dataset in files:
        _check_image(path, dataset)
    first = files[0][1]
    shape = (int(first.Columns), int(first.Rows), len(files))
    if excess := too_large(shape):
        raise InputError(
            "too_large", f"{folder} has {' x '.join(map(str, shape))} voxels, {excess}"
        )
    for path, dataset in files:
        for key, tolerance in (
            ("Rows", 0),
            ("Columns", 0),
            ("PixelSpacing", 1e-4),
            ("ImageOrientationPatient", ANGLE_TOLERANCE),
        ):
            if not np.allclose(
                _numbers(dataset, key), _numbers(first, key), rtol=0, atol=tolerance
            ):
                raise InputError(
                    "not_a_volume",
                    f"{path}: its {key} differs from that of {files[0][0].name}. Localisers and "
                    "oblique stacks are no volume: give one stack of parallel slices",
                )
    normal = _normal(first)
    placed = sorted(
        (float(normal @ _numbers(dataset, "ImagePositionPatient")), str(path), path, dataset)
        for path, dataset in files
    )
    _check_spacing(folder, np.array([place for place, *_ in placed]))
    return [(path, dataset) for *_, path, dataset in placed]


def _check_image(path: Path, dataset: Dataset) -> None:
    missing = [key for key in ATTRIBUTES if key not in dataset]
    if _whole(path, dataset, "NumberOfFrames") > 1:
        raise InputError(
            "format_not_allowed",
            f"{path} is a multi-frame image: convert it, for instance with dcm2niix, and give the NIfTI",
        )
    if _whole(path, dataset, "SamplesPerPixel") != 1:
        raise InputError("format_not_allowed", f"{path} is a colour image, which MRI is not")
    if missing:
        raise InputError("not_a_volume", f"{path} lacks {', '.join(missing)}: export it again")
    for key, count in ATTRIBUTES.items():
        numbers = _numbers(dataset, key)
        whole = key not in ("Rows", "Columns") or numbers.min() >= 1
        if numbers.shape != (count,) or not np.isfinite(numbers).all() or not whole:
            raise _unusable(path, key)


def _check_spacing(folder: Path, places: np.ndarray) -> None:
    gaps = np.diff(places)
    if not len(gaps):
        return
    usual = float(np.median(gaps))
    if usual <= 0 or gaps.min() <= SPACING_TOLERANCE * usual:
        raise InputError(
            "not_a_volume",
            f"{folder}: several images lie at one place (echoes, times or copies): give one of each",
        )
    if np.abs(gaps - usual).max() > SPACING_TOLERANCE * usual:
        k = int(np.abs(gaps - usual).argmax())
        raise InputError(
            "not_a_volume",
            f"{folder}: the slices are {usual:.2f} mm apart, but {gaps[k]:.2f} mm after number {k + 1}: "
            "one is missing, or the series is no even stack",
        )


def affine_of(folder: Path, headers: list[Dataset]) -> np.ndarray:
    """(4, 4) from voxel (column, row, slice) to RAS mm, of the headers of a sorted stack.

    Raises:
        InputError: not_a_volume.
    """
    first, last = headers[0], headers[-1]
    orientation = _numbers(first, "ImageOrientationPatient")
    row_mm, column_mm = _numbers(first, "PixelSpacing")  # between rows, between columns
    origin = _numbers(first, "ImagePositionPatient")
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * column_mm
    affine[:3, 1] = orientation[3:] * row_mm
    if len(headers) > 1:
        affine[:3, 2] = (_numbers(last, "ImagePositionPatient") - origin) / (len(headers) - 1)
    else:
        keys = ("SpacingBetweenSlices", "SliceThickness")
        given = [key for key in keys if first.get(key) is not None]
        if not given:
            raise InputError(
                "not_a_volume", f"{folder}: one image without SliceThickness is no volume"
            )
        key = next((key for key in given if first.get(key)), given[0])  # one of them may be 0
        thickness = _numbers(first, key)
        if thickness.shape != (1,) or not np.isfinite(thickness).all():
            raise _unusable(folder, key)
        affine[:3, 2] = _normal(first) * thickness[0]
    affine[:3, 3] = origin
    try:
        check_affine(affine)
    except DataError as error:
        raise InputError("not_a_volume", f"{folder}: {error}") from error
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _normal(dataset: Dataset) -> np.ndarray:
    orientation = _numbers(dataset, "ImageOrientationPatient")
    return np.cross(orientation[:3], orientation[3:])


def _numbers(dataset: Dataset, key: str) -> np.ndarray:
    try:
        return np.atleast_1d(np.asarray(dataset[key].value, dtype=np.float64))
    except (TypeError, ValueError):
        return np.array([np.nan])


def _whole(path: Path, dataset: Dataset, key: str) -> int:
    """A whole number that may be absent or empty, which means 1."""
    try:
        return int(dataset.get(key) or 1)
    except (TypeError, ValueError) as error:
        raise _unusable(path, key) from error


def _unusable(path: Path, key: str) -> InputError:
    return InputError("not_a_volume", f"{path}: its {key} is not usable: export it again")
