"""float16 and back: what NumPy's casts give, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from brainmtl.data.half import from_half, to_half

HALVES = np.arange(2**16, dtype=np.uint16).view(np.float16)


def test_every_half_becomes_the_same_float() -> None:
    numbers = HALVES[~np.isnan(HALVES)]
    assert np.array_equal(from_half(numbers), numbers.astype(np.float32))
    assert np.isnan(from_half(HALVES[np.isnan(HALVES)])).all()


def test_floats_round_as_numpy_rounds_them() -> None:
    # Any bits, and the values half way between two neighbours, where ties are decided.
    bits = np.random.default_rng(0).integers(0, 2**32, 2_000_000, dtype=np.uint64)
    anything = bits.astype(np.uint32).view(np.float32)
    finite = np.sort(HALVES[np.isfinite(HALVES)].astype(np.float32))
    values = np.concatenate([anything, (finite[1:] + finite[:-1]) / 2])
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        expected = values.astype(np.float16)
    found = to_half(values)
    numbers = ~np.isnan(values)
    assert found.dtype == np.float16
    assert np.array_equal(
        found[numbers].view(np.uint16), expected[numbers].view(np.uint16)
    )  # bits: -0 is not 0
    assert np.isnan(found[~numbers]).all()


@pytest.mark.filterwarnings("error")
def test_any_layout_shape_and_type() -> None:
    plane = np.linspace(-3, 3, 48, dtype=np.float32).reshape(6, 8)
    fixed = plane.copy()
    fixed.flags.writeable = False
    for values in (
        plane[::-1, ::2],
        plane.T,
        fixed,
        plane.astype(np.float64),
        plane[:0],
        plane[0, 0],
    ):
        half = to_half(values)
        assert half.shape == np.shape(values)
        assert np.array_equal(half, values.astype(np.float16))
        assert np.array_equal(from_half(half), half.astype(np.float32))
    swapped = plane.astype(">f2")
    assert np.array_equal(from_half(swapped), swapped.astype(np.float32))
    assert np.array_equal(from_half(np.arange(3)), [0, 1, 2])
