"""The convex hull of what an image shows."""

from __future__ import annotations

import numpy as np


def convex_hull(mask: np.ndarray) -> np.ndarray:
    """bool (H, W): all pixels whose middle lies in the convex hull of those of ``mask``, bool (H, W).

    Fewer than three pixels, or pixels all on one line, are returned as they are.
    """
    from scipy.spatial import ConvexHull, QhullError

    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)
    outline = np.concatenate([np.stack([rows, first], axis=1), np.stack([rows, last], axis=1)])
    try:
        faces = ConvexHull(outline).equations
    except (QhullError, ValueError):
        return mask
    return _inside(faces, mask.shape)


def _inside(faces: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """bool (H, W) of the convex polygon a row + b column + c <= 0 for all ``faces`` (n, 3).

    What a row has of it is one interval, so that the faces need not be asked at each pixel.
    """
    down, right, offset = faces.T[:, :, None]
    limit = 1e-6 - offset - down * np.arange(shape[0])  # b column <= limit, (n, H)
    with np.errstate(divide="ignore", invalid="ignore"):
        border = limit / right
    low = np.where(right < 0, border, -np.inf).max(axis=0)[:, None]
    high = np.where(right > 0, border, np.inf).min(axis=0)[:, None]
    beyond = ((right == 0) & (limit < 0)).any(axis=0)[:, None]
    columns = np.arange(shape[1])
    return (columns >= low) & (columns <= high) & ~beyond
