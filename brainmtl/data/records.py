"""What a source adapter yields: references to raw cases, loaded cases and the files it cannot use.

Everything after these records (framing, normalisation, splitting, writing) is one pipeline for all
sources, so an adapter only has to know where a published data set keeps its files.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from brainmtl.data.preprocessing.geometry import VolumeGeometry


@dataclass(frozen=True)
class CaseRef:
    """A raw case that was found but not read yet.

    ``case_id`` is unique within ``source`` and holds only ``[A-Za-z0-9._-]``. ``group`` is the
    patient, or the case itself for a picture whose patient nobody knows (``anonymous``; duplicates are
    grouped later). ``files`` are all raw files of the case. ``kind`` is "volume" or "image". ``label`` is
    the label of the folder or the table; None, and slices of a volume with a mask, take theirs from the mask.
    ``site`` is the institution that the case comes from, "" where nothing tells.
    """

    source: str
    case_id: str
    group: str
    files: tuple[Path, ...]
    kind: str
    label: int | None
    synthetic: bool
    anonymous: bool = False
    site: str = ""


@dataclass
class Case:
    """The pixels of a case, slices as they are displayed.

    ``image`` is (C, H, W, N) float32: rows run anterior to posterior, columns from the patient's
    right to left (radiological view), the N slices inferior to superior. An image has N = 1 and
    lies as its file shows it. ``mask`` is the whole tumour, (H, W, N) bool, or None. ``volume``
    maps slices back to the file grid (None for images). ``spacing_mm`` is (row, column, slice), or
    None when it is unknown; it is never invented. ``positions`` are the N slice indices in the
    file grid.
    """

    image: np.ndarray
    mask: np.ndarray | None
    volume: VolumeGeometry | None
    spacing_mm: tuple[float, float, float] | None
    positions: tuple[int, ...]


@dataclass(frozen=True)
class Problem:
    """A file or case that cannot be used, and why."""

    path: str
    reason: str


@runtime_checkable
class Source(Protocol):
    """An adapter for one published layout. Adapters can be pickled (they run in worker processes).

    ``kind`` is "volume", "image", or "mixed" where only the case says (tables).
    """

    name: str
    kind: str

    def discover(self, raw_dir: Path) -> tuple[list[CaseRef], list[Problem]]:
        """List the cases below ``raw_dir`` without reading pixels.

        Raises DataError, naming the expected tree, if nothing is found at all.
        """
        ...

    def load(self, ref: CaseRef) -> Case:
        """Read one case. Raises DataError, naming the file, if it is unreadable or inconsistent."""
        ...


def safe_id(text: str) -> str:
    """``text`` with every character outside ``[A-Za-z0-9._-]`` replaced by a hyphen.

    Ids become file names and Hydra arguments, which take neither blanks nor brackets nor '='. Names with
    letters of other alphabets end in a number made of them, or all of one length would be one.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "case"
    if text.isascii():
        return plain
    # Names from archives of other systems are not always UTF-8.
    name = text.encode(errors="surrogateescape")
    return f"{plain}-{hashlib.sha256(name).hexdigest()[:8]}"
