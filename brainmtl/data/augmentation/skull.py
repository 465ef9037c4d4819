"""Skull and scalp round skull-stripped slices: brains of one cohort look like heads of another.

BraTS is published without skull; photographs and most clinical slices show it. A network that sees
most of its tumours in stripped brains learns little about heads, and tells the cohorts apart by
their rim alone. What is drawn is not anatomy but its layers seen from inside: fluid and dura, dark
bone with a band of marrow, bright fat, and at times a face in front, with thickness and brightness
over a wide range (domain randomisation, Tobin et al. 2017; for brain MRI: SynthSeg, Billot et al. 2023).
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from scipy.special import expit

from brainmtl.data.augmentation.face import Face, FaceParameters, draw_face, place_face
from brainmtl.data.augmentation.resampling import enlarged, foreground_of, resample, uneven
from brainmtl.data.ranges import Range, check_chance, check_range
from brainmtl.data.selection import name_list

STEP = 4  # pixels per point of the grid that rims are computed on: they are smooth
CLOSING = 7.0  # pixels: SD of the blur that closes fissures, which the skull does not follow


@dataclass(frozen=True)
class SkullParameters:
    """One rim. Thicknesses in pixels of the 256x256 frame; signals in units of the range from the
    foreground's 1st to its 90th percentile, 0 being the 1st; ``seed`` of what is uneven in it; the
    face in front of it, if any."""

    dura: float
    bone: float
    scalp: float
    bone_signal: float
    marrow_signal: float
    fat_signal: float
    seed: int
    face: FaceParameters | None = None

    @property
    def thickness(self) -> float:
        """Of all layers together."""
        return self.dura + self.bone + self.scalp


class RandomSkull:
    """Puts a skull and a scalp round the foreground, and shrinks the image so that they fit its frame.

    That is what preprocessing makes of a head that was never stripped: its frame is the scalp's.

    Args:
        prob: chance, for images of the ``sources`` that are skull-stripped.
        sources: patterns of source names (``fnmatch``); images of all others stay as they are.
        dura, bone, scalp: ranges of the layers' thickness, in pixels of 256 (about 0.7 mm each).
        bone_signal, marrow_signal, fat_signal: ranges of their brightness, see
            :class:`SkullParameters`. Without fat suppression a scalp is up to four times as bright as
            the brain, which takes most of the range of the z-score and leaves tissue and tumour faint.
        face: chance that a head has one, in front of the brain (at the top of the image).

    Raises:
        ConfigError: a chance outside 0..1, or a range that is negative or not ascending.
    """

    def __init__(
        self,
        prob: float = 0.5,
        sources: str | Sequence[str] = ("*brats*",),
        dura: Range = (2.0, 6.0),
        bone: Range = (6.0, 12.0),
        scalp: Range = (4.0, 12.0),
        bone_signal: Range = (-0.15, 0.15),
        marrow_signal: Range = (0.0, 0.6),
        fat_signal: Range = (0.3, 4.0),
        face: float = 0.0,
    ) -> None:
        check_chance("skull.prob", prob)
        check_chance("skull.face", face)
        layers = {"dura": dura, "bone": bone, "scalp": scalp}
        signals = {
            "bone_signal": bone_signal,
            "marrow_signal": marrow_signal,
            "fat_signal": fat_signal,
        }
        for name, span in (layers | signals).items():
            check_range(f"skull.{name}", span, above_zero="pixels" if name in layers else None)
        self.prob, self.face, self.sources = prob, face, name_list(sources)
        self.ranges = [*layers.values(), *signals.values()]

    def draw(self, rng: np.random.Generator, source: str) -> SkullParameters | None:
        """Parameters of one rim; None where chance or the source says no."""
        stripped = any(
            fnmatch.fnmatchcase(source.lower(), pattern.lower()) for pattern in self.sources
        )
        if not stripped or rng.random() >= self.prob:
            return None
        drawn = [float(rng.uniform(*span)) for span in self.ranges]
        seed = int(rng.integers(2**31))
        # Of its own stream: with a face or without, all else of a sample stays the same.
        own = np.random.default_rng(seed)
        face = draw_face(own) if own.random() < self.face else None
        return SkullParameters(*drawn, seed=seed, face=face)

    def apply(
        self,
        image: torch.Tensor,
        mask: torch.Tensor | None,
        parameters: SkullParameters | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Image (C, H, W) float32 and mask (H, W) {0, 1} with their rim, of the same shapes.

        The foreground keeps its values, so that it is no longer normalised; an image without any
        foreground stays as it is.
        """
        planes = image.numpy()
        foreground = foreground_of(planes)
        if parameters is None or not foreground.any():
            return image, mask
        pads = _room(foreground > 0, parameters)
        inside = np.pad(foreground > 0, pads)
        head, rims = _rims(planes[:, foreground > 0], inside, parameters)
        canvas = np.where(inside, np.pad(planes, ((0, 0), *pads)), rims)
        given = None if mask is None else np.pad(mask.numpy(), pads)
        framed, found = resample(canvas, head, given, partial(_to_frame, planes.shape))
        return torch.from_numpy(framed), None if found is None else torch.from_numpy(found)


