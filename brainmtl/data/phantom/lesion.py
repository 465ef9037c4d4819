"""Glioma-like lesions: place, core, oedema that creeps along white matter, mass effect, contrast."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from brainmtl.data.phantom.anatomy import (
    COARSE_AXES,
    COARSE_STEP,
    Anatomy,
    Tissue,
    coarse_map,
)
from brainmtl.data.phantom.atlas import Atlas
from brainmtl.data.phantom.fields import (
    Axes,
    gaussian_field,
    grid_offsets,
    resample,
    sigmoid,
)
from brainmtl.data.phantom.sequences import MrSequence
from brainmtl.data.phantom.variety import TEXTBOOK, Variety, draw

NECROSIS, OEDEMA, ENHANCING = (
    1,
    2,
    4,
)  # BraTS labels; 1 also stands for non-enhancing core
FAR = np.float32(1e3)
CENTRE_HEIGHTS = (54.0, 134.0)  # mm in the atlas grid: temporal pole to the top of the hemispheres


@dataclass
class Lesion:
    """One lesion: ``centre`` and lengths in mm; level sets on the box ``axes`` of the coarse grid.

    ``core_level`` is negative inside the core; ``arrival`` is the effective distance (mm) that
    oedema has to travel from the core, compared with ``reach``.
    """

    centre: np.ndarray
    radius: float
    reach: float
    kind: str  # "necrotic", "infiltrative" or "dark"
    border: float  # factor on the width of the borders of core and oedema
    cortex_spared: float  # least share of white matter where oedema is
    axes: Axes
    core_level: np.ndarray
    arrival: np.ndarray


def draw_centre(atlas: Atlas, anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """A point (mm) of deep or subcortical white matter, evenly spread over the supratentorial brain."""
    white = coarse_map(atlas.wm, anatomy)
    x, y, z = np.nonzero((white > 0.6) & (anatomy.brain_sdf > 9))
    points = np.stack([COARSE_AXES[0][x], COARSE_AXES[1][y], COARSE_AXES[2][z]], 1)
    points = points[(points[:, 2] > CENTRE_HEIGHTS[0]) & (points[:, 2] < CENTRE_HEIGHTS[1])]
    # Uniform in height first: most white matter lies at the level of the ventricles, and a lesion
    # that is always there would let the slice number tell the answer.
    height = rng.uniform(*CENTRE_HEIGHTS)
    near = points[np.abs(points[:, 2] - height) < 6]
    points = near if len(near) else points
    return points[rng.integers(len(points))].astype(np.float32)


def push_tissue(anatomy: Anatomy, centre: np.ndarray, radius: float, strength: float) -> None:
    """Mass effect in place: tissue around ``centre`` is displaced outwards, ventricles are squeezed."""
    offsets = grid_offsets(COARSE_AXES, centre)
    distance = np.sqrt(sum(o**2 for o in offsets)) + 1e-3
    shift = strength * radius * np.exp(-(((distance - 0.5 * radius) / (1.2 * radius)) ** 2))
    shift *= np.clip(distance / radius, 0, 1) / distance
    # The skull does not give way: the push fades towards the surface.
    shift *= np.clip(anatomy.brain_sdf / 8, 0, 1)
    for component, offset in zip(anatomy.source, offsets, strict=True):
        component -= shift * offset


def geodesic_arrival(level: np.ndarray, cost: np.ndarray, step: float, limit: float) -> np.ndarray:
    """Cheapest path length from {level < 0} through ``cost`` (>= 1 per mm), exact up to ``limit``.

    Label correction over the 26 neighbours on a grid of ``step`` mm; ``level`` is a distance-like
    function, used for sub-voxel starts next to the border. Returns an array like ``level``.
    """
    arrival = np.where(level < step, np.clip(level, 0, None) * cost, FAR).astype(np.float32)
    moves = [m for m in product((-1, 0, 1), repeat=3) if m > (0, 0, 0)]
    for _ in range(int(np.ceil(limit / step)) + 2):
        before = arrival.copy()
        for move in moves:
            ahead = tuple(slice(max(m, 0), min(m, 0) or None) for m in move)
            behind = tuple(slice(max(-m, 0), min(-m, 0) or None) for m in move)
            length = step * float(np.sqrt(np.dot(move, move)))
            toll = 0.5 * length * (cost[ahead] + cost[behind])
            np.minimum(arrival[ahead], arrival[behind] + toll, out=arrival[ahead])
            np.minimum(arrival[behind], arrival[ahead] + toll, out=arrival[behind])
        if np.array_equal(before, arrival):
            break
    return arrival


def _box(centre: np.ndarray, half: float) -> tuple[slice, ...]:
    slices = []
    for axis, c in zip(COARSE_AXES, centre, strict=True):
        inside = np.nonzero(np.abs(axis - c) <= half)[0]
        slices.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return tuple(slices)


def grow_lesion(
    atlas: Atlas, anatomy: Anatomy, rng: np.random.Generator, variety: Variety = TEXTBOOK
) -> Lesion:
    """Draw a lesion and push the tissue of ``anatomy`` (changed in place) aside for it."""
    centre = draw_centre(atlas, anatomy, rng)
    kind = str(rng.choice(["necrotic", "infiltrative", "dark"], p=[0.44, 0.28, 0.28]))
    radius = draw(rng, variety.radius)
    spread = variety.reach_infiltrative if kind == "infiltrative" else variety.reach
    reach = radius * draw(rng, spread)
    push_tissue(anatomy, centre, radius, float(rng.uniform(0.25, 0.55)))
    box = _box(centre, radius + 1.1 * reach + 14)
    axes = tuple(axis[s] for axis, s in zip(COARSE_AXES, box, strict=True))
    stretch = rng.uniform(*variety.stretch, 3)
    rough = radius * draw(rng, variety.roughness)
    distance = np.sqrt(
        sum((o * s) ** 2 for o, s in zip(grid_offsets(axes, centre), stretch, strict=True))
    )
    level = (
        distance
        - radius
        + rough * (0.20 * gaussian_field(rng, axes, 8.0) + 0.10 * gaussian_field(rng, axes, 4.0))
    )
    local = Anatomy(anatomy.source[(slice(None), *box)], anatomy.brain_sdf[box])
    grey, white = coarse_map(atlas.gm, local), coarse_map(atlas.wm, local)
    fluid = np.clip(1 - grey - white, 0, 1)
    cost = (
        1
        + draw(rng, variety.cortex_cost) * np.clip(grey - 0.3, 0, 1)
        + 12 * np.clip(fluid - 0.3, 0, 1)
        + 20 * (local.brain_sdf < 0)
    )
    cost = (cost * np.exp(0.35 * gaussian_field(rng, axes, 7.0))).astype(np.float32)
    arrival = geodesic_arrival(level.astype(np.float32), cost, COARSE_STEP, 1.5 * reach)
    border, spared = draw(rng, variety.border), draw(rng, variety.cortex_spared)
    level = level.astype(np.float32)
    return Lesion(centre, radius, reach, kind, border, spared, axes, level, arrival)


def _windows(lesion: Lesion, axes: Axes) -> tuple[slice, ...] | None:
    """The part of the grid ``axes`` that the lesion's box covers; None where it misses the grid."""
    windows = []
    for axis, box in zip(axes, lesion.axes, strict=True):
        inside = np.nonzero((axis >= box[0]) & (axis <= box[-1]))[0]
        if not len(inside):
            return None
        windows.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return tuple(windows)


