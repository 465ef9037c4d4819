"""Tumours of other contrast than the training cohort's: fainter, and with a core that is not bright.

A network that sees bright oedema only learns to find what is bright. In real FLAIR images the core of a
tumour is often as grey as the brain or as dark as fluid, and low-grade tumours are fainter than oedema of
high-grade ones; both belong to the mask. The reference mask says where the tumour is, so that its
intensities alone can be changed, and every mask stays true (after lesion-aware augmentation such as
CarveMix, Zhang et al. 2021, but within the patient).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.special import expit

from brainmtl.data.augmentation.resampling import foreground_of, uneven
from brainmtl.data.preprocessing.regions import bounding_box
from brainmtl.data.ranges import Range, check_chance, check_range
from brainmtl.errors import ConfigError

EDGE = 1.5  # pixels: SD of the blur of the mask, so that no outline is drawn round a tumour
TEXTURE = 3.0  # pixels: structure finer than this SD stays as it is
MARGIN = 12  # pixels round the tumour beyond which nothing changes


@dataclass(frozen=True)
class LesionParameters:
    """What becomes of one tumour. ``contrast`` to the brain, as a factor; ``core`` is the depth from which
    on it is core (0: all of it, 1: its innermost point; None: no core); ``signal`` of the core above the
    brain's median, in its SD; ``seed`` of what is uneven in the core."""

    contrast: float
    core: float | None
    signal: float
    seed: int


class RandomLesionContrast:
    """Makes tumours fainter, and gives some of them a grey or dark core.

    Args:
        prob: chance, for images with tumour in their mask; all others stay as they are.
        contrast: range of the factor on the difference between tumour and brain.
        core_prob: chance of a core, of the tumours that are changed.
        core: range of the depth from which on a tumour is core, see :class:`LesionParameters`.
        core_signal: range of the core's brightness above the brain's median, in SD of the foreground.

    Raises:
        ConfigError: a chance outside 0..1, or a range that is not ascending or leaves no tumour to see.
    """

    def __init__(
        self,
        prob: float = 0.5,
        contrast: Range = (0.4, 1.1),
        core_prob: float = 0.5,
        core: Range = (0.2, 0.7),
        core_signal: Range = (-1.5, 0.3),
    ) -> None:
        for name, value in (("prob", prob), ("core_prob", core_prob)):
            check_chance(f"lesion.{name}", value)
        ranges = {"contrast": contrast, "core": core, "core_signal": core_signal}
        for name, span in ranges.items():
            check_range(f"lesion.{name}", span)
        if contrast[0] <= 0 or core[0] <= 0:
            raise ConfigError(
                f"augmentation.lesion: contrast={list(contrast)} and core={list(core)} must lie above 0, "
                "or tumours would vanish from images that are called tumour"
            )
        self.prob, self.core_prob = prob, core_prob
        self.contrast, self.core, self.core_signal = contrast, core, core_signal

    def draw(self, rng: np.random.Generator, mask: torch.Tensor | None) -> LesionParameters | None:
        """Parameters for a mask (H, W); None where it is empty or chance says no."""
        if mask is None or not mask.any() or rng.random() >= self.prob:
            return None
        cored = rng.random() < self.core_prob
        core, signal = rng.uniform(*self.core), rng.uniform(*self.core_signal)
        return LesionParameters(
            contrast=float(rng.uniform(*self.contrast)),
            core=float(core) if cored else None,
            signal=float(signal),
            seed=int(rng.integers(2**31)),
        )

    def apply(
        self, image: torch.Tensor, mask: torch.Tensor | None, parameters: LesionParameters | None
    ) -> torch.Tensor:
        """Image (C, H, W) float32 whose tumour, where ``mask`` (H, W) is 1, has changed.

        It is no longer normalised. A tumour that fills the foreground has no brain to be compared with,
        and stays as it is.
        """
        if parameters is None or mask is None:
            return image
        planes, lesion = image.numpy(), mask.numpy() > 0
        foreground = foreground_of(planes) > 0
        brain = planes[:, foreground & ~lesion]
        lesion = lesion & foreground
        if not brain.size or not lesion.any():
            return image
        level = np.median(brain, axis=1).astype(np.float32)[:, None, None]
        box = _around(lesion)
        inside = foreground[box]
        change = _change(np.where(inside, planes[:, *box], level), lesion[box], level, parameters)
        changed = planes.copy()
        changed[:, *box] += change * inside
        return torch.from_numpy(changed)


def _around(lesion: np.ndarray) -> tuple[slice, slice]:
    r0, r1, c0, c1 = bounding_box(lesion)
    return slice(max(r0 - MARGIN, 0), r1 + MARGIN), slice(max(c0 - MARGIN, 0), c1 + MARGIN)


def _change(
    planes: np.ndarray, lesion: np.ndarray, level: np.ndarray, parameters: LesionParameters
) -> np.ndarray:
    """What to add to ``planes`` (C, h, w), in which ``level`` (C, 1, 1) is that of the brain."""
    soft = ndimage.gaussian_filter(lesion.astype(np.float32), EDGE)
    excess = ndimage.gaussian_filter(planes, (0, TEXTURE, TEXTURE)) - level
    change = (parameters.contrast - 1) * excess * soft
    if parameters.core is None:
        return change
    depth = ndimage.distance_transform_edt(lesion).astype(np.float32)
    depth /= depth.max()
    generator = torch.Generator().manual_seed(parameters.seed)
    ragged = depth + 0.15 * uneven(lesion.shape, 6, generator)
    core = soft * lesion * expit((ragged - parameters.core) / 0.08).astype(np.float32)
    return change + core * (parameters.signal - excess - change)
