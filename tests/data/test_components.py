"""Parts of a plane by its runs: those of ndimage.label, and the plane itself again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from brainmtl.data.preprocessing.components import (
    connected_parts,
    find_runs,
    gaps,
    one_run_per_row,
    painted,
)


def planes() -> list[np.ndarray]:
    """From single pixels over noise and sponges to blobs; full, empty, and cut by every border."""
    found = [np.zeros((5, 7), bool), np.ones((5, 7), bool), np.ones((1, 1), bool), np.eye(9) > 0]
    for seed in range(40):
        rng = np.random.default_rng(seed)
        texture = rng.normal(size=rng.integers(1, 90, 2))
        if seed % 3:
            texture = ndimage.gaussian_filter(texture, rng.uniform(0.5, 4))
        found.append(texture > np.quantile(texture, rng.uniform(0.05, 0.95)))
    # No memory of its own, and not in reading order.
    return found + [plane.T for plane in found[-8:]] + [plane[::-1, ::2] for plane in found[-8:]]


@pytest.mark.parametrize("plane", planes())
def test_parts_are_those_of_scipy(plane: np.ndarray) -> None:
    runs = find_runs(plane)
    np.testing.assert_array_equal(painted(np.zeros_like(plane), runs, True), plane)
    assert not painted(plane, runs, False).any()
    part, count = connected_parts(runs)
    labels, expected = ndimage.label(plane)
    assert count == expected
    # Each run lies in one label, and part and label name each other.
    ours = np.zeros(plane.shape, dtype=int)
    for row, start, end, number in zip(runs.row, runs.start, runs.end, part, strict=True):
        ours[row, start:end] = number + 1
    pairs = {(int(a), int(b)) for a, b in zip(ours.ravel(), labels.ravel(), strict=True)}
    assert len(pairs) == count + (not plane.all())


@pytest.mark.parametrize("plane", planes())
def test_gaps_lie_between_two_runs_of_a_row(plane: np.ndarray) -> None:
    before = np.logical_or.accumulate(plane, axis=1)
    behind = np.logical_or.accumulate(plane[:, ::-1], axis=1)[:, ::-1]
    found = painted(np.zeros_like(plane), gaps(find_runs(plane)), True)
    np.testing.assert_array_equal(found, before & behind & ~plane)


@pytest.mark.parametrize("plane", planes())
def test_one_run_per_row_is_one_part_without_holes(plane: np.ndarray) -> None:
    runs = find_runs(plane)
    rows = np.flatnonzero(plane.any(axis=1))
    whole = ndimage.label(plane)[1] == 1 and len(gaps(runs)) == 0
    # In one part, rows follow each other and touch.
    assert one_run_per_row(runs) == whole
    assert len(rows) == 0 or not whole or (np.diff(rows) == 1).all()