@dataclass
class Compartments:
    """Soft memberships in [0, 1] of one lesion on its window of the fine grid."""

    core: np.ndarray
    oedema: np.ndarray
    necrosis: np.ndarray  # part of the core
    fade: np.ndarray  # 0 at the core, 1 at the oedema's front

    def labels(self, enhancing: bool) -> np.ndarray:
        """BraTS labels (uint8)."""
        core = self.core > 0.5
        labels = np.where(self.oedema > 0.5, OEDEMA, 0)
        labels[core] = (
            np.where(self.necrosis[core] > 0.5, NECROSIS, ENHANCING) if enhancing else NECROSIS
        )
        return labels.astype(np.uint8)


def compartments(
    lesion: Lesion, tissue: Tissue, axes: Axes, rng: np.random.Generator
) -> Compartments:
    """Core, necrosis and oedema on the fine grid ``axes`` (the window that ``tissue`` is cut to)."""
    level = resample(lesion.core_level, lesion.axes, axes) + 0.9 * gaussian_field(rng, axes, 2.5)
    limit = np.float32(lesion.reach + 8)
    arrival = resample(np.minimum(lesion.arrival, limit), lesion.axes, axes)
    arrival += 0.10 * lesion.reach * gaussian_field(rng, axes, 3.0)
    solid = sigmoid((0.75 - tissue.csf) / 0.08) * tissue.brain
    core = sigmoid(-level / (0.7 * lesion.border)) * np.where(level < -2, tissue.brain, solid)
    # vasogenic oedema spares the cortex
    spared = sigmoid((tissue.wm - lesion.cortex_spared) / 0.06)
    front = sigmoid((lesion.reach - arrival) / (0.9 * lesion.border))
    oedema = front * spared * solid * (1 - core)
    rim = rng.uniform(2.5, 5.5)
    necrosis = core * sigmoid((-level - rim + 0.8 * gaussian_field(rng, axes, 3.0)) / 0.6)
    if lesion.kind != "necrotic":
        necrosis = np.zeros_like(core)
    fade = np.clip(arrival / (lesion.reach + 1), 0, 1)
    return Compartments(core, oedema, necrosis, fade)


def _contrast(
    kind: str, sequence: MrSequence, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Intensity of oedema, core and necrosis; only necrotic lesions have the last."""
    oedema, core, necrosis = sequence.lesions[kind]
    swelling, solid = rng.uniform(*oedema), rng.uniform(*core)
    return swelling, solid, rng.uniform(*necrosis) if kind == "necrotic" else 0.0


def paint_lesion(
    signal: np.ndarray,
    lesion: Lesion,
    tissue: Tissue,
    axes: Axes,
    sequence: MrSequence,
    rng: np.random.Generator,
) -> np.ndarray:
    """Paint the lesion into ``signal`` (changed in place); returns BraTS labels, uint8, same shape."""
    labels = np.zeros(signal.shape, np.uint8)
    window = _windows(lesion, axes)
    if window is None:
        return labels
    near = tuple(axis[w] for axis, w in zip(axes, window, strict=True))
    local = Tissue(**{name: value[window] for name, value in vars(tissue).items()})
    parts = compartments(lesion, local, near, rng)
    swelling, core, cavity = _contrast(lesion.kind, sequence, rng)
    texture = gaussian_field(rng, near, 2.2)
    patchy = gaussian_field(rng, near, 5.0)
    view = signal[window]
    wet = 0.85 * parts.oedema
    view += wet * (swelling * (1 - 0.16 * parts.fade + 0.06 * patchy + 0.02 * texture) - view)
    tumour = parts.core * (1 - parts.necrosis)
    view += 0.95 * tumour * (core * (1 + 0.10 * texture + 0.12 * patchy) - view)
    view += parts.necrosis * (cavity * (1 + 0.15 * patchy) - view)
    labels[window] = parts.labels(enhancing=lesion.kind == "necrotic")
    return labels
