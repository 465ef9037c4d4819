"""A face in front of drawn skulls: a network that never saw any takes the fat behind eyes for tumour.

Skull stripping takes the face away too. As with the skull, what is drawn is what a slice shows of
it, over a wide range: two orbits full of fat, each with a globe that is dark in FLAIR, soft tissue
between them and under the nose, and skin round all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from brainmtl.data.preprocessing.hull import convex_hull


@dataclass(frozen=True)
class FaceParameters:
    """One face; pairs are of the left and the right eye of the image.

    Attributes:
        apart: from the brain's middle to an orbit's, in units of the brain's width.
        radius: of an orbit from its middle to its side, in units of the brain's width.
        globe: the globe's radius, in units of the orbit's.
        fat: the orbits' fat, in units of the scalp's signal.
        globe_signal, tissue_signal: of the globes, and of what lies between the orbits, in units of
            the brain's range (:class:`~brainmtl.data.augmentation.skull.SkullParameters`).
        nose: how far it stands out from the orbits, in units of their radius.
        ahead: of an orbit's middle in front of the brain beside it, in units of its radius.
        depth: of an orbit from front to back, in units of its width.
    """

    apart: float
    radius: float
    globe: float
    fat: float
    globe_signal: float
    tissue_signal: float
    nose: float
    ahead: tuple[float, float]
    depth: tuple[float, float]


class Orbit(NamedTuple):
    """One of them, an ellipse in pixels of an image; it may lie outside."""

    row: float
    column: float
    radius: float
    depth: float

    def covers(self, shape: tuple[int, ...], skin: float = 0.0, step: int = 1) -> np.ndarray:
        """bool (H, W) on every ``step``-th pixel, with ``skin`` pixels round it."""
        rows, columns = np.ogrid[: shape[0] : step, : shape[1] : step]
        squared = ((rows - self.row) / self.depth) ** 2 + (columns - self.column) ** 2
        return squared < (self.radius + skin) ** 2


def draw_face(rng: np.random.Generator) -> FaceParameters:
    """Parameters of one face."""
    apart, radius = rng.uniform(0.18, 0.30), rng.uniform(0.09, 0.13)
    globe, fat = rng.uniform(0.5, 0.75), rng.uniform(0.8, 1.1)
    globe_signal, tissue_signal = rng.uniform(-0.2, 0.4), rng.uniform(-0.1, 0.7)
    nose, ahead, depth = rng.uniform(0.0, 1.0), rng.uniform(0.5, 1.0, 2), rng.uniform(1.0, 1.4, 2)
    return FaceParameters(
        *(apart, radius, globe, fat, globe_signal, tissue_signal, nose),
        ahead=(float(ahead[0]), float(ahead[1])),
        depth=(float(depth[0]), float(depth[1])),
    )


class Face(NamedTuple):
    """A face in its place in front of a brain, in pixels of the brain's image."""

    parameters: FaceParameters
    orbits: tuple[Orbit, Orbit]
    skin: float  # pixels round the orbits

    @property
    def tip(self) -> tuple[float, float]:
        """Row and column of its nose's: nothing lies further in front."""
        front = min(eye.row - (eye.radius + self.skin) * eye.depth for eye in self.orbits)
        middle = (self.orbits[0].column + self.orbits[1].column) / 2
        return front - self.parameters.nose * self.orbits[0].radius, middle

    def depth_below_skin(self, head: np.ndarray, step: int) -> np.ndarray:
        """Pixels from the outline of a head with this face, below 0 outside: float32 (h, w).

        Args:
            head: bool (h, w) without the face, on every ``step``-th pixel.
            step: see ``head``.
        """
        whole = head.copy()
        for eye in self.orbits:
            whole |= eye.covers((head.shape[0] * step, head.shape[1] * step), self.skin, step)
        row, column = (round(place / step) for place in self.tip)
        whole[max(0, row), column] = True
        whole = convex_hull(whole)
        below = ndimage.distance_transform_edt(whole) - ndimage.distance_transform_edt(~whole)
        return ndimage.gaussian_filter((below * step).astype(np.float32), 1.0)

    def put_orbits(self, signal: np.ndarray, fat_signal: float, grain: np.ndarray) -> None:
        """Draws them over ``signal``, float (H, W) in units of the brain's range, in place.

        ``fat_signal`` is the scalp's; the noise ``grain`` (H, W) grows with the fat's brightness.
        """
        fat = self.parameters.fat * fat_signal
        for eye in self.orbits:
            radius = self.parameters.globe * eye.radius
            globe = Orbit(eye.row - 0.3 * eye.radius, eye.column, radius, depth=1.0)
            inside = eye.covers(signal.shape)
            signal[inside] = fat + 2 * fat * grain[inside]
            signal[globe.covers(signal.shape)] = self.parameters.globe_signal


def place_face(parameters: FaceParameters, brain: np.ndarray, skin: float) -> Face:
    """The face of a brain, bool (H, W) with its front at the top and not empty."""
    columns, rows = (np.flatnonzero(brain.any(axis=axis)) for axis in (0, 1))
    width = float(np.ptp(columns)) + 1
    radius = parameters.radius * width
    found = []
    for side, ahead, depth in zip((-1, 1), parameters.ahead, parameters.depth, strict=True):
        column = float(columns.mean()) + side * parameters.apart * width
        beside = brain[:, int(column)]
        top = int(np.argmax(beside)) if beside.any() else int(rows[0])
        found.append(Orbit(top - radius * ahead, column, radius, depth))
    return Face(parameters, (found[0], found[1]), skin)
