"""Prepared images of a part of the manifest, batch by batch, and what is read off their pixels."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.data.preprocessing.geometry import resize
from brainmtl.data.samples import Sample, read_sample
from brainmtl.data.selection import present_sources, select_rows

if TYPE_CHECKING:
    import pandas as pd

READERS = 2
BATCH = 32
THUMBNAIL = 32  # side in pixels


def at_most(part: pd.DataFrame, limit: int) -> pd.DataFrame:
    """At most ``limit`` rows per source, evenly over label, group and position; always the same."""
    splits = sorted(set(part["split"].astype(str)))
    return part.iloc[select_rows(part, present_sources(part), splits, limit=limit)]


def sample_batches(
    data_dir: str | Path, part: pd.DataFrame, *, text: str, progress: bool = True
) -> Iterator[tuple[list[Any], list[Sample]]]:
    """(rows, samples) in the order of ``part``, in batches of :data:`BATCH`."""
    from rich.progress import track

    rows = list(part.itertuples(index=False))
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    with ThreadPoolExecutor(READERS) as pool:
        for batch in track(batches, description=text, disable=not progress):
            paths = [Path(data_dir) / row.path for row in batch]
            yield batch, list(pool.map(read_sample, paths))


def thumbnail(image: np.ndarray, side: int = THUMBNAIL) -> np.ndarray:
    """Image (C, H, W) -> area-weighted (C, side, side) float32."""
    return np.stack([resize(plane, (side, side)) for plane in image])
