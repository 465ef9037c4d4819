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


@pytest.mark.parametrize("noise", [20, 40])
@pytest.mark.parametrize("margin", [8, 48])
def test_zeros_around_noisy_air_do_not_turn_it_into_head(margin: int, noise: float) -> None:
    clean = brain(shape=SHAPE)[0]
    # Louder towards one side, as near a receive coil.
    air = (
        np.abs(np.random.default_rng(0).normal(0, noise, SHAPE))
        * np.linspace(0.3, 1.5, SHAPE[1])[:, None]
    )
    volume = (clean + air).astype(np.float32)
    padded = np.pad(volume, ((margin, margin), (margin, margin), (0, 0)))
    for image in (padded, padded[:, :, SHAPE[2] // 2]):  # a volume, and a picture
        found = find_foreground(image)[margin:-margin, margin:-margin]
        head = (clean > 0) if image.ndim == 3 else (clean > 0)[:, :, SHAPE[2] // 2]
        assert (found != head).mean() < 0.01


def test_a_volume_without_anything_but_blank_planes_has_no_head() -> None:
    blank = np.zeros((64, 64, 10), dtype=np.float32)
    blank[:, :, 6:] = 1
    assert not find_foreground(blank).any()
