"""float16 and back: what NumPy's casts give, to the last bit, with torch at hand and without."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from brainmtl.data.half import from_half, to_half

HALVES = np.arange(2**16, dtype=np.uint16).view(np.float16)


@pytest.fixture(params=["torch", "numpy"], autouse=True)
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of the two converts."""
    assert sys.modules["torch"] is torch
    if request.param == "numpy":
        monkeypatch.delitem(sys.modules, "torch")


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
        expected, found = values.astype(np.float16), to_half(values)
    numbers = ~np.isnan(values)
    assert found.dtype == np.float16
    # As bits, for -0 is not 0.
    assert np.array_equal(found[numbers].view(np.uint16), expected[numbers].view(np.uint16))
    assert np.isnan(found[~numbers]).all()


PLANE = np.linspace(-3, 3, 48, dtype=np.float32).reshape(6, 8)
FIXED = PLANE.copy()
FIXED.flags.writeable = False


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "values",
    [
        PLANE[::-1, ::2],
        PLANE.T,
        PLANE[None][::-1],
        FIXED,
        PLANE[:0],
        PLANE[0, 0],
        PLANE.astype(">f4"),
    ],
)
def test_any_layout_and_shape(values: np.ndarray) -> None:
    half = to_half(values)
    assert half.dtype == np.float16 and half.shape == np.shape(values)
    assert np.array_equal(half, values.astype(np.float16))
    assert from_half(half).dtype == np.float32
    assert np.array_equal(from_half(half), half.astype(np.float32))


def test_other_types_are_cast_once() -> None:
    between = np.array([1 + 2**-11 + 2**-40])  # by way of float32 it would be rounded to 1
    assert to_half(between) == between.astype(np.float16) > 1
    swapped = PLANE.astype(">f2")
    assert np.array_equal(from_half(swapped), swapped.astype(np.float32))
    assert np.array_equal(from_half(np.arange(3)), [0, 1, 2])


def test_preparation_alone_does_not_import_torch() -> None:
    code = "import sys, brainmtl.prepare, brainmtl.data.preparation.process; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
