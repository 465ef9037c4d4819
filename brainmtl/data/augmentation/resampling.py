"""A prepared image through a change of its grid, and smooth random fields on one: shared by augmentations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE

# Planes float32 (C, H, W) and "bilinear" or "nearest" to planes on the new grid, 0 outside the old one.
Sampler = Callable[[np.ndarray, str], np.ndarray]


def foreground_of(image: np.ndarray) -> np.ndarray:
    """float32 (H, W), 1 or 0, of an image (C, H, W): the background is constant over all channels."""
    different = image != BACKGROUND_VALUE
    return (different[0] if len(different) == 1 else different.any(axis=0)).astype(np.float32)


def resample(
    image: np.ndarray, foreground: np.ndarray, mask: np.ndarray | None, sampler: Sampler
) -> tuple[np.ndarray, np.ndarray | None]:
    """Image (C, H, W) float32 bilinear, its foreground (H, W) and the mask (H, W), or None, nearest.

    Whatever comes in from outside is background. The mask keeps its type.
    """
    # Samplers pad with 0: background has to be 0 while they work.
    moved = sampler(image - np.float32(BACKGROUND_VALUE), "bilinear")
    shapes = [foreground] if mask is None else [foreground, mask]
    nearest = sampler(np.stack(shapes, dtype=np.float32, casting="unsafe"), "nearest")
    # Between head and background, bilinear values belong to neither; nearest decides.
    moved *= nearest[0]
    moved += np.float32(BACKGROUND_VALUE)
    return moved, None if mask is None else nearest[1].astype(mask.dtype)


def uneven(shape: tuple[int, ...], points: int, generator: torch.Generator) -> np.ndarray:
    """A smooth random field (H, W) of SD about 1 through ``points`` x ``points`` random numbers."""
    coarse = torch.randn(1, points, points, generator=generator)
    return enlarged(coarse, shape, "bicubic")[0]


def enlarged(planes: torch.Tensor, shape: tuple[int, ...], mode: str = "bilinear") -> np.ndarray:
    """Planes (C, h, w) float32 on a grid of ``shape`` (H, W)."""
    return F.interpolate(planes[None], size=shape, mode=mode, align_corners=False)[0].numpy()
