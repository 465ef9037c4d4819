"""One prepared sample on disk: an ``.npz`` that loads with ``allow_pickle=False``.

Arrays: ``image`` float16 (C, 256, 256), ``label`` int8 (-1 = none), ``mask`` uint8 (256, 256) where
there is one, ``metadata`` a JSON text. float16 halves the size and costs nothing: preprocessing
rounds to float16 itself, so a stored image is bit-equal to a freshly prepared one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.data.half import from_half, to_half
from brainmtl.data.npz import arrays_sha256, load_arrays, save_arrays
from brainmtl.data.preprocessing.geometry import SliceGeometry
from brainmtl.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

# Of the hashes and files that a ledger vouches for; 2: the hash is of the arrays and not of the file.
SAMPLE_FORMAT = 2


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
    """Write one sample in one step, see the module for the arrays; their SHA-256."""
    arrays: dict[str, np.ndarray] = {
        "image": to_half(image),
        "label": np.int8(label),
        "metadata": np.array(json.dumps(metadata, allow_nan=False)),
    }
    if mask is not None:
        arrays["mask"] = mask.astype(np.uint8)
    save_arrays(path, arrays)
    return arrays_sha256(arrays)


def read_sample(path: str | Path) -> Sample:
    """Read one sample; :class:`DataError` names the file when it is missing or broken."""
    arrays = load_arrays(path)
    try:
        return Sample(
            image=from_half(arrays["image"]),
            label=int(arrays["label"]),
            mask=arrays.get("mask"),
            metadata=json.loads(str(arrays["metadata"])),
        )
    except (KeyError, ValueError) as error:
        raise _no_sample(path, error) from error


def first_samples(frame: pd.DataFrame, data_dir: Path) -> dict[str, tuple[str, Sample]]:
    """Path below ``data_dir`` and first sample of each source in the rows ``frame`` of its manifest."""
    firsts = frame.drop_duplicates("source")
    return {
        str(row.source): (row.path, read_sample(data_dir / row.path)) for row in firsts.itertuples()
    }


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
