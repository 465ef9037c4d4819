"""Regions of a plane and order statistics: what the definitions of numpy and scipy give, bit for bit, sooner.

Preparation searches the foreground of every slice and of every picture that is served. Each function here
leaves out work that cannot change its result; the tests compare them with the plain definitions.
"""

from __future__ import annotations

import math

import numpy as np

from brainmtl.data.preprocessing.components import (
    Runs,
    connected_parts,
    find_runs,
    gaps,
    one_run_per_row,
    painted,
)
from brainmtl.data.preprocessing.geometry import Quad
from brainmtl.errors import DataError

SAMPLE = 1024  # values from which the tail is guessed that holds a percentile


def percentile(values: np.ndarray, q: float) -> float:
    """``np.percentile(values, q)`` (linear) of finite values of any shape, for ``q`` in [0, 100].

    Of many values only the tail beyond ``q`` is sorted: numpy partitions all of them four times, which
    takes long where many are equal, such as those of a background.
    """
    flat = values.ravel(order="K")  # as they lie in memory: their order does not matter
    position = (flat.size - 1) * (q / 100)
    rank = math.floor(position)
    upper = q > 50
    wanted = flat.size - rank if upper else rank + 2
    tail = np.sort(_tail(flat, wanted, upper))
    before = tail[-wanted if upper else rank]
    after = tail[min(1 - wanted, -1)] if upper else tail[min(rank + 1, len(tail) - 1)]
    # In the order and precision of numpy's interpolation, so that not even the last bit differs.
    part, kind = position - rank, tail.dtype.type
    if part >= 0.5:
        return float(after - (after - before) * kind(1 - part))
    return float(before + (after - before) * kind(part))


def _tail(flat: np.ndarray, wanted: int, upper: bool) -> np.ndarray:
    """At least the ``wanted`` largest (smallest) of ``flat`` (n,), or all where there are not so many."""
    step = flat.size // SAMPLE
    if step < 2:
        return flat
    # An odd step: 256 pixels on, in a picture of 512 columns, lie two columns and no others.
    sample = np.sort(flat[:: step | 1])
    # twice as many as are wanted, and some more: rarely too few
    guess = min(2 * wanted * len(sample) // flat.size + 4, len(sample))
    border = sample[-guess] if upper else sample[guess - 1]
    beyond = flat[flat > border] if upper else flat[flat < border]
    missing = wanted - beyond.size
    if missing <= 0:
        return beyond
    # Of an 8-bit picture ten thousands may equal the border: they need not be sorted.
    equal = np.count_nonzero(flat == border)
    return flat if equal < missing else np.append(beyond, np.full(missing, border))


def bounding_box(mask: np.ndarray) -> Quad:
    """(first row, end row, first column, end column) of the True pixels of a plane (H, W).

    Raises:
        DataError: there is none.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise DataError("the image is empty: it has no foreground")
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def enclosed(solid: np.ndarray) -> np.ndarray:
    """The head in a plane: ``solid`` (H, W) bool and what it encloses; letters and specks dropped."""
    found = np.zeros(solid.shape, dtype=bool)
    if not solid.any():
        return found
    # Around this box all is background: nothing in the following reaches beyond it.
    r0, r1, c0, c1 = bounding_box(solid)
    # Closing keeps the flood from leaking into the head through a gap in a thin scalp; opening cuts
    # off captions and rulers that touch the head. Both scale with the picture.
    steps = max(1, min(solid.shape) // 128)
    closed = erode(dilate(np.pad(solid[r0:r1, c0:c1], steps), steps), steps)
    foreground = filled(closed)[steps:-steps, steps:-steps]
    foreground = dilate(erode(foreground, 2 * steps), 2 * steps)
    runs = find_runs(foreground)
    if not one_run_per_row(runs):
        foreground = filled(_large_parts(foreground, runs))
    found[r0:r1, c0:c1] = foreground
    return found


def erode(solid: np.ndarray, steps: int, outside: bool = False) -> np.ndarray:
    """ndimage.binary_erosion of a plane (H, W) by a diamond of radius ``steps``.

    The radius doubles from pass to pass: a diamond of 2 n is the union of five of n, shifted by n.
    """
    padded = np.pad(solid, steps, constant_values=outside)
    # As one line, which is faster: between the ends of two rows lie 2 x ``steps`` of padding.
    line, width, reach = padded.ravel(), padded.shape[1], 0
    while reach < steps:
        by = min(max(reach, 1), steps - reach)
        before = line.copy()
        for shift in (by, by * width):
            line[shift:] &= before[:-shift]
            line[:-shift] &= before[shift:]
        reach += by
    return line.reshape(padded.shape)[steps:-steps, steps:-steps]


def dilate(solid: np.ndarray, steps: int) -> np.ndarray:
    """ndimage.binary_dilation of a plane (H, W) by a diamond of radius ``steps``."""
    return ~erode(~solid, steps, outside=True)


def filled(solid: np.ndarray) -> np.ndarray:
    """ndimage.binary_fill_holes of a plane (H, W): holes are background that no path over edges leaves."""
    runs = find_runs(solid)
    between = gaps(runs)
    if len(between) == 0:
        return solid
    # All other background is before the first run of a row or behind its last: it reaches the border.
    height, width = solid.shape
    first, last = np.full(height, width), np.zeros(height, dtype=np.int64)
    np.minimum.at(first, runs.row, runs.start)
    np.maximum.at(last, runs.row, runs.end)
    leaves = (between.row == 0) | (between.row == height - 1)
    for beside in (between.row - 1, (between.row + 1) % height):
        leaves |= (between.start < first[beside]) | (between.end > last[beside])
    if leaves.any():
        part, count = connected_parts(between)
        outside = np.zeros(count, dtype=bool)
        outside[part[leaves]] = True
        between = between[~outside[part]]
    return painted(solid, between, True) if len(between) else solid


def _large_parts(foreground: np.ndarray, runs: Runs) -> np.ndarray:
    """A plane (H, W) of these runs without its small parts."""
    part, count = connected_parts(runs)
    if count <= 1:
        return foreground
    sizes = np.bincount(part, weights=runs.end - runs.start)
    # Two hemispheres or eyes apart from the brain stay; letters of a caption go.
    small = sizes < 0.1 * sizes.max()
    return painted(foreground, runs[small[part]], False) if small.any() else foreground
