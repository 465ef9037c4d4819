"""Preparing data as it is written without second thought, for comparison: one process, one loop.

The whole volume as float64, slice by slice a z-score over the non-zero pixels, Pillow's resampling to
256x256, and one compressed ``.npz`` of float32 per slice. There is no common frame of the brain, no
search for the background, no reference on the file grid, no ledger, and no hash of anything.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

SIZE = 256
MIN_BRAIN = 0.05  # share of a slice's pixels from which it is kept
MIN_TUMOUR = 100  # pixels


def prepare_volumes(cases: list[tuple[Path, Path]], out_dir: Path) -> int:
    """Write the slices of (image, segmentation) files that show brain; returns how many."""
    out_dir.mkdir(parents=True)
    written = 0
    for image_path, mask_path in cases:
        volume = nib.load(image_path).get_fdata()
        mask = nib.load(mask_path).get_fdata()
        for k in range(volume.shape[2]):
            plane = volume[:, :, k].T
            brain = plane != 0
            if brain.mean() < MIN_BRAIN:
                continue
            scaled = np.where(brain, (plane - plane[brain].mean()) / plane[brain].std(), 0)
            image = _resize(scaled.astype(np.float32), Image.Resampling.BILINEAR)
            tumour = (mask[:, :, k].T > 0).astype(np.uint8)
            tumour = _resize(tumour, Image.Resampling.NEAREST)
            label = int(tumour.sum() >= MIN_TUMOUR)
            name = f"{image_path.name.split('.')[0]}_{k:03d}.npz"
            np.savez_compressed(out_dir / name, image=image, mask=tumour, label=label)
            written += 1
    return written


def prepare_pictures(pictures: list[tuple[Path, int]], out_dir: Path) -> int:
    """Write (file, label) as grey pictures of 256x256; returns how many."""
    out_dir.mkdir(parents=True)
    for path, label in pictures:
        grey = np.asarray(Image.open(path).convert("L"), dtype=np.float32)
        image = _resize((grey - grey.mean()) / grey.std(), Image.Resampling.BILINEAR)
        np.savez_compressed(out_dir / f"{path.stem}.npz", image=image, label=label)
    return len(pictures)


def _resize(plane: np.ndarray, resampling: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(plane).resize((SIZE, SIZE), resampling))
