"""DICOM: the one series of a folder as a volume, rescaled as its Modality LUT says (PS3.3, C.11.1)."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from brainmtl.data.sources.walk import walk_files
from brainmtl.errors import ConfigError
from brainmtl.inference.inputs.dicom_stack import affine_of, sorted_stack
from brainmtl.inference.inputs.volume_files import VolumeInput
from brainmtl.inference.results import InputError, Reason
from brainmtl.words import quantity

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_FILES = 4096


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
            message names them), unreadable, too_large, not_a_volume (other geometry per slice, uneven
            spacing), format_not_allowed (multi-frame, colour, a compression without decoder), truncated or not_finite.
        ConfigError: pydicom is not installed.
    """
    slices = sorted_stack(folder, _one_series(folder, _headers(folder, files), series))
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
        affine_of(folder, headers),
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
        f"{_name(own[0][1])}, {quantity(len(own), 'images')}, series={uid!r}"
        for uid, own in found.items()
    )
    if wanted is not None:
        raise InputError("not_dicom", f"{folder} holds no series {wanted!r}, but {held}")
    raise InputError(
        "several_series",
        f"{folder} holds {len(found)} series ({held}): name one of them by series=, or give its folder",
    )


def is_dicom(path: Path) -> bool:
    """Whether the file carries the DICOM signature, or is locked: a slice that nobody misses is a hole."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except FileNotFoundError:  # a link to nothing
        return False
    except OSError:  # read_series() says what is wrong
        return True


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
        except OSError as error:
            what = f"{path} cannot be read ({error.strerror or error})"
            raise InputError("unreadable", what) from error
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


def _other_modality(dataset: Dataset) -> Reason | None:
    modality = str(dataset.get("Modality") or "MR")
    if modality == "MR":
        return None
    return Reason(
        "not_mr", f"The series is {modality} and no MR: the model knows MRI of heads alone."
    )
