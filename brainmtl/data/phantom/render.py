"""From a random generator to the volume or slice of one subject, with its exact mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from brainmtl.data.phantom.anatomy import (
    COARSE_AXES,
    Anatomy,
    add_harmless_findings,
    draw_anatomy,
    healthy_contrast,
    sample_tissue,
)
from brainmtl.data.phantom.atlas import Atlas
from brainmtl.data.phantom.fields import Axes, gaussian_field
from brainmtl.data.phantom.lesion import Lesion, grow_lesion, paint_lesion
from brainmtl.data.phantom.sequences import MrSequence
from brainmtl.data.phantom.variety import TEXTBOOK, Variety

FILE_SHAPE = (240, 240)  # in-plane grid of published BraTS volumes, 1 mm
SLICE_STEP = 3.0
SLICES = 32


@dataclass
class Subject:
    """One head before it is sampled: coarse anatomy and, in patients, the lesion."""

    anatomy: Anatomy
    lesion: Lesion | None


@dataclass
class Rendering:
    """Noise-free signal (about 0..1.3), BraTS labels and brain mask on the grid ``axes`` (mm)."""

    axes: Axes
    signal: np.ndarray
    labels: np.ndarray
    brain: np.ndarray


def draw_subject(
    atlas: Atlas, rng: np.random.Generator, tumour: bool, variety: Variety = TEXTBOOK
) -> Subject:
    """A random head; with ``tumour`` one lesion has pushed its tissue aside."""
    anatomy = draw_anatomy(atlas, rng)
    lesion = grow_lesion(atlas, anatomy, rng, variety) if tumour else None
    return Subject(anatomy, lesion)


def brain_axes(anatomy: Anatomy, heights: np.ndarray) -> Axes:
    """1 mm in-plane positions that hold the brain with a margin, and the given slice heights."""
    inside = anatomy.brain_sdf > 0
    axes = []
    for dimension in (0, 1):
        others = tuple(d for d in range(3) if d != dimension)
        place = COARSE_AXES[dimension][np.nonzero(inside.any(others))[0]]
        axes.append(np.arange(place[0] - 4, place[-1] + 5, dtype=np.float32))
    return (*axes, np.asarray(heights, np.float32))


def render(
    atlas: Atlas, subject: Subject, axes: Axes, sequence: MrSequence, rng: np.random.Generator
) -> Rendering:
    """Sample ``subject`` on the product grid of ``axes`` (mm)."""
    tissue = sample_tissue(atlas, subject.anatomy, axes, rng)
    signal = healthy_contrast(tissue, axes, sequence, rng)
    signal = add_harmless_findings(signal, tissue, axes, sequence, rng)
    labels = np.zeros(signal.shape, np.uint8)
    if subject.lesion is not None:
        labels = paint_lesion(signal, subject.lesion, tissue, axes, sequence, rng)
    blur = (0.6, 0.6, 0.0) if signal.shape[2] < 3 else (0.6, 0.6, 0.3)
    return Rendering(axes, ndi.gaussian_filter(signal, blur, truncate=3), labels, tissue.brain)


def acquire(
    signal: np.ndarray, axes: Axes, rng: np.random.Generator, noise: float, bias: float
) -> np.ndarray:
    """Receive-coil bias field (log-amplitude ``bias``) and Rician noise of standard deviation ``noise``."""
    biased = signal * np.exp(bias * gaussian_field(rng, axes, 45.0))
    draws = rng.standard_normal((2, *signal.shape), dtype=np.float32) * np.float32(noise)
    return np.sqrt((biased + draws[0]) ** 2 + draws[1] ** 2).astype(np.float32)


def render_volume(
    atlas: Atlas, rng: np.random.Generator, tumour: bool, variety: Variety = TEXTBOOK
) -> tuple[np.ndarray, np.ndarray]:
    """FLAIR (int16, skull-stripped: zero outside the brain) and labels (uint8), both (240, 240, 32).

    Axes run as in published BraTS files: right->left, anterior->posterior, inferior->superior.
    """
    subject = draw_subject(atlas, rng, tumour, variety)
    heights = rng.uniform(42, 48) + SLICE_STEP * np.arange(SLICES)
    flair = variety.sequences["flair"]
    picture = render(atlas, subject, brain_axes(subject.anatomy, heights), flair, rng)
    signal = acquire(
        picture.signal,
        picture.axes,
        rng,
        rng.uniform(0.012, 0.035),
        rng.uniform(0.11, 0.23),
    )
    brain = picture.brain
    signal = signal ** rng.uniform(0.75, 1.35)  # sequences differ in contrast, not in scale alone
    scale = rng.uniform(250, 1400) / max(float(signal[brain].mean()), 1e-3)
    values = np.where(brain, np.clip(np.rint(signal * scale), 1, 32000), 0).astype(np.int16)
    labels = np.where(brain, picture.labels, 0).astype(np.uint8)
    return to_file_grid(values), to_file_grid(labels)


def to_file_grid(array: np.ndarray) -> np.ndarray:
    """Centre the in-plane crop in the file grid and turn left->right, posterior->anterior round."""
    array = array[:240, :240]
    pads = [
        ((n - s) // 2, n - s - (n - s) // 2) for n, s in zip(FILE_SHAPE, array.shape, strict=False)
    ]
    return np.pad(array, [*pads, (0, 0)])[::-1, ::-1]
