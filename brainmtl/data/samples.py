"""One prepared sample on disk: an ``.npz`` that loads with ``allow_pickle=False``.

Arrays: ``image`` float16 (C, 256, 256), ``label`` int8 (-1 = none), ``mask`` uint8 (256, 256) where
there is one, ``metadata`` a JSON text. float16 halves the size and costs nothing: preprocessing
rounds to float16 itself, so a stored image is bit-equal to a freshly prepared one.
"""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainmtl.data.geometry import SliceGeometry
from brainmtl.errors import DataError
from brainmtl.files import atomic_path

# NumPy reads headers with ast.literal_eval, which in Python 3.11 fails in one thread when the collector
# lets another one into it: "SystemError: AST constructor recursion depth mismatch".
_READING = threading.Lock()


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
) -> None:
    """Write one sample in one step; see the module for the arrays."""
    arrays: dict[str, np.ndarray] = {
        "image": image.astype(np.float16),
        "label": np.int8(label),
        "metadata": np.array(json.dumps(metadata, allow_nan=False)),
    }
    if mask is not None:
        arrays["mask"] = mask.astype(np.uint8)
    _save(path, arrays)


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
    """Image float16 (C, 256, 256), label and mask as stored; without the metadata, a third of the time.

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
    _save(path, {"mask": mask.astype(np.uint8)})


def read_reference(path: str | Path) -> np.ndarray:
    """The reference mask written by :func:`write_reference`, uint8 {0, 1}."""
    arrays = load_arrays(path)
    if "mask" not in arrays:
        raise DataError(f"{path} holds no reference mask: prepare the data again")
    return arrays["mask"]


def _save(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, **arrays)


def load_arrays(path: str | Path, leave_out: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` as stored; :class:`DataError` names the file when it is broken."""
    try:
        with _READING, np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files if name not in leave_out}
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: the folder changed since it was prepared") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error}): delete it and prepare again") from error
