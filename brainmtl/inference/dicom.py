"""DICOM: the one series of a folder as a volume with its affine, everything taken from the headers.

Attributes as in DICOM PS3.3, C.7.6.2 (Image Plane Module) and C.11.1 (Modality LUT). Patients lie in
LPS mm there; the affine of this project maps voxels to RAS mm, so that x and y change sign.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from brainmtl.data.geometry import check_affine
from brainmtl.data.sources.walk import walk_files
from brainmtl.errors import ConfigError, DataError
from brainmtl.inference.results import InputError, Reason
from brainmtl.inference.volume_files import MAX_AXIS, MAX_VOXELS, VolumeInput

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_FILES = 4096
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


class Series(NamedTuple):
    """A series by its SeriesInstanceUID, and what people call it: number and description."""

    uid: str
    name: str


def series_of(path: Path) -> Series | None:
    """The series of a DICOM file; None where it holds no image, or cannot be read that far."""
    tags = ["SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Rows"]
    try:
        import pydicom

        dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
        return Series(_uid(dataset), _name(dataset)) if "Rows" in dataset else None
    except Exception:  # pydicom has many; read_series() says what is wrong
        return None


def read_series(
    folder: Path, series: str | None = None, files: Sequence[Path] | None = None
) -> VolumeInput:
    """Read the one series of single-frame MR images below ``folder``, or the one of several with the
    SeriesInstanceUID ``series``. With ``files`` no others are looked at.

    Voxels are (columns, rows, slices), float32, with rescale slope and intercept applied.

    Raises:
        InputError: with ``reason`` not_found, not_dicom (also: no such series), several_series (the
            message names them), too_large, not_a_volume (other geometry per slice, uneven spacing), format_not_allowed
            (multi-frame, colour, a compression without decoder), truncated or not_finite.
        ConfigError: pydicom is not installed.
    """
    slices = _sorted(folder, _one_series(folder, _headers(folder, files), series))
    planes, digest = [], hashlib.sha256()
    for path, _ in slices:
        data = path.read_bytes()
        digest.update(data)
        planes.append(_plane(path, data))
    array = np.ascontiguousarray(np.stack(planes, axis=-1).swapaxes(0, 1))  # rows are y
    if not np.isfinite(array).all():
        raise InputError("not_finite", f"{folder}: the rescaled values are not finite")
    headers = [dataset for _, dataset in slices]
    if headers[0].get("PhotometricInterpretation") == "MONOCHROME1":  # white is the lowest value
        array = array.max() - array
    return VolumeInput(
        array,
        _affine(folder, headers),
        digest.hexdigest(),
        str(folder),
        _other_modality(headers[0]),
    )


def _one_series(
    folder: Path, files: list[tuple[Path, Dataset]], wanted: str | None
) -> list[tuple[Path, Dataset]]:
    found = defaultdict(list)
    for path, dataset in files:
        found[_uid(dataset)].append((path, dataset))
    if wanted is None and len(found) == 1:
        return files
    if wanted in found:
        return found[wanted]
    held = "; ".join(
        f"{_name(own[0][1])}, {len(own)} images, series={uid!r}" for uid, own in found.items()
    )
    if wanted is not None:
        raise InputError("not_dicom", f"{folder} holds no series {wanted!r}, but {held}")
    raise InputError(
        "several_series",
        f"{folder} holds {len(found)} series ({held}): name one of them by series=, or give its folder",
    )


def is_dicom(path: Path) -> bool:
    """Whether the file carries the DICOM signature."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _headers(folder: Path, files: Sequence[Path] | None) -> list[tuple[Path, Dataset]]:
    try:
        import pydicom
    except ImportError as error:
        raise ConfigError("DICOM needs pydicom: pip install 'brainmtl[serve]'") from error
    if not folder.is_dir():
        raise InputError("not_found", f"{folder} does not exist or is no folder")
    paths = files
    if paths is None:
        paths = [path for path in walk_files(folder) if is_dicom(path)]
    if len(paths) > MAX_FILES:
        raise InputError("too_large", f"{folder} holds {len(paths)} files, more than {MAX_FILES}")
    found = []
    for path in paths:
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
        except Exception as error:
            raise InputError(
                "truncated", f"{path} is damaged ({error}): export it again"
            ) from error
        if "Rows" in dataset:
            found.append((path, dataset))
        elif _should_be_image(dataset):
            raise InputError("truncated", f"{path} is cut off in its header: export it again")
    if not found:
        raise InputError("not_dicom", f"{folder} holds no DICOM images")
    return found


def _should_be_image(dataset: Dataset) -> bool:
    """False for a DICOMDIR, a report or another object that has no picture; True where nobody knows."""
    kind = dataset.file_meta.get("MediaStorageSOPClassUID")
    return kind is None or "Image Storage" in kind.name


def _uid(dataset: Dataset) -> str:
    return str(dataset.get("SeriesInstanceUID", ""))


def _name(dataset: Dataset) -> str:
    number = dataset.get("SeriesNumber", "?")
    return f"{number}: {dataset.get('SeriesDescription', 'no description')}"


def _sorted(folder: Path, files: list[tuple[Path, Dataset]]) -> list[tuple[Path, Dataset]]:
    """The images along their normal, all of one grid and evenly spaced."""
    for path, dataset in files:
        _check_image(path, dataset)
    first = files[0][1]
    voxels = int(first.Rows) * int(first.Columns) * len(files)
    if voxels > MAX_VOXELS or max(first.Rows, first.Columns, len(files)) > MAX_AXIS:
        shape = f"{first.Columns} x {first.Rows} x {len(files)}"
        raise InputError(
            "too_large",
            f"{folder} has {shape} voxels, more than {MAX_VOXELS:,} or {MAX_AXIS} along an axis",
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


def _plane(path: Path, data: bytes) -> np.ndarray:
    """Pixels (rows, columns) of one image as float32, rescaled."""
    from io import BytesIO

    import pydicom
    from pydicom.pixels import apply_rescale

    try:
        dataset = pydicom.dcmread(BytesIO(data))
        dataset.SamplesPerPixel = dataset.get("SamplesPerPixel") or 1  # empty in some exports
        if not dataset.file_meta.TransferSyntaxUID.is_compressed:
            stored = dataset.pixel_array
        else:
            stored = _decompressed(path, dataset)
        plane = np.asarray(apply_rescale(stored, dataset), dtype=np.float32)
    except InputError:
        raise
    except Exception as error:
        raise InputError("truncated", f"{path} is damaged ({error}): export it again") from error
    if plane.shape != (int(dataset.Rows), int(dataset.Columns)):
        raise InputError("not_a_volume", f"{path}: pixels of shape {plane.shape}, no plane")
    return plane


def _decompressed(path: Path, dataset: Dataset) -> np.ndarray:
    try:
        return dataset.pixel_array
    except (RuntimeError, NotImplementedError) as error:
        raise InputError(
            "format_not_allowed",
            f"{path} is compressed ({dataset.file_meta.TransferSyntaxUID.name}) and cannot be unpacked "
            "here: unpack the series, for instance with gdcmconv --raw",
        ) from error


def _affine(folder: Path, headers: list[Dataset]) -> np.ndarray:
    """(4, 4) from voxel (column, row, slice) to RAS mm."""
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


def _other_modality(dataset: Dataset) -> Reason | None:
    modality = str(dataset.get("Modality") or "MR")
    if modality == "MR":
        return None
    return Reason(
        "not_mr", f"The series is {modality} and no MR: the model knows MRI of heads alone."
    )
