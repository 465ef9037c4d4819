"""Augmentation of one training sample: one affine map for image and mask, then intensities.

Parameters are drawn from the seed that the dataset sets for each sample.

Two things hold for every result, since they hold for every image that is served: the background is
:data:`BACKGROUND_VALUE`, and the foreground has mean 0 and SD 1. Scaling or shifting intensities
would therefore be undone, and is not offered; what stays is what bends the histogram or the picture
(gamma, histogram shift, bias field, noise, blur, low resolution).

All of it is float32 NumPy but for torch's grid_sample: its operations would wake torch's threads, which
the training step needs, for planes that fit into a core's cache. On a batch the map is not faster.
Figures: benchmarks/augmentation.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from brainmtl.data.augmentation.lesion_contrast import RandomLesionContrast
from brainmtl.data.augmentation.resampling import foreground_of, resample
from brainmtl.data.augmentation.skull import RandomSkull
from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE
from brainmtl.data.ranges import check_chance
from brainmtl.errors import ConfigError

IntensityTransform = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class AffineParameters:
    """One map; ``matrix`` (2, 3) takes output to input in grid_sample's coordinates (x, y)."""

    matrix: torch.Tensor


class RandomAffine2d:
    """Flip, rotation, scale, shear and shift, drawn together and applied in one interpolation.

    Args:
        prob: chance of a rotation, scale, shear and shift; flips have chances of their own.
        flip_left_right, flip_up_down: chance of each mirror image.
        rotate_degrees: rotation angle within +- this.
        scale: relative change of size within +- this, 0.1 for 0.9 to 1.1.
        shear: shear factor within +- this.
        stretch: width against height within a factor of 1 + this, either way, at the same area: pictures
            that were saved in a size of another aspect ratio (224x224, say).
        translate: shift within +- this share of the image size, along each axis.
    """

    def __init__(
        self,
        prob: float = 1.0,
        flip_left_right: float = 0.5,
        flip_up_down: float = 0.0,
        rotate_degrees: float = 0.0,
        scale: float = 0.0,
        shear: float = 0.0,
        translate: float = 0.0,
        stretch: float = 0.0,
    ) -> None:
        for name, value in (
            ("prob", prob),
            ("flip_left_right", flip_left_right),
            ("flip_up_down", flip_up_down),
        ):
            check_chance(f"geometric.{name}", value)
        if not 0 <= scale < 1:
            raise ConfigError(f"augmentation.geometric.scale={scale} must lie in 0..1 (without 1)")
        if not 0 <= stretch <= 1:
            raise ConfigError(f"augmentation.geometric.stretch={stretch} must lie in 0..1")
        self.prob = prob
        self.flip_left_right, self.flip_up_down = flip_left_right, flip_up_down
        self.rotate_degrees, self.scale = rotate_degrees, scale
        self.shear, self.translate = shear, translate
        self.stretch = stretch

    def draw(self, rng: np.random.Generator) -> AffineParameters | None:
        """Parameters of one map, None for the identity."""
        flip_x, flip_y, move = rng.random(3) < (self.flip_left_right, self.flip_up_down, self.prob)
        angle, zoom, shear, right, down = rng.uniform(-1, 1, size=5) * bool(move)
        angle *= math.radians(self.rotate_degrees)
        cos, sin, shear = math.cos(angle), math.sin(angle), shear * self.shear
        # Rotation, times shear, over scale, times flip; by hand, for arrays of two take longer to make.
        x = (-1 if flip_x else 1) / (1 + zoom * self.scale)
        y = (-1 if flip_y else 1) / (1 + zoom * self.scale)
        if self.stretch:
            wider = (1 + self.stretch) ** (rng.uniform(-0.5, 0.5) * bool(move))
            x, y = x / wider, y * wider
        # grid_sample's coordinates span 2 from border to border.
        matrix = np.array(
            [
                [x * cos, y * (cos * shear - sin), 2 * self.translate * right],
                [x * sin, y * (sin * shear + cos), 2 * self.translate * down],
            ]
        )
        if np.array_equal(matrix, np.eye(2, 3)):
            return None
        return AffineParameters(torch.from_numpy(matrix.astype(np.float32)))

    def apply(
        self, image: torch.Tensor, mask: torch.Tensor | None, parameters: AffineParameters | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Image (C, H, W) bilinear and mask (H, W) nearest, through the same map.

        Whatever comes in from outside is background.
        """
        if parameters is None:
            return image, mask
        planes = image.numpy()
        grid = _grid(parameters.matrix, *planes.shape[-2:])
        given = None if mask is None else mask.numpy()
        moved, found = resample(planes, foreground_of(planes), given, partial(_sample, grid))
        return torch.from_numpy(moved), None if found is None else torch.from_numpy(found)


class Augmentation:
    """Geometric map and intensity transforms of a sample dict, normalised again afterwards.

    Args:
        geometric: a :class:`RandomAffine2d`, or None.
        intensity: by name, random transforms of :mod:`brainmtl.data.augmentation.intensity`, or others of their form
            (MONAI's too); None leaves a name out. Called with an array float32 (C, H, W), drawing from what
            ``set_random_state`` gives, and returning their argument itself only as it was; applied
            in order. They see the foreground on a background of 0, the foreground's mean, and
            change the foreground only.
        lesion: a :class:`brainmtl.data.augmentation.lesion_contrast.RandomLesionContrast`, or None; first of all,
            for its units are those of a normalised brain.
        skull: a :class:`brainmtl.data.augmentation.skull.RandomSkull`, or None; before the map, for it changes
            what the frame holds.

    :meth:`set_random_state` before each call makes the result a function of sample and seed.
    """

    def __init__(
        self,
        geometric: RandomAffine2d | None = None,
        intensity: Mapping[str, IntensityTransform | None] | None = None,
        skull: RandomSkull | None = None,
        lesion: RandomLesionContrast | None = None,
    ) -> None:
        self.lesion = lesion
        self.skull = skull
        self.geometric = geometric
        self.intensity = {name: one for name, one in (intensity or {}).items() if one is not None}
        self.applied: list[str] = []  # names of what the last sample got
        self._rng = np.random.default_rng(0)

    def set_random_state(self, seed: int) -> Augmentation:
        """Seed the geometric map and every intensity transform; returns itself, as MONAI does."""
        self._rng = np.random.default_rng(seed)
        # One stream for all of them, apart from the map's: seeding each would cost a millisecond.
        state = np.random.RandomState(np.random.PCG64(np.random.SeedSequence([seed, 1])))
        for transform in self.intensity.values():
            if hasattr(transform, "set_random_state"):
                transform.set_random_state(state=state)
        return self

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """A new sample dict with augmented ``image`` and ``mask``; the given one stays as it is."""
        image, mask = sample["image"], sample["mask"]
        self.applied = []
        if self.lesion is not None and (contrast := self.lesion.draw(self._rng, mask)):
            image = self.lesion.apply(image, mask, contrast)
            self.applied.append("lesion")
        if self.skull is not None and (rim := self.skull.draw(self._rng, sample["source"])):
            image, mask = self.skull.apply(image, mask, rim)
            self.applied += ["skull", "face"] if rim.face else ["skull"]
        if self.geometric is not None and (moved := self.geometric.draw(self._rng)):
            image, mask = self.geometric.apply(image, mask, moved)
            self.applied.append("geometric")
        planes = image.numpy()
        foreground = foreground_of(planes)
        given = changed = planes * foreground
        for name, transform in self.intensity.items():
            before, changed = changed, _within(foreground, transform, changed)
            if changed is not before:
                self.applied.append(name)
        if image is not sample["image"] or changed is not given:
            image = torch.from_numpy(standardize(changed, foreground))
        return {**sample, "image": image, "mask": mask}


def _within(foreground: np.ndarray, transform: IntensityTransform, image: np.ndarray) -> np.ndarray:
    """What ``transform`` makes of the foreground; the image itself where chance leaves it out."""
    changed = np.asarray(transform(image), dtype=np.float32)
    return changed if changed is image else changed * foreground


def standardize(image: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Image (C, H, W) float32, 0 outside ``foreground`` (H, W; 0 or 1, float32), as images are served:
    mean 0 and SD 1 over the foreground, per channel, and :data:`BACKGROUND_VALUE` outside.

    A foreground that is empty or constant, as after a shift that leaves nothing, keeps its values.
    """
    # Sums and products over whole planes are faster by far than picking out the foreground.
    count = max(foreground.sum(), np.float32(1))
    values = image - image.sum(axis=(1, 2), keepdims=True) / count
    values *= foreground
    deviation = np.sqrt(np.square(values).sum(axis=(1, 2), keepdims=True) / count)
    if (deviation > 1e-6).all():
        values *= 1 / deviation
    else:
        values = image.copy()
    # A value that lands on the background's own would be taken for it from here on.
    if (same := values == BACKGROUND_VALUE).any():
        values[same] += np.float32(1e-3)
    values += (1 - foreground) * np.float32(BACKGROUND_VALUE)
    return values


def _grid(matrix: torch.Tensor, height: int, width: int) -> np.ndarray:
    """What F.affine_grid gives for one image, (1, H, W, 2) float32, without a product of matrices."""
    columns = (np.arange(width, dtype=np.float32) * 2 + 1) / width - 1
    rows = (np.arange(height, dtype=np.float32) * 2 + 1) / height - 1
    linear, shift = matrix.numpy()[:, :2], matrix.numpy()[:, 2]
    # Pairs (x, y) as complex numbers: one sum over contiguous memory instead of two with gaps.
    along = np.multiply.outer(columns, linear[:, 0]).view(np.complex64)  # (W, 1)
    down = (np.multiply.outer(rows, linear[:, 1]) + shift).view(np.complex64)  # (H, 1)
    return (down + along.T).view(np.float32).reshape(1, height, width, 2)


def _sample(grid: np.ndarray, planes: np.ndarray, mode: str) -> np.ndarray:
    """Planes (C, H, W) at the points of ``grid`` (1, H, W, 2); 0 outside."""
    given, points = torch.from_numpy(planes)[None], torch.from_numpy(grid)
    return F.grid_sample(given, points, mode=mode, align_corners=False)[0].numpy()
