"""What a trivial predictor sees of an image: its file, its border, its intensities, its thumbnail."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.data.preprocessing.geometry import SliceGeometry
from brainmtl.data.samples import Sample
from brainmtl.evaluation.shortcuts.images import sample_batches, thumbnail
from brainmtl.evaluation.shortcuts.regions import head_region

if TYPE_CHECKING:
    import pandas as pd

METADATA = (
    "height",
    "width",
    "aspect",
    "row spacing",
    "column spacing",
    "slice spacing",
    "slices in the volume",
    "relative slice position",
)
UNKNOWN = -1.0  # no such size or place: a tree can split it off
BORDER_SHARE = 0.08  # of the image's side, on each of the four sides
BORDER_SIDE = 64  # the border is taken from the image at this size: 5 pixels wide
QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
BINS = np.linspace(-3.0, 5.0, 17)  # z-score units; what lies beyond counts in the outer bins


def describe(
    data_dir: str | Path, part: pd.DataFrame, *, text: str, progress: bool = True
) -> dict[str, np.ndarray]:
    """``metadata``, ``border``, ``intensity`` and ``pixels`` of the rows of ``part``, (N, F) each.

    What a file does not say (spacing of a photograph) is :data:`UNKNOWN` in ``metadata``.
    """
    found: dict[str, list[np.ndarray]] = {
        name: [] for name in ("metadata", "border", "intensity", "pixels")
    }
    for rows, samples in sample_batches(data_dir, part, text=text, progress=progress):
        for row, sample in zip(rows, samples, strict=True):
            found["metadata"].append(file_metadata(row, sample))
            found["border"].append(border(sample.image))
            found["intensity"].append(intensities(sample.image))
            found["pixels"].append(thumbnail(sample.image).ravel())
    return {name: np.stack(values) for name, values in found.items() if values}


def file_metadata(row: Any, sample: Sample) -> np.ndarray:
    """The values of :data:`METADATA`, float64. File type and bit depth are not stored in prepared
    samples; the place of the head in the picture is, but comes from its pixels."""
    geometry = sample.geometry
    height, width = geometry.plane_shape
    depth = slice_count(geometry)
    place = None if depth is None else row.position / max(depth - 1, 1)
    spacing = geometry.spacing_mm or (None, None)
    values = (height, width, width / height, *spacing, geometry.slice_spacing_mm, depth, place)
    return np.array([UNKNOWN if value is None else value for value in values], dtype=np.float64)


def slice_count(geometry: SliceGeometry) -> int | None:
    """Number of slices of the file that a slice comes from; None for a single picture."""
    volume = geometry.volume
    if volume is None:
        return None
    if volume.axes is None:
        return volume.file_shape[2]
    # The file axis that runs along the third axis of LPS is the one that slices are cut on.
    return volume.file_shape[[axis for axis, _ in volume.axes].index(2)]


def border(image: np.ndarray) -> np.ndarray:
    """Pixels of the outer :data:`BORDER_SHARE` of an image (C, H, W) at 64x64, all channels."""
    width = round(BORDER_SHARE * BORDER_SIDE)
    ring = np.ones((BORDER_SIDE, BORDER_SIDE), dtype=bool)
    ring[width:-width, width:-width] = False
    return thumbnail(image, BORDER_SIDE)[:, ring].ravel()


def intensities(image: np.ndarray) -> np.ndarray:
    """Quantiles and histogram (shares) of the head's pixels, per channel one after the other."""
    head = head_region(image)
    values = [plane[head] for plane in image]
    quantiles = [np.quantile(inside, QUANTILES) for inside in values]
    shares = [
        np.histogram(np.clip(inside, BINS[0], BINS[-1]), BINS)[0] / inside.size for inside in values
    ]
    return np.concatenate([*quantiles, *shares]).astype(np.float64)
