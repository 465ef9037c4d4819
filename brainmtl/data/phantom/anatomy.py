"""A healthy head of its own: pose, size, ventricles, folds, tissue contrast and harmless findings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from brainmtl.data.phantom.atlas import SDF_STEP, Atlas
from brainmtl.data.phantom.fields import (
    Axes,
    gaussian_field,
    grid_offsets,
    resample,
    sigmoid,
)
from brainmtl.data.phantom.sequences import MrSequence

COARSE_STEP = 3.0  # mm; everything smooth is computed on this grid and interpolated
COARSE_AXES: Axes = tuple(
    np.arange(low, high, COARSE_STEP, dtype=np.float32)
    for low, high in ((0, 198), (0, 234), (-6, 180))
)
CENTRE = (98.0, 116.0, 84.0)  # mm in the atlas grid; head pose turns about it
VENTRICLE_CENTRE = (98.0, 116.0, 88.0)
VENTRICLE_REACH = (30.0, 48.0, 26.0)


@dataclass
class Anatomy:
    """One head on the coarse grid.

    ``source``: (3, X, Y, Z) atlas coordinates (mm) that each coarse grid point shows;
    ``brain_sdf``: (X, Y, Z) signed distance to the brain's surface in mm, positive inside.
    """

    source: np.ndarray
    brain_sdf: np.ndarray


@dataclass
class Tissue:
    """Fine-grid maps of one head: probabilities in [0, 1] and distances in mm, all (X, Y, Z)."""

    csf: np.ndarray
    gm: np.ndarray
    wm: np.ndarray
    detail: np.ndarray
    brain: np.ndarray  # bool
    brain_sdf: np.ndarray
    ventricle_sdf: np.ndarray


def _rotation(rng: np.random.Generator) -> np.ndarray:
    """Random head pose and size as the 3x3 matrix from subject to atlas offsets."""
    angles = np.deg2rad(rng.normal(0, (5, 4, 4)))
    matrix = np.diag(1 / rng.normal(1, 0.04, 3).clip(0.9, 1.1))
    for (i, j), angle in zip(((0, 1), (1, 2), (0, 2)), angles, strict=True):
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix.astype(np.float32)


def draw_source(rng: np.random.Generator) -> np.ndarray:
    """Atlas coordinates (3, X, Y, Z) on the coarse grid: pose, folds and ventricles of a new head."""
    matrix = _rotation(rng)
    offsets = grid_offsets(COARSE_AXES, CENTRE)
    source = np.stack(
        [sum(matrix[i, j] * offsets[j] for j in range(3)) + CENTRE[i] for i in range(3)]
    )
    for sigma, amplitude in ((38.0, 2.8), (12.0, 1.3), (6.0, 0.7)):
        for component in source:
            component += amplitude * gaussian_field(rng, COARSE_AXES, sigma)
    # Contracting the coordinates about the ventricles shows them larger (atrophy), or smaller.
    growth = rng.uniform(-0.12, 0.5)
    near = grid_offsets(COARSE_AXES, VENTRICLE_CENTRE)
    d2 = sum((o / r) ** 2 for o, r in zip(near, VENTRICLE_REACH, strict=True))
    shrink = (1 - growth / (1 + growth) * np.exp(-d2)).astype(np.float32)
    for component, centre in zip(source, VENTRICLE_CENTRE, strict=True):
        component -= centre
        component *= shrink
        component += centre
    return source.astype(np.float32)


def sample_sdf(sdf: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Signed distance map of the atlas at atlas coordinates ``source`` (3, ...)."""
    return ndi.map_coordinates(sdf, source / SDF_STEP, order=1, mode="nearest")


def draw_anatomy(atlas: Atlas, rng: np.random.Generator) -> Anatomy:
    """A new head on the coarse grid, without findings."""
    source = draw_source(rng)
    return Anatomy(source=source, brain_sdf=sample_sdf(atlas.brain_sdf, source))


def coarse_map(values: np.ndarray, anatomy: Anatomy) -> np.ndarray:
    """An atlas map (1 mm grid) as this head shows it on the coarse grid."""
    return ndi.map_coordinates(values, anatomy.source, order=1)


