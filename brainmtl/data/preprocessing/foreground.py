"""Where the head or brain is in a picture or volume of unknown origin, whatever surrounds it."""

from __future__ import annotations

import numpy as np

from brainmtl.data.preprocessing.regions import bounding_box, enclosed, percentile
from brainmtl.errors import DataError


def find_foreground(image: np.ndarray) -> np.ndarray:
    """The head or brain in a plane (H, W) or volume (H, W, N), as a bool array of the same shape.

    The background is whatever the corners show: zero or not, dark or bright, and also zero amid
    z-scored values that are negative inside the brain. It is what can be reached from the border
    of each plane through values near the corners' median, as near as the noise of corners and borders
    reaches; what it encloses belongs to the head, whatever its value. A picture or volume inside a frame of
    another shade is searched again within the frame.
    Where that leaves less than 2 %, the corners were no background, and all of it is foreground.

    Raises:
        DataError: non-finite values, or a constant image.
    """
    if not np.isfinite(image).all():
        raise DataError("the image holds NaN or infinite values: repair or leave out the file")
    solid = _unlike_background(image)
    if image.ndim == 3:
        for k in np.flatnonzero(solid.all(axis=(0, 1))):
            solid[:, :, k] = np.ptp(image[:, :, k]) > 0  # a blank plane fills up the volume
        # (H, W, N) whose planes lie together in memory, since all that follows works on planes.
        planes = np.stack([enclosed(solid[:, :, k]) for k in range(solid.shape[2])])
        return _inside_frame(image, np.moveaxis(planes, 0, -1))
    foreground = enclosed(solid)
    # Less than 2 % left means that the corners were not background at all.
    if _share(foreground) < 0.02:
        foreground = np.ones(image.shape, dtype=bool)
    return _inside_frame(image, foreground)


def _inside_frame(image: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Search again within ``foreground`` (H, W) or (H, W, N) where it is a rectangle, the same in each plane
    that has any: a mat around a photograph, or zeros that fill up a volume whose air is not zero."""
    if not foreground.any():
        return foreground
    planes = np.atleast_3d(foreground)
    r0, r1, c0, c1 = bounding_box(planes.any(axis=2))
    inset = max(2, min(r1 - r0, c1 - c0) // 50)  # the frame's own line, blurred by JPEG
    r0, r1, c0, c1 = r0 + inset, r1 - inset, c0 + inset, c1 - inset
    if foreground.all() or min(r1 - r0, c1 - c0) < 32:
        return foreground
    if _share(planes[r0:r1, c0:c1, planes.any(axis=(0, 1))]) < 0.97:
        return foreground
    try:
        inner = find_foreground(image[r0:r1, c0:c1])
    except DataError:  # a blank rectangle: keep what was found
        return foreground
    if not 0.15 < _share(np.atleast_3d(inner).any(axis=2)) < 0.90:
        return foreground
    result = np.zeros_like(foreground)
    result[r0:r1, c0:c1] = inner
    return result


def _unlike_background(image: np.ndarray) -> np.ndarray:
    """bool of the image's shape: farther from the background's value than its noise reaches."""
    rows, columns = _margin(image)
    corners = np.concatenate(
        [
            image[r, c].ravel()
            for r in (slice(rows), slice(-rows, None))
            for c in (slice(columns), slice(-columns, None))
        ]
    )
    background = float(np.median(corners))
    distance = image - background
    np.abs(distance, out=distance)  # a volume of 36 MB: not twice
    strong = percentile(distance, 99)
    if strong == 0:  # fewer than 1 % of the pixels differ
        strong = float(distance.max())
    if strong == 0:
        raise DataError(f"the image is constant ({background:g}): nothing to see in it")
    noise = np.maximum(_reach(corners - background), _noise_of_air(distance, 0.25 * strong))
    # Where the image was padded, the noise of its air begins within the padding.
    r0, r1, c0, c1 = bounding_box(np.atleast_3d(distance).any(axis=2))
    inner = distance[r0:r1, c0:c1]
    if inner.shape != distance.shape and min(inner.shape[:2]) >= 32:
        noise = np.maximum(noise, _noise_of_air(inner, 0.25 * strong))
    return distance > np.clip(noise, 0.06 * strong, 0.25 * strong)


def _noise_of_air(distance: np.ndarray, most: float) -> np.ndarray:
    """How far noise reaches in each plane of (H, W, ...), shape (...): scanners blank the corners of a
    picture and leave the noise of the air along its borders. 0 where most of the border is not faint."""
    rows, columns = _margin(distance)
    inner = distance[rows:-rows]
    strips = (distance[:rows], distance[-rows:], inner[:, :columns], inner[:, -columns:])
    border = np.concatenate([strip.reshape(-1, *distance.shape[2:]) for strip in strips])
    faint = (border > 0) & (border < most)
    reach = np.zeros(border.shape[1:])
    for plane in np.ndindex(reach.shape):
        values = border[faint[:, *plane], *plane]
        if values.size > 0.4 * len(border):
            middle = np.median(values)
            reach[plane] = middle + _reach(values - middle)
    return reach


def _margin(image: np.ndarray) -> tuple[int, int]:
    """Rows and columns from the border in, within which background is looked for."""
    rows, columns = (max(2, size // 16) for size in image.shape[:2])
    return rows, columns


def _reach(deviations: np.ndarray) -> float:
    """Four SD of noise, from the median of its deviations (n,)."""
    return 4 * 1.4826 * float(np.median(np.abs(deviations)))


def _share(mask: np.ndarray) -> float:
    return np.count_nonzero(mask) / mask.size
