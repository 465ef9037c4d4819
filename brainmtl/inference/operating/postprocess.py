"""Cleaning of predicted masks: holes filled, then small components removed.

Masks are bool arrays; pixels that touch at a corner belong to one component (8 neighbours in a plane,
26 in a volume), and a hole is background that no path over edges leads out of. scipy's ndimage, which
MONAI's FillHoles wraps (its RemoveSmallObjects needs scikit-image).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from brainmtl.errors import ConfigError

# Where no spacing is known a voxel counts as 1 mm in each direction.
DEFAULT_VOXEL_ML = 0.001


@dataclass(frozen=True)
class PostprocessOptions:
    """What :func:`clean_slice` and :func:`clean_volume` do; the default is nothing.

    ``min_component_pixels`` is the smallest component that stays, in pixels of the prepared
    256x256 grid, slice by slice. ``fill_holes`` fills enclosed background. ``min_component_ml`` is
    the smallest component that stays in the volume on its original grid, in ml.

    Raises:
        ConfigError: a size that is negative, not finite or (pixels) not whole.
    """

    min_component_pixels: int = 0
    fill_holes: bool = False
    min_component_ml: float = 0.0

    def __post_init__(self) -> None:
        pixels, ml = self.min_component_pixels, self.min_component_ml
        if isinstance(pixels, bool) or not isinstance(pixels, int) or pixels < 0:
            raise ConfigError(
                f"min_component_pixels={pixels!r} must be a whole number from 0 (off) up"
            )
        if not isinstance(self.fill_holes, bool):
            raise ConfigError(f"fill_holes={self.fill_holes!r} must be true or false")
        if isinstance(ml, bool) or not isinstance(ml, int | float) or not 0 <= ml < math.inf:
            raise ConfigError(f"min_component_ml={ml!r} must be a number of ml from 0 (off) up")


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """``mask`` (any shape) with the background that it encloses set, as a new bool array."""
    filled = mask.astype(bool)
    for box in ndimage.find_objects(filled.view(np.uint8)):  # none in an empty mask
        # holes lie within the box around the mask, which is mostly far smaller than the plane
        filled[box] = ndimage.binary_fill_holes(filled[box])
    return filled


def label_components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(labels, sizes) of the components: int labels of ``mask``'s shape, 0 outside; ``sizes[k]``
    pixels or voxels of component k, ``sizes[0]`` = 0."""
    labels, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim, dtype=bool))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return labels, sizes


def remove_small(mask: np.ndarray, minimum: int) -> np.ndarray:
    """``mask`` (any shape) without components of fewer than ``minimum`` pixels or voxels."""
    if minimum <= 1 or not mask.any():
        return mask.astype(bool)
    labels, sizes = label_components(mask)
    keep = sizes >= minimum
    keep[0] = False
    return keep[labels]


def clean_slice(mask: np.ndarray, options: PostprocessOptions) -> np.ndarray:
    """Mask (256, 256) of one slice or picture on the prepared grid, cleaned, as a new bool array.

    Raises:
        ValueError: ``mask`` is not 2-D.
    """
    if mask.ndim != 2:
        raise ValueError(f"a mask of shape {mask.shape} is no plane (H, W)")
    filled = fill_holes(mask) if options.fill_holes else mask
    return remove_small(filled, options.min_component_pixels)


def clean_volume(
    mask: np.ndarray, options: PostprocessOptions, voxel_ml: float | None = None
) -> np.ndarray:
    """Mask (X, Y, Z) of one volume on its original grid, cleaned in 3-D, as a new bool array.

    For masks assembled from slices that :func:`clean_slice` has cleaned. ``voxel_ml`` is the volume
    of a voxel in ml; None (no spacing known) takes 1 mm in each direction.

    Raises:
        ValueError: ``mask`` is not 3-D.
    """
    if mask.ndim != 3:
        raise ValueError(f"a mask of shape {mask.shape} is no volume (X, Y, Z)")
    filled = fill_holes(mask) if options.fill_holes else mask
    return remove_small(filled, min_component_voxels(options, voxel_ml))


def clean_assembled(
    mask: np.ndarray, options: PostprocessOptions, voxel_ml: float | None = None
) -> np.ndarray:
    """Mask uint8 {0, 1} of a volume assembled from cleaned slices, as evaluated and as served.

    Cleaned in 3-D where ``min_component_ml`` asks for it, untouched otherwise.
    """
    if not options.min_component_ml:
        return mask
    return clean_volume(mask, options, voxel_ml).astype(mask.dtype)


def min_component_voxels(options: PostprocessOptions, voxel_ml: float | None = None) -> int:
    """The smallest number of voxels whose volume reaches ``min_component_ml``; see clean_volume."""
    voxels = options.min_component_ml / (voxel_ml or DEFAULT_VOXEL_ML)
    # 0.3 ml of 0.001 ml are 300 voxels, not the 301 that binary fractions make of it
    return math.ceil(round(voxels, 9))
