"""Graded corruptions of prepared samples: five levels each, level 0 is the stored image.

A stored image is z-scored, and z-scoring takes away the scale and the offset of the raw picture. It
takes them away from every raw picture alike, so the corruption acts on a raw-like picture: the head
from 0 (its darkest value: bone, air and fluid are nearly black) to 1 (its brightest), the air around
it 0. Blur, low resolution and JPEG then mix the head with black air, as in a raw picture, and gamma,
bias field and Rician noise find their zero. What comes out goes through the pipeline's own
:func:`brainmtl.data.preprocessing.preprocess.normalize_zscore` (clipping, z-score over the head, constant
background) and its rounding to float16. A mere scale of intensities is therefore undone.

Kept are the head's outline and the frame: the curves measure the network, not the search for the
head. Only rotation moves them, together with image and mask; the frame's side is the longer side of
the head plus 4 %, so a head, being oval, stays inside. What leaves the frame is lost.

Lengths are pixels of the prepared grid. The extremes that preprocessing clipped stay clipped.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", ICLR 2019, is the model for graded levels; Gudbjartsson and Patz, "The Rician
distribution of noisy MRI data", 1995, for noise in magnitude images.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from brainmtl.data.half import from_half, to_half
from brainmtl.data.preprocessing.geometry import resize
from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE, normalize_zscore
from brainmtl.errors import DataError

LEVELS = 5


@dataclass(frozen=True)
class RawLike:
    """One channel as a raw picture: ``plane`` (H, W) float32 in 0..1, ``head`` bool (H, W).

    ``deviation`` is the SD of the head in the units of ``plane``.
    """

    plane: np.ndarray
    head: np.ndarray
    deviation: float


@dataclass(frozen=True)
class Corruption:
    """A name for people, the unit of ``parameters`` (levels 1 to 5), and what is done.

    ``apply`` takes a raw-like channel, the parameter and a generator, and returns the plane; it is
    None for rotation, which moves image and mask together.
    """

    title: str
    unit: str
    parameters: tuple[float, float, float, float, float]
    apply: Callable[[RawLike, float, np.random.Generator], np.ndarray] | None


def image_seed(seed: int, image_id: str, purpose: str) -> int:
    """Seed of one image and purpose (a corruption, a check), the same on every machine.

    The level is no part of it: all levels scale one draw, so a curve shows strength, not luck.
    """
    return zlib.crc32(f"{seed}/{purpose}/{image_id}".encode())


def head_of(image: np.ndarray) -> np.ndarray:
    """Foreground, bool (H, W), of a prepared image (C, H, W).

    A pixel inside that has the background's very value, one in some images, counts as background
    here and keeps its value, as in augmentation.
    """
    return (image != BACKGROUND_VALUE).any(axis=0)


def raw_like(plane: np.ndarray, head: np.ndarray) -> RawLike:
    """Undo the z-score of one channel (H, W) as far as it can be undone; see the module.

    Raises:
        DataError: the head is empty or constant, which preprocessing lets through in no sample.
    """
    values = plane[head]
    if values.size == 0 or np.ptp(values) == 0:
        raise DataError("the image is empty or constant over its head: prepare the data again")
    dark, bright = float(values.min()), float(values.max())
    result = np.zeros(plane.shape, dtype=np.float32)
    result[head] = (values - dark) / (bright - dark)
    return RawLike(result, head, float(result[head].std()))


def as_stored(planes: list[np.ndarray], head: np.ndarray) -> np.ndarray:
    """Planes (H, W) in any unit -> image (C, H, W) float32, normalised and rounded as prepared."""
    normalised = np.stack([normalize_zscore(plane, head) for plane in planes])
    return from_half(to_half(normalised))


def corrupt(
    image: np.ndarray, mask: np.ndarray | None, corruption: str, level: int, seed: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """A corrupted copy of a prepared image (C, H, W) float32 and its mask (H, W) uint8 or None.

    Args:
        corruption: a key of :data:`CORRUPTIONS`.
        level: 0 (image and mask as they are) to 5.
        seed: the result is a function of all arguments; see :func:`image_seed`.

    Raises:
        ValueError: an unknown corruption or level.
        DataError: the head is empty or constant, before or after.
    """
    if corruption not in CORRUPTIONS:
        raise ValueError(f"corruption {corruption!r} is unknown: choose from {list(CORRUPTIONS)}")
    if level not in range(LEVELS + 1):
        raise ValueError(f"level {level} must be one of 0..{LEVELS}")
    if level == 0:
        return image, mask
    chosen = CORRUPTIONS[corruption]
    parameter = chosen.parameters[level - 1]
    if chosen.apply is None:
        return _rotate(image, mask, parameter * _sign(np.random.default_rng(seed)))
    head = head_of(image)
    planes = []
    for channel, plane in enumerate(image):
        rng = np.random.default_rng([seed, channel])  # channels are acquired one by one
        planes.append(chosen.apply(raw_like(plane, head), parameter, rng))
    return as_stored(planes, head), mask


def _noise(raw: RawLike, parameter: float, rng: np.random.Generator) -> np.ndarray:
    from monai.transforms import RandRicianNoise

    noise = RandRicianNoise(prob=1.0, std=parameter * raw.deviation, sample_std=False)
    noise.set_random_state(seed=int(rng.integers(2**32)))
    return np.asarray(noise(raw.plane[None]))[0]


def _bias_field(raw: RawLike, parameter: float, rng: np.random.Generator) -> np.ndarray:
    from monai.transforms import RandBiasField

    bias = RandBiasField(degree=3, coeff_range=(-1.0, 1.0), prob=1.0)
    bias.set_random_state(seed=int(rng.integers(2**32)))
    field = np.log(np.asarray(bias(np.ones_like(raw.plane)[None]))[0])
    # A random polynomial may be steep or flat: its range over the head makes the level.
    low, high = field[raw.head].min(), field[raw.head].max()
    return raw.plane * np.exp((field - low) / (high - low) * math.log(parameter))


def _blur(raw: RawLike, parameter: float, rng: np.random.Generator) -> np.ndarray:
    return ndimage.gaussian_filter(raw.plane, parameter)


def _low_resolution(raw: RawLike, parameter: float, rng: np.random.Generator) -> np.ndarray:
    height, width = raw.plane.shape
    small = resize(raw.plane, (round(height / parameter), round(width / parameter)))
    return resize(small, (height, width))


def _gamma(raw: RawLike, parameter: float, rng: np.random.Generator) -> np.ndarray:
    return raw.plane**parameter


def _jpeg(raw: RawLike, parameter: float, rng: np.random.Generator) -> np.ndarray:
    eight_bit = Image.fromarray(np.round(raw.plane * 255).astype(np.uint8))
    stream = io.BytesIO()
    eight_bit.save(stream, format="JPEG", quality=int(parameter))
    return np.asarray(Image.open(stream)).astype(np.float32) / 255


def _scale(raw: RawLike, parameter: float, rng: np.random.Generator) -> np.ndarray:
    return raw.plane * parameter ** _sign(rng)


def _sign(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


def _rotate(
    image: np.ndarray, mask: np.ndarray | None, degrees: float
) -> tuple[np.ndarray, np.ndarray | None]:
    """Counter-clockwise by ``degrees``: image bilinear, mask nearest, by the augmentation's map."""
    import torch

    from brainmtl.data.augmentation.compose import AffineParameters, RandomAffine2d

    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    parameters = AffineParameters(torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]]))
    moved, moved_mask = RandomAffine2d().apply(
        torch.from_numpy(image), None if mask is None else torch.from_numpy(mask), parameters
    )
    turned = moved.numpy()
    head = head_of(turned)
    return as_stored(list(turned), head), None if moved_mask is None else moved_mask.numpy()