def _room(foreground: np.ndarray, parameters: SkullParameters) -> tuple[tuple[int, int], ...]:
    """Pixels to add before and after the rows and the columns, in whole :data:`STEP`.

    A face needs more in front; half of that on either side keeps the shape, as a frame does.
    """
    pad = STEP * math.ceil((parameters.thickness + 2) / STEP)
    front = pad
    if (face := _face(foreground, parameters)) is not None:
        front = max(front, 2 - face.tip[0])
    extra = 2 * STEP * math.ceil((front - pad) / (2 * STEP))
    side = pad + extra // 2
    return (pad + extra, pad), (side, side)


def _rims(
    values: np.ndarray, inside: np.ndarray, parameters: SkullParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Where the head is, bool (H, W), and the rim's intensities (C, H, W) around it."""
    generator = torch.Generator().manual_seed(parameters.seed)
    distance = _distance(inside, generator)
    layers = _layers(distance, parameters, generator)
    below = parameters.thickness - distance
    if (face := _face(inside, parameters)) is not None:
        below = face.depth_below_skin(below > 0, STEP)
        layers = _with_face(layers, distance, below, parameters, generator)
    both = enlarged(torch.from_numpy(np.stack([below, layers])), inside.shape)
    # A rim as sharp as its grid would be too smooth to be tissue.
    grain = torch.randn(inside.shape, generator=generator).numpy() * np.float32(0.05)
    signal = both[1] + grain
    if face is not None:
        face.put_orbits(signal, parameters.fat_signal, grain)
    low, high = np.quantile(values[:, :: max(1, values.shape[1] // 4096)], [0.01, 0.9], axis=1)
    span, level = ((high - low)[:, None, None], low[:, None, None])
    return inside | (both[0] > 0), (level + span * signal).astype(np.float32)


def _face(brain: np.ndarray, parameters: SkullParameters) -> Face | None:
    found = parameters.face
    return None if found is None else place_face(found, brain, parameters.scalp / 2)


def _distance(inside: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """Pixels from the brain's closed outline, uneven by about one, on the grid of :data:`STEP`."""
    grid = inside[::STEP, ::STEP]
    closed = ndimage.gaussian_filter(grid.astype(np.float32), CLOSING / STEP, truncate=3) > 0.34
    outside = ndimage.distance_transform_edt(~(closed | grid)).astype(np.float32) * STEP
    outside = ndimage.gaussian_filter(outside, 0.5)
    return outside + 1.2 * uneven(outside.shape, 8, generator)


def _layers(
    distance: np.ndarray, parameters: SkullParameters, generator: torch.Generator
) -> np.ndarray:
    """Signal of the rim at each distance, in units of the brain's range."""
    p, bone_end = parameters, parameters.dura + parameters.bone
    fluid = _band(distance, 0.0, p.dura)
    marrow = _band(distance, p.dura + 0.3 * p.bone, p.dura + 0.75 * p.bone)
    fat = _band(distance, bone_end, p.thickness)
    ripple = 1 + 0.25 * uneven(distance.shape, 6, generator)
    bright = p.marrow_signal * marrow + (p.fat_signal - p.bone_signal) * fat
    return (p.bone_signal + 0.1 * fluid + bright * ripple).astype(np.float32)


def _with_face(
    layers: np.ndarray,
    distance: np.ndarray,
    below: np.ndarray,
    parameters: SkullParameters,
    generator: torch.Generator,
) -> np.ndarray:
    """The rim's signal with what lies outside of the bone in front: soft tissue, and skin over it."""
    p, bone_end = parameters, parameters.dura + parameters.bone
    ripple = 1 + 0.4 * uneven(distance.shape, 12, generator)
    tissue = expit(distance - bone_end) * expit(below - p.scalp)
    skin = expit(distance - p.thickness) * expit(p.scalp - below)
    layers = layers + tissue * (p.face.tissue_signal * ripple - layers)
    return (layers + skin * (p.fat_signal - layers)).astype(np.float32)


def _band(distance: np.ndarray, low: float, high: float) -> np.ndarray:
    """1 between ``low`` and ``high``, 0 elsewhere, with edges about a pixel wide."""
    return expit(distance - low) * expit(high - distance)


def _to_frame(shape: tuple[int, ...], planes: np.ndarray, mode: str) -> np.ndarray:
    return F.interpolate(torch.from_numpy(planes)[None], size=shape[-2:], mode=mode)[0].numpy()
