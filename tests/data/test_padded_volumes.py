"""Volumes that were filled up to a common size after their intensities had been shifted."""

from __future__ import annotations

import numpy as np
import pytest
from heads import brain

from brainmtl.data.preprocessing.foreground import find_foreground
from brainmtl.data.preprocessing.preprocess import frame_volume

SHAPE = (96, 80, 24)


@pytest.mark.parametrize("noise", [0.0, 4.0])
@pytest.mark.parametrize(("margin", "planes"), [(24, 0), (0, 4), (24, 4)])
def test_zeros_around_air_of_another_value_are_no_head(
    margin: int, planes: int, noise: float
) -> None:
    raw = brain(shape=SHAPE)[0] + np.abs(np.random.default_rng(0).normal(0, noise, SHAPE))
    scored = ((raw - raw.mean()) / raw.std()).astype(np.float32)
    padded = np.pad(scored, ((margin, margin), (margin, margin), (0, planes)))
    expected, found = frame_volume(scored), frame_volume(padded)
    inner = found.foreground[margin:, margin:][: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    assert (inner != expected.foreground).mean() < 0.01
    assert found.foreground.sum() == inner.sum()
    assert found.slices == expected.slices
    assert found.geometry.scale == pytest.approx(expected.geometry.scale, rel=0.02)


def test_a_volume_without_anything_but_blank_planes_has_no_head() -> None:
    blank = np.zeros((64, 64, 10), dtype=np.float32)
    blank[:, :, 6:] = 1
    assert not find_foreground(blank).any()
