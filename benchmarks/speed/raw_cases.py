"""Raw data to prepare (synthetic): cases of the size of published BraTS ones, and photographs."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from brainmtl.data.phantom.atlas import load_atlas
from brainmtl.data.phantom.render import acquire, brain_axes, draw_subject, render, to_file_grid
from brainmtl.data.phantom.sequences import SEQUENCES
from brainmtl.data.phantom.writer import PhantomConfig, subject_rng, write_photo

SLICES = 155  # of 1 mm, as in BraTS; the phantom itself has 32 of 5 mm
LOWEST_MM = 14  # height of the first slice in the atlas: some empty ones below and above
AFFINE = np.array([[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]], float)


def write_raw(folder: Path, cases: int, photos: int, slices: int = SLICES) -> None:
    """``folder/brats`` with FLAIR int16 and segmentation uint8 (240, 240, slices), all with tumour,
    and ``folder/kaggle`` with JPEG photographs."""
    for index in range(cases):
        _write_case(folder / "brats" / f"Phantom_{index:04d}", index, slices)
    config = PhantomConfig(subjects=0, healthy_fraction=0.0, photos=photos, seed=0)
    for index in range(photos):
        write_photo(folder, config, index)


def _write_case(folder: Path, index: int, slices: int) -> None:
    rng = subject_rng(0, 0, index)
    subject = draw_subject(load_atlas(), rng, tumour=True)
    heights = LOWEST_MM + np.linspace(0, SLICES - 1, slices)
    picture = render(
        load_atlas(), subject, brain_axes(subject.anatomy, heights), SEQUENCES["flair"], rng
    )
    signal = acquire(picture.signal, picture.axes, rng, noise=0.02, bias=0.15)
    scale = 600 / float(signal[picture.brain].mean())
    flair = np.where(picture.brain, np.clip(np.rint(signal * scale), 1, 32000), 0)
    labels = np.where(picture.brain, picture.labels, 0)
    folder.mkdir(parents=True)
    for kind, values, dtype in (("flair", flair, np.int16), ("seg", labels, np.uint8)):
        image = nib.Nifti1Image(np.ascontiguousarray(to_file_grid(values)).astype(dtype), AFFINE)
        image.header.set_xyzt_units("mm", "sec")
        nib.save(image, folder / f"{folder.name}_{kind}.nii.gz")
