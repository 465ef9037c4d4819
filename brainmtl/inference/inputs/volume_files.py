"""Reading NIfTI volumes that somebody sent: the header is checked before anything is unpacked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from isal import igzip, isal_zlib

from brainmtl.data.sources.nifti import is_nifti, read_nifti
from brainmtl.errors import DataError
from brainmtl.files import sha256
from brainmtl.inference.results import InputError, Reason

# 512 x 512 x 512: above any clinical scan of a head. As float32 that is 512 MiB.
MAX_VOXELS = 2**27
MAX_AXIS = 1024  # of slices above all, each of which goes through the network
# Scans with an empty background reach 30 to 1; zeros, which bombs are made of, reach 1000.
MAX_GZIP_RATIO = 250
GZIP_MAGIC = b"\x1f\x8b"
GZIP_ERRORS = (EOFError, igzip.BadGzipFile, isal_zlib.error)  # of a file that is cut off or damaged
HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 has 348


@dataclass(frozen=True, eq=False)
class VolumeInput:
    """One volume (X, Y, Z), float32, with the ``affine`` from voxels to RAS mm.

    ``reason`` is set where it was read but can be no head MRI.
    """

    array: np.ndarray
    affine: np.ndarray
    sha256: str
    name: str
    reason: Reason | None = None


def read_volume(path: Path) -> VolumeInput:
    """Read a NIfTI file, its header checked before anything is unpacked.

    Raises:
        InputError: with ``reason`` not_found, format_not_allowed, too_large, not_a_volume, truncated,
            or unreadable (damaged, without orientation, or with voxels that are not finite).
    """
    if not path.is_file():
        raise InputError("not_found", f"{path} does not exist or is no file")
    if not is_nifti(path):
        raise InputError(
            "format_not_allowed", f"{path} is no NIfTI file by its name: give .nii or .nii.gz"
        )
    _check_header(path)
    try:
        volume = read_nifti(path)
    except DataError as error:
        raise InputError("unreadable", str(error)) from error
    return VolumeInput(volume.array, volume.affine, sha256(path), str(path))


class Announced(NamedTuple):
    """What a NIfTI header says: its own length in bytes, ``shape`` and ``dtype`` of the voxels, and
    the byte ``offset`` from which they stand."""

    length: int
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int


def announced(start: bytes) -> Announced | None:
    """The header that a file begins with, from its first HEADER_BYTES (or all that it has).

    None where it is no single-file NIfTI.

    Raises:
        ValueError: the header is invalid; says why.
    """
    from nibabel import Nifti1Header, Nifti2Header

    for kind, length in ((Nifti1Header, 348), (Nifti2Header, HEADER_BYTES)):
        if len(start) >= length and kind.may_contain_header(start):
            try:
                header = kind(start[:length], check=True)
                shape = tuple(int(n) for n in header.get_data_shape())
                dtype, offset = header.get_data_dtype(), int(header["vox_offset"])
            except Exception as error:  # nibabel raises many kinds on bytes that are no header
                raise ValueError(str(error)) from error
            return Announced(length, shape, dtype, offset)
    return None


def too_large(shape: tuple[int, ...], voxels: int = MAX_VOXELS) -> str | None:
    """What a grid of ``shape`` has more of than is computed, in words; None where it is small enough."""
    if math.prod(shape) <= voxels and max(shape) <= MAX_AXIS:
        return None
    return f"more than {voxels:,} or {MAX_AXIS} along an axis"


def _check_header(path: Path) -> None:
    """Refuse by the first bytes alone: another format, sizes that no scan has, bombs."""
    packed = path.name.lower().endswith(".gz")
    try:
        with path.open("rb") as raw:
            magic = raw.read(2)
            if packed != (magic == GZIP_MAGIC):
                raise InputError("unreadable", f"{path}: its name and its content differ in gzip")
            raw.seek(0)
            stream = igzip.IGzipFile(fileobj=raw) if packed else raw
            start = stream.read(HEADER_BYTES)
    except GZIP_ERRORS as error:
        raise InputError("truncated", f"{path} is cut off or damaged: send it again") from error
    except OSError as error:
        raise InputError("unreadable", f"{path} cannot be read ({error.strerror})") from error
    try:
        found = announced(start)
    except ValueError as error:
        raise InputError("unreadable", f"{path}: invalid header ({error})") from error
    if found is None:
        raise InputError("unreadable", f"{path} is no single-file NIfTI volume: export it again")
    _check_announced(path, found, packed)


def _check_announced(path: Path, found: Announced, packed: bool) -> None:
    _, shape, dtype, offset = found
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(
            "not_a_volume", f"{path} has shape {shape}: give one volume (X, Y, Z) per file"
        )
    if dtype.kind not in "uif":
        raise InputError("not_a_volume", f"{path} holds {dtype} and no grey values")
    if excess := too_large(shape):
        raise InputError("too_large", f"{path} announces {shape} voxels, {excess}: crop it")
    size = max(offset, 0) + math.prod(shape) * dtype.itemsize
    held = path.stat().st_size
    if packed and size > MAX_GZIP_RATIO * held:
        raise InputError(
            "too_large",
            f"{path} announces {size:,} bytes in {held:,}, more than {MAX_GZIP_RATIO} to 1, as no scan "
            "is compressed: give it uncompressed",
        )
    if not packed and size > held:
        raise InputError("truncated", f"{path} announces {size:,} bytes and has {held:,}: cut off")
