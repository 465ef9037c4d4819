"""Random maps of pixels, and a tally with one more prediction of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import ndimage, special

from brainmtl.data.preprocessing.geometry import SliceGeometry, VolumeGeometry
from brainmtl.evaluation.candidates import Candidate, CandidateTally

SHAPE = (256, 256)
AFFINE = np.diag([1.0, 1.0, 5.0, 1.0])
PLAIN = Candidate("none", 0, False)


def geometry(kind: str) -> SliceGeometry:
    """A slice of 1 x 1 x 5 mm voxels shown at twice its size, of a stack, or a picture."""
    frame = SliceGeometry((128, 128), (0, 128, 0, 128), (0, 0, 0, 0), (2.0, 2.0))
    if kind == "picture":
        return frame
    if kind == "stack":
        return replace(frame, volume=VolumeGeometry.stack((128, 128), 9))
    volume = VolumeGeometry.from_affine(AFFINE, (128, 128, 9))
    return replace(frame, volume=volume, spacing_mm=(1.0, 1.0), slice_spacing_mm=5.0)


def some_map(seed: int, sigma: float = 4.0) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), sigma)
    return special.expit(12 * (noise / noise.std() - 1.4)).astype(np.float16)


def add(tally: CandidateTally, seed: int, **changes: Any) -> dict[str, Any]:
    """Count one slice of two unlike maps and a reference near them; returns what was given."""
    plain, flipped = some_map(seed), some_map(seed + 500)
    item = {
        "source": "brats",
        "group": "A",
        "case_id": "A_1",
        "geometry": geometry("volume"),
        "probabilities": {"none": 0.8, "flip": 0.6},
        "maps": {"none": plain, "flip": ((plain + flipped) / 2).astype(np.float16)},
        "reference": ndimage.binary_opening(plain > 0.2, iterations=2),
    } | changes
    tally.add(**item)
    return item
