"""Reading NIfTI volumes: values checked, orientation taken from the header and nowhere else."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainmtl.data.preprocessing.geometry import VolumeGeometry, check_affine
from brainmtl.data.records import Case
from brainmtl.errors import DataError

NIFTI_SUFFIXES = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Volume:
    """Voxels in the file grid, (X, Y, Z) or (X, Y, Z, channels), float32 or labels in their own type,
    and the affine to RAS mm."""

    path: Path
    array: np.ndarray
    affine: np.ndarray


def is_nifti(path: Path) -> bool:
    """Whether the file name is that of a NIfTI file, in upper or lower case."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def read_nifti(path: Path, dimensions: int = 3, *, labels: bool = False) -> Volume:
    """Read ``path`` as float32 with ``dimensions`` axes (surplus axes of length 1 are dropped).

    With ``labels``, whole numbers stay in the type that they are stored in.

    Raises DataError if the file is unreadable or cut off, has other dimensions, no orientation in
    its header, or a voxel that is not finite.
    """
    try:
        array, affine, header = _read(path, None if labels else np.float32)
        if array.dtype.kind not in "iub":
            array = array.astype(np.float32, copy=False)
    except MemoryError:
        raise
    except Exception as error:  # nibabel has a class of its own for every field that may be damaged
        raise DataError(
            f"{path}: not a readable NIfTI file ({error}). Download or unpack it again."
        ) from error
    while array.ndim > dimensions and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != dimensions or 0 in array.shape:
        raise DataError(
            f"{path}: shape {array.shape}, expected {dimensions} axes. Save one volume per file."
        )
    _check_orientation(path, header, affine)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(
            f"{path}: holds NaN or infinite voxels. Replace them or leave the case out."
        )
    return Volume(path, array, affine)


def _read(path: Path, dtype: type | None) -> tuple[np.ndarray, np.ndarray, Any]:
    """Voxels, affine and header. A gzipped file is unpacked by ISA-L, in a quarter of nibabel's time."""
    import nibabel as nib  # lazily: a picture source needs no NIfTI reader

    if not path.name.lower().endswith(".gz"):
        return _parts(nib.load(path), dtype)
    from isal import igzip

    with igzip.open(path) as stream:
        start = stream.read(nib.Nifti2Header.sizeof_hdr)
        for kind in (nib.Nifti1Image, nib.Nifti2Image):
            if kind.header_class.may_contain_header(start):
                stream.seek(0)
                return _parts(kind.from_stream(stream), dtype)
    raise ValueError("what it holds is no single-file NIfTI")


def _parts(image: Any, dtype: type | None) -> tuple[np.ndarray, np.ndarray, Any]:
    array = np.asarray(image.dataobj, dtype=dtype)
    return array, np.asarray(image.affine, dtype=np.float64), image.header


def _check_orientation(path: Path, header: object, affine: np.ndarray) -> None:
    codes = [int(header[key]) for key in ("qform_code", "sform_code") if key in header]
    if codes and not any(codes):
        raise DataError(
            f"{path}: the header states no orientation (qform_code and sform_code are 0), and it "
            "is never guessed. Set the affine from the original file (nibabel: set_sform(affine, 1))."
        )
    try:
        check_affine(affine)
    except DataError as error:
        raise DataError(f"{path}: {error}.") from error


def check_same_grid(first: Volume, second: Volume) -> None:
    """Raise DataError unless both volumes have one shape and the same place in space.

    The affines may differ by rounding: corners of the grid must agree within a tenth of a voxel.
    """
    shape, other = first.array.shape[:3], second.array.shape[:3]
    if shape != other:
        raise DataError(
            f"{second.path}: shape {other}, but {first.path.name} has {shape}. "
            "Image and mask must share one grid; resample the mask to the image."
        )
    corners = np.array([(*c, 1) for c in itertools.product(*((0, n - 1) for n in shape))])
    moved = np.linalg.norm((corners @ (first.affine - second.affine).T)[:, :3], axis=1).max()
    spacing = np.linalg.norm(first.affine[:3, :3], axis=0).min()
    if moved > 0.1 * spacing:
        raise DataError(
            f"{second.path}: its affine puts the grid {moved:.2f} mm away from {first.path.name}. "
            "Image and mask must share one grid; resample the mask to the image."
        )


def whole_tumour(volume: Volume) -> np.ndarray:
    """The label map as bool: whole tumour is every label above 0.

    Raises DataError for negative or fractional values, which no label map has.
    """
    labels = volume.array
    fractional = labels.dtype.kind == "f" and not np.array_equal(labels, np.rint(labels))
    if labels.min() < 0 or fractional:
        raise DataError(
            f"{volume.path}: not a label map (negative or fractional values from {labels.min():g} "
            f"to {labels.max():g}). Give the segmentation, with 0 for background."
        )
    return labels > 0


def oriented_case(channels: Sequence[Volume], mask: Volume | None) -> Case:
    """Turn volumes of one grid into a Case in display orientation."""
    first = channels[0]
    for volume in (*channels[1:], *([mask] if mask else [])):
        check_same_grid(first, volume)
    shape = first.array.shape[:3]
    geometry = VolumeGeometry.from_affine(first.affine, shape)
    planes = [np.moveaxis(geometry.orient(volume.array), 2, 0) for volume in channels]
    return Case(
        # (C, H, W, N) whose planes lie together in memory, since all that follows works on planes.
        image=np.moveaxis(np.stack(planes) if len(planes) > 1 else planes[0][None], 1, -1),
        mask=geometry.orient(whole_tumour(mask)) if mask else None,
        volume=geometry,
        spacing_mm=geometry.display_spacing(),
        positions=_slice_positions(geometry),
    )


def _slice_positions(geometry: VolumeGeometry) -> tuple[int, ...]:
    """File index of each displayed slice, read off by orienting the indices themselves."""
    indices = np.indices(geometry.file_shape, sparse=True)  # one per file axis
    for index in indices:
        oriented = geometry.orient(np.broadcast_to(index, geometry.file_shape))  # (H, W, N)
        positions = oriented[0, 0]
        if (oriented[-1, -1] == positions).all():  # this file axis is the slice axis
            return tuple(int(i) for i in positions)
    raise AssertionError("no file axis runs along the slices")
