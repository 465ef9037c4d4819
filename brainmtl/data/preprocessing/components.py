"""Connected parts of a plane by the runs of its rows: those of ``ndimage.label``, in a third of its time.

A head has one or two runs of pixels in most rows, so that there are hundreds of runs and not a quarter of a
million of pixels to join. Runs of neighbouring rows touch where they share a column (pixels are connected by
edges, not by corners).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components


@dataclass(frozen=True)
class Runs:
    """Runs of a plane of ``shape`` in reading order, int64 (n,): columns ``start`` to ``end`` - 1 of ``row``."""

    shape: tuple[int, int]
    row: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, chosen: np.ndarray) -> Runs:
        """Some of them, by a mask or by ascending indices."""
        return Runs(self.shape, self.row[chosen], self.start[chosen], self.end[chosen])


def find_runs(plane: np.ndarray) -> Runs:
    """The runs of the True pixels of a plane (H, W), bool."""
    height, width = plane.shape
    wide = np.zeros((height, width + 1), dtype=bool)  # a column that ends the last run of each row
    wide[:, :width] = plane
    line = wide.ravel()
    edges = np.flatnonzero(line[1:] != line[:-1]) + 1
    if line[:1].any():
        edges = np.concatenate([[0], edges])
    row, start = np.divmod(edges[::2], width + 1)
    return Runs((height, width), row, start, edges[1::2] - row * (width + 1))


def gaps(runs: Runs) -> Runs:
    """What lies between two runs of a row."""
    left = np.flatnonzero(runs.row[1:] == runs.row[:-1])
    return Runs(runs.shape, runs.row[left], runs.end[left], runs.start[left + 1])


def connected_parts(runs: Runs) -> tuple[np.ndarray, int]:
    """The part of each run, (n,) from 0 on, and how many parts there are."""
    pitch = runs.shape[1] + 1
    start, end = runs.row * pitch + runs.start, runs.row * pitch + runs.end
    # Runs of the row above that share a column lie together: from the first that ends behind the start.
    first = np.searchsorted(end, start - pitch, side="right")
    count = np.maximum(np.searchsorted(start, end - pitch, side="left") - first, 0)
    above = _ranges(first, count)
    links = (np.ones(len(above)), above, np.concatenate([[0], np.cumsum(count)]))
    number, part = connected_components(csr_array(links, shape=(len(runs),) * 2), directed=False)
    return part, int(number)


def one_run_per_row(runs: Runs) -> bool:
    """Whether there is one run in every row from the first to the last, and each touches the next:
    they are one part without holes."""
    return bool(
        len(runs)
        and (np.diff(runs.row) == 1).all()
        and (runs.start[1:] < runs.end[:-1]).all()
        and (runs.start[:-1] < runs.end[1:]).all()
    )


def painted(plane: np.ndarray, runs: Runs, value: bool) -> np.ndarray:
    """A copy of the plane (H, W), bool, with ``value`` where the runs are."""
    result = np.array(plane, order="C")
    pixels = _ranges(runs.row * runs.shape[1] + runs.start, runs.end - runs.start)
    result.reshape(-1)[pixels] = value
    return result


def _ranges(first: np.ndarray, count: np.ndarray) -> np.ndarray:
    """``count`` numbers from ``first`` on, for each of them (n,), one after another."""
    return np.arange(count.sum()) + np.repeat(first - np.cumsum(count) + count, count)
