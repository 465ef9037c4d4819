"""Finding raw files: hidden files left out, symbolic links followed once, order fixed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from brainmtl.errors import DataError
from brainmtl.files import sha256

NOT_RAW = ("__MACOSX", "lost+found")  # of archives, and of disks
OTHER_LAYOUT = "Files that lie otherwise can be listed in a table: source=table (docs/data.md)."


def require_folder(raw_dir: Path) -> Path:
    """``raw_dir`` if it is a folder; DataError otherwise."""
    raw_dir = Path(raw_dir)
    if not raw_dir.is_dir():
        raise DataError(
            f"{raw_dir}: no such folder. Give the folder of the raw data as raw_dir=..."
        )
    return raw_dir


def _refuse(error: OSError) -> None:
    raise DataError(
        f"{error.filename}: this folder cannot be listed ({error.strerror}). Make it readable, or move "
        "it out of the raw data."
    ) from error


def walk_files(raw_dir: Path) -> Iterator[Path]:
    """Every visible file at any depth below ``raw_dir``, sorted by folder and name.

    Names that begin with '.' are skipped (``._x.nii.gz`` is what macOS leaves in archives), and so
    are ``__MACOSX`` and ``lost+found``. Linked folders are followed, each real folder once.
    DataError where a folder cannot be listed: what it holds would pass for removed.
    """
    seen: set[str] = set()
    for folder, folders, names in os.walk(
        require_folder(raw_dir), onerror=_refuse, followlinks=True
    ):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n not in NOT_RAW)
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder, name)


def same_files(first: Sequence[Path], second: Sequence[Path]) -> bool:
    """Whether two cases hold the same files by name and content: a second copy, as in some archives."""
    ours, theirs = ([(p.name, p.stat().st_size) for p in paths] for paths in (first, second))
    # Volumes that are not compressed have one size whatever is in them.
    return ours == theirs and sha256(*first) == sha256(*second)
