"""Tiny raw files in the published layouts, for tests of the adapters."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

LPS = np.diag([-1.0, -1.0, 2.5, 1.0])  # BraTS: x to the left, y to posterior, z up


def volume(seed: int = 0, shape: tuple[int, ...] = (6, 5, 4)) -> np.ndarray:
    """Random int16 voxels, no two planes alike."""
    return np.random.default_rng(seed).integers(1, 500, shape).astype(np.int16)


def labels(shape: tuple[int, ...] = (6, 5, 4)) -> np.ndarray:
    """A label map with the BraTS values 0, 1, 2 and 4."""
    array = np.zeros(shape, dtype=np.uint8)
    array[1, 1, 1], array[2, 1, 1], array[3, 2, 2] = 1, 2, 4
    return array


def save_nifti(path: Path, array: np.ndarray, affine: np.ndarray = LPS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def save_brats(
    folder: Path, case: str, image: np.ndarray | None = None, suffix: str = ".nii.gz"
) -> None:
    """One case of BraTS 2017-2021: FLAIR and segmentation."""
    image = volume() if image is None else image
    save_nifti(folder / case / f"{case}_flair{suffix}", image)
    save_nifti(folder / case / f"{case}_seg{suffix}", labels(image.shape))


def save_picture(path: Path, seed: int = 0, shape: tuple[int, ...] = (20, 24)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(array).save(path)
    return path