def sample_tissue(atlas: Atlas, anatomy: Anatomy, axes: Axes, rng: np.random.Generator) -> Tissue:
    """Tissue maps on the product grid of ``axes`` (mm)."""
    brain_sdf = resample(anatomy.brain_sdf, COARSE_AXES, axes)
    brain = brain_sdf > 0
    source = np.stack([resample(s, COARSE_AXES, axes)[brain] for s in anatomy.source])
    ventricle_sdf = np.full(brain.shape, -99, np.float32)
    ventricle_sdf[brain] = sample_sdf(atlas.ventricle_sdf, source)

    def fill(values: np.ndarray) -> np.ndarray:
        full = np.zeros(brain.shape, np.float32)
        full[brain] = ndi.map_coordinates(values, source, order=1)
        return full

    gm, wm, detail = fill(atlas.gm), fill(atlas.wm), fill(atlas.detail)
    csf = np.clip(1 - gm - wm, 0, 1) * brain
    # An average of 152 brains has no sulci of its own: a random tilt between the tissues, followed
    # by a sharper softmax, gives each head folds that are narrow here and wide there.
    atrophy = rng.normal(0.35, 0.5) + 0.6 * gaussian_field(rng, axes, 16.0)
    csf = csf**1.6 * np.exp(0.55 * gaussian_field(rng, axes, 4.0) + atrophy)
    gm_sharp = gm**1.6 * np.exp(0.25 * gaussian_field(rng, axes, 5.0))
    wm_sharp = wm**1.6
    total = csf + gm_sharp + wm_sharp + 1e-6
    return Tissue(
        csf / total,
        gm_sharp / total,
        wm_sharp / total,
        detail,
        brain,
        brain_sdf,
        ventricle_sdf,
    )


def healthy_contrast(
    tissue: Tissue, axes: Axes, sequence: MrSequence, rng: np.random.Generator
) -> np.ndarray:
    """Intensity of healthy tissue: in FLAIR, CSF dark and white matter a little darker than grey."""
    grey = rng.uniform(*sequence.grey) * (1 + 0.035 * gaussian_field(rng, axes, 14.0))
    white = rng.uniform(*sequence.white)
    signal = rng.uniform(*sequence.csf) * tissue.csf + grey * tissue.gm + white * tissue.wm
    signal += rng.uniform(*sequence.detail) * tissue.detail
    return signal * (1 + 0.022 * gaussian_field(rng, axes, 1.4))


def add_harmless_findings(
    signal: np.ndarray, tissue: Tissue, axes: Axes, sequence: MrSequence, rng: np.random.Generator
) -> np.ndarray:
    """What healthy heads show too and a threshold takes for tumour; no mask marks it.

    Periventricular caps, white-matter hyperintensities from a few points to confluent, fluid that
    is not quite nulled by the inversion pulse, and bright rims at the skull base.
    """
    away = np.clip(-tissue.ventricle_sdf, 0, None)  # mm from the ventricles
    tint = gaussian_field(rng, axes, 9.0)
    cap = (
        rng.uniform(0.03, 0.30)
        * np.exp(-away / rng.uniform(1.5, 3.5))
        * np.clip(1 + 0.6 * tint, 0, 2)
    )
    burden = rng.beta(1.1, 1.9)
    spots = gaussian_field(rng, axes, rng.uniform(2.0, 3.5)) + 0.4 * gaussian_field(rng, axes, 8.0)
    level = spots - 3.0 + 2.2 * burden * np.exp(-away / rng.uniform(7, 16)) + 0.45 * burden
    spot = rng.uniform(0.14, 0.42) * sigmoid(level / 0.12)
    where = np.clip(tissue.wm, 0, 1) ** 1.5 * (tissue.brain_sdf > 5)
    signal = signal + sequence.findings * (cap + spot) * where
    if not sequence.artefacts:
        return signal.astype(np.float32)
    if rng.random() < 0.35:  # fluid that flows is not nulled
        flow = np.clip(gaussian_field(rng, axes, 10.0) - 0.4, 0, 1.5)
        signal += rng.uniform(0.2, 0.5) * flow * tissue.csf * (tissue.ventricle_sdf > 0.5)
    if rng.random() < 0.8:  # susceptibility and pulsation pile up signal at the surface
        pile = np.clip(gaussian_field(rng, axes, 13.0) - 0.7, 0, 1.2)
        signal += (
            rng.uniform(0.2, 0.5)
            * pile
            * np.exp(-np.clip(tissue.brain_sdf, 0, None) / 7)
            * tissue.brain
        )
    return signal.astype(np.float32)
