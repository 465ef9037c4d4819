"""PNG files as Pillow reads them."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from brainmtl.inference.png import STRIP_ROWS, png_bytes

SHAPES = [(1, 1), (3, 700), (STRIP_ROWS, 5), (STRIP_ROWS + 1, 40), (2 * STRIP_ROWS + 7, 33)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["grey", "colour", "deep"])
@pytest.mark.parametrize("order", ["C", "F", "reversed"])
def test_pixels_come_back(shape: tuple[int, int], kind: str, order: str) -> None:
    rng = np.random.default_rng(0)
    high, dtype = (65536, np.uint16) if kind == "deep" else (256, np.uint8)
    pixels = rng.integers(0, high, (*shape, 3) if kind == "colour" else shape).astype(dtype)
    given = pixels[::-1] if order == "reversed" else np.asarray(pixels, order=order)
    image = Image.open(BytesIO(png_bytes(given)))
    assert image.mode == {"grey": "L", "colour": "RGB", "deep": "I;16"}[kind]
    np.testing.assert_array_equal(np.asarray(image), given)


def test_smooth_planes_are_small() -> None:
    rows, columns = np.indices((512, 512))
    disc = ((np.hypot(rows - 200, columns - 300) < 60) * 255).astype(np.uint8)
    assert len(png_bytes(disc)) < 0.02 * disc.size


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4), bool), np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8),
     np.zeros((4, 4, 3), np.uint16), np.zeros((0, 4), np.uint8)],
)  # fmt: skip
def test_other_arrays_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(H, W\)"):
        png_bytes(pixels)
