"""Augmentation of one training sample: one affine map for image and mask, then intensities.

Parameters are drawn first, from the seed that the dataset sets for each sample, and applied after.

Two things hold for every result, since they hold for every image that is served: the background is
:data:`BACKGROUND_VALUE`, and the foreground has mean 0 and SD 1. Scaling or shifting intensities
would therefore be undone, and is not offered; what stays is what bends the histogram or the picture
(gamma, histogram shift, bias field, noise, blur, low resolution).

The affine map is our own, on torch's grid_sample: image and mask with flips take less than half the
time of MONAI's RandAffined without flips. The intensity transforms are MONAI's. On a batch the map is
not faster, and would run in the training process: samples are augmented in the workers. Figures:
benchmarks/augmentation.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from brainmtl.data.preprocess import BACKGROUND_VALUE
from brainmtl.errors import ConfigError

IntensityTransform = Callable[[torch.Tensor], torch.Tensor]


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
    ) -> None:
        for name, value in (
            ("prob", prob),
            ("flip_left_right", flip_left_right),
            ("flip_up_down", flip_up_down),
        ):
            if not 0 <= value <= 1:
                raise ConfigError(f"augmentation.geometric.{name}={value} must lie in 0..1")
        if not 0 <= scale < 1:
            raise ConfigError(f"augmentation.geometric.scale={scale} must lie in 0..1 (without 1)")
        self.prob = prob
        self.flip_left_right, self.flip_up_down = flip_left_right, flip_up_down
        self.rotate_degrees, self.scale = rotate_degrees, scale
        self.shear, self.translate = shear, translate

    def draw(self, rng: np.random.Generator) -> AffineParameters | None:
        """Parameters of one map, None for the identity."""
        flip_x, flip_y, move = rng.random(3) < (self.flip_left_right, self.flip_up_down, self.prob)
        angle, zoom, shear, right, down = rng.uniform(-1, 1, size=5) * bool(move)
        angle *= math.radians(self.rotate_degrees)
        cos, sin = math.cos(angle), math.sin(angle)
        linear = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, shear * self.shear], [0, 1]])
        linear = linear / (1 + zoom * self.scale) @ np.diag(np.where([flip_x, flip_y], -1, 1))
        # grid_sample's coordinates span 2 from border to border.
        shift = 2 * self.translate * np.array([right, down])
        if np.array_equal(linear, np.eye(2)) and not shift.any():
            return None
        matrix = np.concatenate([linear, shift[:, None]], axis=1)
        return AffineParameters(torch.from_numpy(matrix.astype(np.float32)))

    def apply(
        self, image: torch.Tensor, mask: torch.Tensor | None, parameters: AffineParameters | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Image (C, H, W) bilinear and mask (H, W) nearest, through the same map.

        Whatever comes in from outside is background.
        """
        if parameters is None:
            return image, mask
        grid = _grid(parameters.matrix, *image.shape[-2:])
        # grid_sample pads with 0: background has to be 0 while it works.
        moved = _sample(image - BACKGROUND_VALUE, grid, "bilinear").add_(BACKGROUND_VALUE)
        # Between head and background, bilinear values belong to neither; nearest decides.
        foreground = _foreground(image)
        planes = [foreground] if mask is None else [foreground, mask]
        nearest = _sample(torch.stack([plane.float() for plane in planes]), grid, "nearest")
        moved.masked_fill_(nearest[0] == 0, BACKGROUND_VALUE)
        return moved, None if mask is None else nearest[1].to(mask.dtype)


