"""The one preprocessing function, for training and for serving alike.

plane (H, W) -> foreground -> frame -> square, 256x256, aspect kept -> z-score over the foreground

Every caller goes through :func:`preprocess_slice`: `brainmtl.prepare` for all sources, and inference.
The result is rounded to float16, so that a sample read back from disk is bit-equal to the same slice
prepared while serving.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from brainmtl.data.half import from_half, to_half
from brainmtl.data.preprocessing.foreground import find_foreground
from brainmtl.data.preprocessing.geometry import (
    SliceGeometry,
    VolumeGeometry,
    frame_geometry,
    resize,
)
from brainmtl.data.preprocessing.regions import bounding_box, percentile
from brainmtl.errors import DataError

# Part of every sample and checkpoint: raise it whenever a prepared pixel would change.
PREPROCESSING_VERSION = "4"
IMAGE_SIZE = 256
MIN_SIDE = 16  # pixels of a raw plane
# Outside the foreground, in z-score units: darker than nearly all tissue, so that a foreground that
# misses some dark cerebrospinal fluid or bone looks natural and not like a bright hole.
BACKGROUND_VALUE = -3.0
# Foreground intensities beyond these percentiles are clipped before the mean and SD are taken:
# single voxels near 32,770 occur in published BraTS cases and would flatten everything else.
CLIP_PERCENTILES = (0.1, 99.9)
# A slice belongs to the brain when its foreground covers this share of the volume's in-plane frame.
MIN_SLICE_FOREGROUND = 0.10


@dataclass
class PreparedSlice:
    """``image`` float32 (C, 256, 256), z-scored; ``foreground`` bool (256, 256); the way back."""

    image: np.ndarray
    foreground: np.ndarray
    geometry: SliceGeometry


def normalize_zscore(image: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Z-score ``image`` (H, W) over ``foreground`` (H, W, bool), the background set constant.

    Intensities are clipped to the foreground's 0.1 and 99.9 percentiles first; the result has mean
    0 and SD 1 over the foreground and :data:`BACKGROUND_VALUE` elsewhere (float32).

    Raises:
        DataError: no foreground, non-finite values, or a constant foreground (its SD is 0).
    """
    values = image[foreground].astype(np.float64)
    if values.size == 0:
        raise DataError("the image is empty: it has no foreground")
    if not np.isfinite(values).all():
        raise DataError("the image holds NaN or infinite values: repair or leave out the file")
    low, high = (percentile(values, q) for q in CLIP_PERCENTILES)
    values = np.clip(values, low, high)
    mean, deviation = values.mean(), values.std()
    if deviation <= 1e-6 * max(abs(mean), abs(high - low), 1e-12):
        raise DataError(
            f"the image is constant ({mean:g}) over its foreground: nothing to see in it"
        )
    result = np.full(image.shape, BACKGROUND_VALUE, dtype=np.float32)
    result[foreground] = (values - mean) / deviation
    return result


def preprocess_slice(
    planes: np.ndarray,
    foreground: np.ndarray | None = None,
    geometry: SliceGeometry | None = None,
) -> PreparedSlice:
    """Prepare one slice: the only way from raw intensities to what a network sees.

    Args:
        planes: float (C, H, W) in display orientation; the foreground is found on channel 0.
        foreground: bool (H, W) where the volume's is known already, else found here.
        geometry: the volume's frame for a slice of a volume, else the foreground's own box.

    Raises:
        DataError: an empty, constant or non-finite image.
    """
    planes = np.asarray(planes, dtype=np.float32)
    if planes.ndim != 3 or min(planes.shape[1:]) < MIN_SIDE:
        raise DataError(
            f"an image of shape {planes.shape} is not (channels, height, width) of {MIN_SIDE} pixels or more"
        )
    if foreground is None:
        foreground = find_foreground(planes[0])
    if geometry is None:
        geometry = frame_geometry(foreground.shape, bounding_box(foreground))
    # Checked before resizing: the blurred rim of a blank shape would pass for contrast.
    if foreground.any() and any(np.ptp(plane[foreground]) == 0 for plane in planes):
        raise DataError("the image is constant over its foreground: nothing to see in it")
    # Padding is no head, even where the head touches the border of the picture.
    framed = _to_frame(foreground, geometry, fill=False) >= 0.5
    channels = [normalize_zscore(_to_frame(plane, geometry), framed) for plane in planes]
    image = from_half(to_half(np.stack(channels)))
    return PreparedSlice(image, framed, geometry)


def prepare_mask(mask: np.ndarray, geometry: SliceGeometry) -> np.ndarray:
    """Mask plane (H, W) bool -> uint8 {0, 1} (256, 256) in the same frame as its image."""
    return (_to_frame(mask, geometry, fill=False) >= 0.5).astype(np.uint8)


def _to_frame(plane: np.ndarray, geometry: SliceGeometry, fill: float | None = None) -> np.ndarray:
    r0, r1, c0, c1 = geometry.crop
    top, bottom, left, right = geometry.padding
    cropped = plane[r0:r1, c0:c1]
    if any(geometry.padding):
        width = ((top, bottom), (left, right))
        # Edge values and not zeros: whatever the background is, the border of the head stays soft.
        cropped = (
            np.pad(cropped, width, mode="edge")
            if fill is None
            else np.pad(cropped, width, constant_values=fill)
        )
    return resize(cropped, (geometry.size, geometry.size))


@dataclass
class VolumeFrame:
    """Foreground (H, W, N), the one in-plane frame of all slices, and the slices that show brain."""

    foreground: np.ndarray
    geometry: SliceGeometry
    slices: tuple[int, ...]

    def slice_geometry(self, index: int) -> SliceGeometry:
        """The frame on slice ``index`` of the display array (H, W, N)."""
        return self.geometry.at_slice(index)


def frame_volume(
    volume: np.ndarray,
    spacing_mm: tuple[float, float, float] | None = None,
    geometry: VolumeGeometry | None = None,
) -> VolumeFrame:
    """Find the foreground and the common in-plane frame of a volume (H, W, N), float.

    One box for all slices keeps the size of the brain comparable from slice to slice; the slices
    with at least 10 % of the frame covered count as brain.
    """
    foreground = find_foreground(volume)
    cover = foreground.sum(axis=(0, 1))
    # A few voxels of noise outside the head must not widen the frame for every slice.
    plane = foreground[:, :, cover >= MIN_SLICE_FOREGROUND * cover.max()].sum(axis=2) >= 2
    box = bounding_box(plane if plane.any() else foreground.any(axis=2))
    frame = frame_geometry(
        volume.shape[:2], box, spacing_mm[:2] if spacing_mm else None, IMAGE_SIZE
    )
    frame = replace(frame, volume=geometry, slice_spacing_mm=spacing_mm[2] if spacing_mm else None)
    area = (box[1] - box[0]) * (box[3] - box[2])
    slices = tuple(int(k) for k in np.flatnonzero(cover >= MIN_SLICE_FOREGROUND * area))
    return VolumeFrame(foreground, frame, slices)


def load_and_preprocess_image(path: str | Path) -> PreparedSlice:
    """Read a picture (any format of :mod:`brainmtl.data.image_io`) and prepare it.

    Raises:
        DataError: names the file, what is wrong with it and what to do.
    """
    from brainmtl.data.image_io import read_image

    image = read_image(path)
    try:
        return preprocess_slice(image[None])
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
