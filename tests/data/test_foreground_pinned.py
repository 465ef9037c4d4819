"""Prepared folders and models are valid for one way to find the head: its constants may not move unnoticed."""

from __future__ import annotations

import numpy as np
import pytest

from brainmtl.data.preprocessing.foreground import find_foreground
from brainmtl.data.preprocessing.preprocess import PREPROCESSING_VERSION


def fading(shape: tuple[int, int] = (120, 100), noise: int = 30, seed: int = 0) -> np.ndarray:
    """A head (H, W) that fades into noisy air over its whole rim, so that every limit cuts elsewhere."""
    rows, columns = np.indices(shape)
    radius = np.hypot((rows - shape[0] / 2) / shape[0], (columns - shape[1] / 2) / shape[1])
    air = np.random.RandomState(seed).randint(0, noise + 1, shape)  # the same numbers for good
    return np.round(200 * np.clip(2.2 - 5 * radius, 0, 1)) + air


def blanked_corners(image: np.ndarray) -> np.ndarray:
    """Rows and columns near the corners set to 0, as scanners do."""
    for rows in (slice(12), slice(-12, None)):
        for columns in (slice(12), slice(-12, None)):
            image[rows, columns] = 0
    return image


PICTURES = {
    "clean": fading(noise=0),
    "noisy": fading(),
    "very noisy": fading(noise=90),
    "dark on bright": 255 - fading(),
    "blanked corners": blanked_corners(fading(noise=20)),
    "padded": np.pad(fading(noise=20), 24),
    "in a mat": np.pad(fading(noise=10), 20, constant_values=230),
    "in a lined mat": np.pad(np.pad(fading(noise=20), 3), 20, constant_values=230),
    "cut on two sides": blanked_corners(fading(noise=20)[22:, 16:]),
    "volume": np.stack([fading(noise=10 * k, seed=k) for k in range(4)], axis=2),
}
VERSION_4 = {  # pixels, counted
    "clean": 6891,
    "noisy": 5943,
    "very noisy": 5823,
    "dark on bright": 5943,
    "blanked corners": 6398,
    "padded": 6398,
    "in a mat": 6746,
    "in a lined mat": 6426,
    "cut on two sides": 5652,
    "volume": 25121,
}


@pytest.mark.parametrize("kind", PICTURES)
def test_another_foreground_is_another_version(kind: str) -> None:
    assert PREPROCESSING_VERSION == "4", "count again for the new version"
    found = int(find_foreground(PICTURES[kind].astype(np.float32)).sum())
    assert found == VERSION_4[kind], "raise PREPROCESSING_VERSION: prepared pixels change"
