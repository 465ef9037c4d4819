"""Tiny raw heads in the published layouts: enough anatomy to be framed, small enough for seconds."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from scipy import ndimage

LPS = np.diag([-1.0, -1.5, 4.0, 1.0])
SHAPE = (60, 48, 10)  # x, y, z


def brain(
    seed: int = 0, shape: tuple[int, int, int] = SHAPE, lesion: float = 6.0
) -> tuple[np.ndarray, np.ndarray]:
    """FLAIR-like voxels (X, Y, Z) int16 on 0 and a lesion's label map, of radius ``lesion`` pixels."""
    rng = np.random.default_rng(seed)
    x, y, z = (axis - size / 2 + 0.5 for axis, size in zip(np.indices(shape), shape, strict=True))
    inside = (x / (0.42 * shape[0])) ** 2 + (y / (0.42 * shape[1])) ** 2 + (
        z / (0.55 * shape[2])
    ) ** 2 < 1
    texture = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    image = 300 + 60 * texture / texture.std()
    place = np.hypot(x - rng.uniform(-8, 8), y - rng.uniform(-6, 6))
    # Largest in the middle slice, a few pixels at its ends, nothing in the outer slices.
    mask = inside & (place < lesion * np.sqrt(np.clip(1 - (z / 3.2) ** 2, 0, None)))
    image = np.where(inside, np.clip(image + 250 * mask, 1, None), 0)
    return image.astype(np.int16), np.where(mask, 2, 0).astype(np.uint8)


def save_brain(
    folder: Path, case: str, seed: int = 0, lesion: float = 6.0, affine: np.ndarray = LPS, **options
) -> np.ndarray:
    """One BraTS case; returns its label map in the file grid."""
    image, labels = brain(seed, lesion=lesion, **options)
    (folder / case).mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(image, affine), folder / case / f"{case}_flair.nii.gz")
    nib.save(nib.Nifti1Image(labels, affine), folder / case / f"{case}_seg.nii.gz")
    return labels


def head_picture(seed: int = 0, shape: tuple[int, int] = (90, 80)) -> np.ndarray:
    """A head like no other (H, W) uint8: every seed gives another outline and other contents."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    radius = np.hypot(
        (rows - shape[0] / 2) / 0.42 / shape[0], (columns - shape[1] / 2) / 0.4 / shape[1]
    )
    texture = sum(
        ndimage.gaussian_filter(rng.normal(size=shape), sigma) * sigma for sigma in (3, 6, 10)
    )
    texture = 120 + 100 * texture / np.abs(texture).max()
    return np.where(radius < 1, texture.clip(20, 255), 0).astype(np.uint8)


def save_head(path: Path, seed: int = 0, **options) -> Path:
    """A picture file of :func:`head_picture`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(head_picture(seed, **options)).save(path)
    return path


def save_heads(folder: Path, count: int, first: int = 0) -> None:
    """``count`` different heads, alternating in yes/ and no/."""
    for k in range(first, first + count):
        save_head(folder / ("yes" if k % 2 else "no") / f"h{k}.png", k)
