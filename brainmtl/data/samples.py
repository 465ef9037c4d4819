"""One prepared sample on disk: an ``.npz`` that loads with ``allow_pickle=False``.

Arrays: ``image`` float16 (C, 256, 256), ``label`` int8 (-1 = none), ``mask`` uint8 (256, 256) where
there is one, ``metadata`` a JSON text. float16 halves the size and costs nothing: preprocessing
rounds to float16 itself, so a stored image is bit-equal to a freshly prepared one.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import threading
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from brainmtl.data.geometry import SliceGeometry
from brainmtl.errors import DataError
from brainmtl.files import atomic_path

_PREFIX = 10  # bytes of an .npy of version 1.0 before its header: magic, version, length
# Of zlib: 1 writes in four fifths of the time of the usual 6, into files that are 1 % larger.
LEVEL = 1
# NumPy parses headers with ast.literal_eval, which in Python 3.11 fails in one thread when the collector
# lets another one into it: "SystemError: AST constructor recursion depth mismatch".
_PARSING = threading.Lock()


@dataclass
class Sample:
    """``image`` float32 (C, 256, 256), ``label`` -1|0|1, ``mask`` uint8 (256, 256) {0,1} or None."""

    image: np.ndarray
    label: int
    mask: np.ndarray | None
    metadata: dict[str, Any]

    @property
    def geometry(self) -> SliceGeometry:
        """The way back to the original grid."""
        return SliceGeometry.from_dict(self.metadata["geometry"])


def write_sample(
    path: str | Path,
    image: np.ndarray,
    label: int,
    mask: np.ndarray | None,
    metadata: dict[str, Any],
) -> str:
    """Write one sample in one step, see the module for the arrays; the SHA-256 of the file."""
    arrays: dict[str, np.ndarray] = {
        "image": image.astype(np.float16),
        "label": np.int8(label),
        "metadata": np.array(json.dumps(metadata, allow_nan=False)),
    }
    if mask is not None:
        arrays["mask"] = mask.astype(np.uint8)
    return save_arrays(path, arrays)


def read_sample(path: str | Path) -> Sample:
    """Read one sample; :class:`DataError` names the file when it is missing or broken."""
    arrays = load_arrays(path)
    try:
        return Sample(
            image=arrays["image"].astype(np.float32),
            label=int(arrays["label"]),
            mask=arrays.get("mask"),
            metadata=json.loads(str(arrays["metadata"])),
        )
    except (KeyError, ValueError) as error:
        raise _no_sample(path, error) from error


def read_for_training(path: str | Path) -> tuple[np.ndarray, int, np.ndarray | None]:
    """Image float16 (C, 256, 256), label and mask as stored; without the metadata.

    Raises:
        DataError: the file is missing or broken.
    """
    arrays = load_arrays(path, leave_out=("metadata",))
    try:
        return arrays["image"], int(arrays["label"]), arrays.get("mask")
    except KeyError as error:
        raise _no_sample(path, error) from error


def _no_sample(path: str | Path, error: Exception) -> DataError:
    return DataError(f"{path} is no prepared sample ({error}): prepare the data again")


def write_reference(path: str | Path, mask: np.ndarray) -> None:
    """Write the reference mask of a case on its file grid, for evaluation in the original geometry."""
    save_arrays(path, {"mask": mask.astype(np.uint8)})


def read_reference(path: str | Path) -> np.ndarray:
    """The reference mask written by :func:`write_reference`, uint8 {0, 1}."""
    arrays = load_arrays(path)
    if "mask" not in arrays:
        raise DataError(f"{path} holds no reference mask: prepare the data again")
    return arrays["mask"]


def save_arrays(path: str | Path, arrays: dict[str, np.ndarray]) -> str:
    """Write an ``.npz`` in one step, compressed: what :func:`load_arrays` reads; its SHA-256."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
            # Without a date: the same arrays give the same bytes.
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy"), member.getbuffer(), archive.compression
            )
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())
    return hashlib.sha256(content.getbuffer()).hexdigest()


def load_arrays(path: str | Path, leave_out: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` as stored; :class:`DataError` names the file when it is broken."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            return {
                name: _array(archive.read(member))
                for name, member in members.items()
                if name not in leave_out
            }
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: the folder changed since it was prepared") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}): delete it and prepare again") from error


def _array(content: bytes) -> np.ndarray:
    """The array in the bytes of an ``.npy``: np.load, but for its parsing the same header every time.

    Raises:
        ValueError: it is none, of another version than 1.0, or holds objects.
    """
    start = _PREFIX + int.from_bytes(content[_PREFIX - 2 : _PREFIX], "little")
    shape, fortran_order, dtype = _header(content[:start])
    count = math.prod(shape)
    array = np.frombuffer(bytearray(content), dtype, count, start)
    return array.reshape(shape, order="F" if fortran_order else "C")


@lru_cache(maxsize=64)
def _header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type that the header of an ``.npy`` says."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"version {version} of the .npy format")
    with _PARSING:
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise ValueError("an array of Python objects")
    return shape, fortran_order, dtype
