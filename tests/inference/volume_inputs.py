"""NIfTI files for the predictor: of any array, or with a header that says what it likes."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(
        nib.Nifti1Image(array, np.diag([-1.0, -1.0, 2.0, 1.0]) if affine is None else affine), path
    )
    return path


def announce(path: Path, shape: tuple[int, ...], content: bytes, **fields: object) -> Path:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(shape)
    header.set_sform(np.eye(4), 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    for name, value in fields.items():
        header[name] = value
    data = header.binaryblock + b"\x00" * 4 + content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def flat(path: Path, **options: object) -> Path:
    return save(path, np.arange(64 * 64 * 4, dtype=np.float32).reshape(64, 64, 4), **options)


def cut(path: Path, share: float = 0.5) -> Path:
    data = flat(path).read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path
