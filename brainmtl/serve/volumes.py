"""NIfTI uploads: what the header announces is checked before anything is unpacked, and bounds it.

A reader that opens the packed file itself would unpack whatever stands before, between and behind the
voxels; an extension of the header may claim 2 GB.
"""

from __future__ import annotations

import math
from io import BufferedWriter, BytesIO
from pathlib import Path

from isal import igzip

from brainmtl.inference.inputs.volume_files import (
    GZIP_ERRORS,
    GZIP_MAGIC,
    HEADER_BYTES,
    MAX_GZIP_RATIO,
    announced,
    too_large,
)
from brainmtl.serve.errors import ApiError

BLOCK = 1 << 20
# 512 x 512 x 256: above any clinical scan of a head; computing one takes some GB of memory.
MAX_VOXELS = 1 << 26
MAX_OFFSET = 16 << 20  # of the voxels: header and extensions
MAX_SURPLUS = 1 << 20  # padding behind the voxels


def write_volume(data: bytes, folder: Path) -> Path:
    """Write an uploaded NIfTI file, unpacked, extensions marked absent, as ``folder/volume.nii``.

    Until the header has been checked, no more than the header is unpacked; afterwards no more than
    it announces and MAX_SURPLUS. The checksum of a gzip file is verified.

    Raises:
        ApiError: 413 too many voxels or compressed too strongly, 415 no NIfTI, 422 cut off, damaged,
            an invalid header, or more data than it announces; 503 no space to write to.
    """
    packed = data.startswith(GZIP_MAGIC)
    try:
        with _open(data, packed) as stream:
            header_bytes, size = _announced(stream.read(HEADER_BYTES))
        if packed and size > MAX_GZIP_RATIO * len(data):
            raise ApiError(
                413,
                "compression_ratio",
                f"The header announces {size:,} bytes in a file of {len(data):,}: more than "
                f"{MAX_GZIP_RATIO} to 1, as no scan is compressed. Send it uncompressed (.nii).",
            )
        path = folder / "volume.nii"
        with _open(data, packed) as stream, path.open("wb") as target:
            _copy(stream, target, header_bytes, size)
    except GZIP_ERRORS as error:
        raise _unusable("truncated", "The gzip file is damaged or cut off.") from error
    except OSError as error:
        detail = f"This server cannot store the volume for computing it ({error.strerror})."
        raise ApiError(503, "storage", detail) from error
    return path


def _open(data: bytes, packed: bool) -> igzip.IGzipFile | BytesIO:
    return igzip.IGzipFile(fileobj=BytesIO(data)) if packed else BytesIO(data)


def _copy(
    stream: igzip.IGzipFile | BytesIO, target: BufferedWriter, header_bytes: int, size: int
) -> None:
    target.write(stream.read(header_bytes))
    stream.read(4)
    target.write(bytes(4))  # says that there are no extensions: nothing here needs them
    written = header_bytes + 4
    while block := stream.read(BLOCK):
        written += len(block)
        if written > size + MAX_SURPLUS:
            raise _unusable("bad_header", f"The file holds more than the announced {size:,} bytes.")
        target.write(block)
    if written < size:
        raise _unusable("truncated", f"The header announces {size:,} bytes, found {written:,}.")


def _announced(start: bytes) -> tuple[int, int]:
    """Bytes of the header, and of the unpacked file up to the last voxel."""
    try:
        found = announced(start)
    except ValueError as error:
        raise _unusable("bad_header", f"The NIfTI header is invalid ({error}).") from error
    if found is None:
        detail = "The file is no NIfTI volume: send one .nii or .nii.gz file."
        raise ApiError(415, "not_nifti", detail)
    length, shape, dtype, offset = found
    if min(shape, default=0) < 1 or not 0 <= offset <= MAX_OFFSET:
        what = f"shape {shape}, voxels from byte {offset}"
        raise _unusable("bad_header", f"The NIfTI header is invalid ({what}).")
    if excess := too_large(shape, MAX_VOXELS):
        what = " x ".join(map(str, shape))
        raise ApiError(
            413,
            "too_large",
            f"The header announces {what} voxels, {excess}: crop the volume.",
        )
    return length, max(offset, length + 4) + math.prod(shape) * dtype.itemsize


def _unusable(reason: str, detail: str) -> ApiError:
    return ApiError(422, reason, f"{detail} Export or upload it again.")