CORRUPTIONS: dict[str, Corruption] = {
    "noise": Corruption(
        "Rician noise", "noise SD / SD of the head", (0.1, 0.2, 0.3, 0.5, 0.8), _noise
    ),
    "bias_field": Corruption(
        "Bias field", "largest / smallest gain", (1.25, 1.5, 2.0, 3.0, 4.0), _bias_field
    ),
    "blur": Corruption("Gaussian blur", "sigma in pixels", (0.5, 1.0, 1.5, 2.5, 4.0), _blur),
    "low_resolution": Corruption(
        "Low resolution", "pixels per sample", (1.5, 2.0, 3.0, 4.0, 6.0), _low_resolution
    ),
    "gamma_dark": Corruption("Gamma, darker", "exponent", (1.25, 1.5, 1.75, 2.0, 2.5), _gamma),
    "gamma_bright": Corruption("Gamma, brighter", "exponent", (0.8, 0.7, 0.6, 0.5, 0.4), _gamma),
    "jpeg": Corruption("JPEG", "quality", (90, 70, 50, 30, 10), _jpeg),
    "rotation": Corruption("Rotation", "degrees to either side", (5, 10, 15, 20, 30), None),
    "intensity_scale": Corruption(
        "Intensity scale", "times or divided by", (1.1, 1.25, 1.5, 1.75, 2.0), _scale
    ),
}
