"""Regions of a plane and order statistics: what the definitions of numpy and scipy give, bit for bit, sooner.

Preparation searches the foreground of every slice and of every picture that is served. Each function here
leaves out work that cannot change its result; the tests compare them with the plain definitions.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from brainmtl.data.geometry import Quad
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
    sample = np.sort(flat[::step])
    # twice as many as are wanted, and some more: rarely too few
    guess = min(2 * wanted * len(sample) // flat.size + 4, len(sample))
    tail = flat[flat >= sample[-guess]] if upper else flat[flat <= sample[guess - 1]]
    return tail if tail.size >= wanted else flat


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
    if not _one_run_per_row(foreground):
        foreground = filled(_large_parts(foreground))
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
    first, last, gaps = _rows(solid)
    rows = np.flatnonzero(gaps)
    if rows.size == 0:
        return solid
    # A hole has solid pixels to its left and right: all others are looked at no more.
    box = (
        slice(max(rows[0] - 1, 0), rows[-1] + 2),
        slice(first[rows].min(), last[rows].max()),
    )
    labels, count = ndimage.label(~solid[box])
    outside = np.zeros(count + 1, dtype=bool)
    for border in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        outside[border] = True
    outside[0] = False
    if np.count_nonzero(outside) == count:
        return solid
    result = solid.copy()
    result[box] = ~outside[labels]
    return result


def _large_parts(foreground: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(foreground)
    if count <= 1:
        return foreground
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    # Two hemispheres or eyes apart from the brain stay; letters of a caption go.
    return (sizes >= 0.1 * sizes.max())[labels]


def _one_run_per_row(solid: np.ndarray) -> bool:
    """Whether that shows that ``solid`` (H, W) is one part without holes."""
    first, last, gaps = _rows(solid)
    rows = np.flatnonzero(last)
    if rows.size == 0 or gaps.any() or len(rows) != rows[-1] - rows[0] + 1:
        return False
    first, last = first[rows], last[rows]
    return bool((first[1:] < last[:-1]).all() and (first[:-1] < last[1:]).all())


def _rows(solid: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per row of a plane (H, W): first solid pixel, end of the last (0 without any), and whether
    something between them is not solid."""
    count = np.count_nonzero(solid, axis=1)
    first = solid.argmax(axis=1)
    last = np.where(count > 0, solid.shape[1] - solid[:, ::-1].argmax(axis=1), 0)
    return first, last, last - first > count
