"""A manifest of any length for the section start-up: synthetic rows that share a few sample files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brainmtl.data.manifest import MANIFEST_COLUMNS, write_manifest
from brainmtl.data.samples import write_sample

if TYPE_CHECKING:
    import pandas as pd

VOLUMES, PICTURES = "phantom_volumes", "phantom_pictures"  # names of the two sources
SLICES = 130  # of a volume that show brain
VOLUME_SHARE = 0.9  # of the rows; the others are pictures
SIDE = 32  # of the sample files: their size costs time and tells nothing here
# label and mask of a slice by its place in the volume: as in BraTS, half of them show a tumour
SLICE_KINDS = ((0, True), (1, True), (1, True), (0, True), (-1, True), (0, True))


def write_folder(folder: Path, rows: int) -> None:
    """A prepared folder (synthetic) of ``rows`` rows whose paths name a handful of files."""
    volumes = max(10, round(rows * VOLUME_SHARE / SLICES))
    pictures = max(10, rows - volumes * SLICES)
    files = {
        (label, mask): _write_file(folder, label, mask)
        for label, mask in sorted({*SLICE_KINDS, (0, False), (1, False)})
    }
    write_manifest(folder, _frame(volumes, pictures, files))


def _write_file(folder: Path, label: int, mask: bool) -> str:
    path = (
        f"shared_by_all_rows/{'mask' if mask else 'picture'}_{label}.npz"  # as long as a real path
    )
    image = np.random.default_rng(label + 1).standard_normal((1, SIDE, SIDE))
    pixels = np.full((SIDE, SIDE), int(label == 1), dtype=np.uint8) if mask else None
    write_sample(folder / path, image, label, pixels, {"image_id": path})
    return path


def _frame(volumes: int, pictures: int, files: dict[tuple[int, bool], str]) -> pd.DataFrame:
    import pandas as pd

    slices = (
        _row(VOLUMES, f"case_{case:06d}", case, place, SLICE_KINDS[place % 6], files)
        for case in range(volumes)
        for place in range(SLICES)
    )
    photos = (
        _row(PICTURES, f"picture_{number:06d}", number, None, (number % 2, False), files)
        for number in range(pictures)
    )
    return pd.DataFrame([*slices, *photos], columns=list(MANIFEST_COLUMNS))


def _row(
    source: str,
    case: str,
    number: int,
    place: int | None,
    kind: tuple[int, bool],
    files: dict[tuple[int, bool], str],
) -> tuple[object, ...]:
    label, mask = kind
    name = case if place is None else f"{case}_z{place:03d}"
    split = ("train", "train", "train", "train", "train", "train", "train", "val", "test", "train")
    pixels = 500 * (label == 1) if mask else -1
    picture = place is None
    return (
        name,
        source,
        split[number % 10],
        number % 5,
        files[kind],
        case,
        "",
        case,
        "image" if picture else "volume",
        place or 0,
        label,
        int(label >= 0),
        int(mask),
        pixels,
        1,
        _digest(name)[:16] if picture else "",
        _digest(case),
        _digest(name),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
