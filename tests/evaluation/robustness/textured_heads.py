"""Raw pictures of a textured head with a lesion, and the same prepared."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from brainmtl.data.preprocessing.geometry import SliceGeometry
from brainmtl.data.preprocessing.preprocess import preprocess_slice

DRAW_SEED = 5  # of the observations that several tests share
SIZE = 128  # any size does; 256 would only make the tests slower


def raw_head(seed: int, size: int = SIZE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(picture (size, size) float32 in 0..700, head, lesion as bool) of an oval in black air.

    More than 0.1 % of the head is exactly 0 and exactly 700, so that preparing it clips nothing.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    head = (rows / 0.95) ** 2 + (columns / 0.75) ** 2 < 1
    lesion = (rows - 0.3) ** 2 + (columns + 0.25) ** 2 < 0.15**2
    texture = ndimage.gaussian_filter(rng.standard_normal((size, size)), size / 64)
    texture = 300 + 100 * texture / texture.std() + 5 * rng.standard_normal((size, size))
    picture = np.clip(texture + 200 * lesion, 0, 700)
    inside = np.flatnonzero(head & ~lesion)
    few = rng.choice(inside, size=2 * (len(inside) // 300), replace=False)
    picture.ravel()[few[::2]], picture.ravel()[few[1::2]] = 0, 700
    return np.where(head, picture, 0).astype(np.float32), head, lesion


def prepare(picture: np.ndarray, head: np.ndarray) -> np.ndarray:
    """The pipeline's image (1, size, size) of a picture that fills its frame."""
    size = picture.shape[0]
    frame = SliceGeometry((size, size), (0, size, 0, size), (0, 0, 0, 0), (1.0, 1.0), size)
    return preprocess_slice(picture[None], head, frame).image