class Augmentation:
    """Geometric map and intensity transforms of a sample dict, normalised again afterwards.

    Args:
        geometric: a :class:`RandomAffine2d`, or None.
        intensity: MONAI's random array transforms (or others of their form: called with an image
            (C, H, W), drawing from what ``set_random_state`` gives, and returning their argument
            itself only as it was), applied in order. They see the foreground on a background of 0,
            the foreground's mean, and change the foreground only.

    :meth:`set_random_state` before each call makes the result a function of sample and seed.
    """

    def __init__(
        self,
        geometric: RandomAffine2d | None = None,
        intensity: Sequence[IntensityTransform] | None = None,
    ) -> None:
        self.geometric = geometric
        self.intensity = list(intensity or ())
        self._rng = np.random.default_rng(0)

    def set_random_state(self, seed: int) -> Augmentation:
        """Seed the geometric map and every intensity transform; returns itself, as MONAI does."""
        self._rng = np.random.default_rng(seed)
        # One stream for all of them, apart from the map's: seeding each would cost a millisecond.
        state = np.random.RandomState(np.random.PCG64(np.random.SeedSequence([seed, 1])))
        for transform in self.intensity:
            if hasattr(transform, "set_random_state"):
                transform.set_random_state(state=state)
        return self

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """A new sample dict with augmented ``image`` and ``mask``; the given one stays as it is."""
        image, mask = sample["image"], sample["mask"]
        if self.geometric is not None:
            image, mask = self.geometric.apply(image, mask, self.geometric.draw(self._rng))
        if self.intensity:
            with _plain_tensors():
                image = self._change_intensities(image)
        if image is not sample["image"]:
            image = renormalize(image)
        return {**sample, "image": image, "mask": mask}

    def _change_intensities(self, image: torch.Tensor) -> torch.Tensor:
        background = ~_foreground(image)
        changed = image.masked_fill(background, 0)
        for transform in self.intensity:
            given = changed
            changed = torch.as_tensor(transform(given))
            if changed is not given:  # most are left out by chance
                changed = changed.masked_fill(background, 0)
        # A value that lands on the background's own would be taken for it from here on.
        changed = changed.masked_fill(changed == BACKGROUND_VALUE, BACKGROUND_VALUE + 1e-3)
        return changed.masked_fill_(background, BACKGROUND_VALUE)


def renormalize(image: torch.Tensor) -> torch.Tensor:
    """Image (C, H, W) with mean 0 and SD 1 over its foreground, per channel.

    A foreground that is empty or constant, as after a shift that leaves nothing, stays as it is.
    """
    foreground = _foreground(image)
    count = int(foreground.sum())
    if count == 0:
        return image
    # Sums over whole planes are faster by far than picking out the foreground.
    background = ~foreground
    values = image.masked_fill(background, 0)
    mean = values.sum(dim=(1, 2), keepdim=True) / count
    values = values.sub_(mean).masked_fill_(background, 0)
    deviation = (values.square().sum(dim=(1, 2), keepdim=True) / count).sqrt()
    if not bool((deviation > 1e-6).all()):
        return image
    return values.div_(deviation).masked_fill_(background, BACKGROUND_VALUE)


@contextmanager
def _plain_tensors() -> Iterator[None]:
    """MONAI's transforms without its tensors with metadata, which would cost half as much again."""
    from monai.data import get_track_meta, set_track_meta

    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)


def _foreground(image: torch.Tensor) -> torch.Tensor:
    """bool (H, W) of an image (C, H, W): the background is constant over all channels."""
    return (image != BACKGROUND_VALUE).any(dim=0)


def _grid(matrix: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """What F.affine_grid gives for one image, (1, H, W, 2), from two sums instead of a product."""
    columns = (torch.arange(width) * 2 + 1) / width - 1
    rows = (torch.arange(height) * 2 + 1) / height - 1
    (a, b, right), (c, d, down) = matrix.tolist()
    grid = torch.empty(1, height, width, 2)
    torch.add((b * rows + right)[:, None], a * columns, out=grid[0, :, :, 0])
    torch.add((d * rows + down)[:, None], c * columns, out=grid[0, :, :, 1])
    return grid


def _sample(planes: torch.Tensor, grid: torch.Tensor, mode: str) -> torch.Tensor:
    """Planes (C, H, W) at the points of ``grid`` (1, H, W, 2); 0 outside."""
    return F.grid_sample(planes[None], grid, mode=mode, align_corners=False)[0]
