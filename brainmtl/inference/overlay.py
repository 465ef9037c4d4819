"""Pictures for people: the outline of a mask, or a heat map, on the grey picture, in its own size."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

CONTOUR = (255, 127, 14)  # the colour of predictions in the evaluation's figures
HEAT_OPACITY = 0.6
STRIP_ROWS = 256  # mixed at a time: 40 megapixels at once would take 4 GB


def grey_picture(luminance: np.ndarray) -> np.ndarray:
    """Luminance (H, W) of any range as uint8 (H, W, 3), windowed to its 0.5 and 99.5 percentiles."""
    low, high = np.percentile(luminance, (0.5, 99.5))
    shown = np.clip((luminance - low) / max(high - low, 1e-6), 0, 1)
    return np.repeat(np.rint(shown * 255).astype(np.uint8)[..., None], 3, axis=2)


def contour_overlay(luminance: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3): the picture with the outline of ``mask`` (H, W), drawn inside of it."""
    picture = grey_picture(luminance)
    width = max(1, min(mask.shape) // 256)
    inside = mask.astype(bool)
    picture[inside & ~ndimage.binary_erosion(inside, iterations=width)] = CONTOUR
    return picture


def heat_overlay(luminance: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3): the picture under ``heat`` (H, W) in [0, 1], the hotter the less transparent."""
    from matplotlib import colormaps

    picture = grey_picture(luminance)
    for start in range(0, len(picture), STRIP_ROWS):
        rows = slice(start, start + STRIP_ROWS)
        colours = colormaps["inferno"](heat[rows])[..., :3] * 255
        opacity = HEAT_OPACITY * heat[rows, :, None]
        picture[rows] = np.rint((1 - opacity) * picture[rows] + opacity * colours)
    return picture
