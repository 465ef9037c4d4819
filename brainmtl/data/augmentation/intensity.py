"""Random intensity transforms of an array (C, H, W): MONAI's draws, computed faster, and two of our own.

They see what :class:`brainmtl.data.augmentation.compose.Augmentation` gives them: a float32 foreground of mean 0
on a background of 0. Each draws from what MONAI's ``set_random_state`` gives it, and returns its argument
itself where chance leaves it out. Chances, ranges and formulas are those of MONAI's classes of the same
name (tests compare them); in float32 on plain arrays they take less time (benchmarks/augmentation.py).
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from monai import transforms as monai
from monai.networks.layers import gaussian_1d
from scipy import ndimage

from brainmtl.errors import ConfigError

Range = tuple[float, float]


class RandBiasField(monai.RandBiasField):
    """With chance ``prob`` times exp of a Legendre polynomial of ``degree`` over the plane.

    Its coefficients are drawn from ``coeff_range``; all channels get the same field, as in MONAI.
    """

    def __init__(self, prob: float = 0.1, degree: int = 3, coeff_range: Range = (0.0, 0.1)) -> None:
        super().__init__(degree, coeff_range, prob=prob)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The image (C, H, W), or with a field on it."""
        self.randomize(image.shape[1:])
        if not self._do_transform:
            return image
        coefficients = np.zeros((self.degree + 1, self.degree + 1), dtype=np.float32)
        coefficients[np.tril_indices(self.degree + 1)] = self._coeff
        rows, columns = (_legendre(size, self.degree) for size in image.shape[1:])
        field = rows @ coefficients @ columns.T
        return image * np.exp(field, out=field)


class RandAdjustContrast(monai.RandAdjustContrast):
    """With chance ``prob`` the power ``gamma`` (a range) of the values, scaled to 0..1 meanwhile."""

    def __init__(self, prob: float = 0.1, gamma: Range = (0.5, 4.5)) -> None:
        super().__init__(prob, gamma)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The image (C, H, W), or with another contrast, of the same extremes."""
        self.randomize()
        if not self._do_transform:
            return image
        low, spread = image.min(), np.ptp(image)
        scaled = image - low
        scaled /= spread + np.float32(1e-7)
        np.power(scaled, np.float32(self.gamma_value), out=scaled)
        scaled *= spread
        scaled += low
        return scaled


class RandHistogramShift(monai.RandHistogramShift):
    """With chance ``prob`` the values through a rising curve of random control points."""

    def __init__(self, prob: float = 0.1, num_control_points: tuple[int, int] | int = 10) -> None:
        super().__init__(num_control_points, prob)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The image (C, H, W), or mapped, of the same extremes."""
        self.randomize()
        if not self._do_transform:
            return image
        low, spread = float(image.min()), float(np.ptp(image))
        if spread == 0:
            return image
        given, wanted = (
            points * spread + low
            for points in (self.reference_control_points, self.floating_control_points)
        )
        return np.interp(image, given, wanted).astype(np.float32)


class RandSimulateLowResolution(monai.RandSimulateLowResolution):
    """With chance ``prob`` averaged down by a factor of ``zoom_range``, and back up bilinearly."""

    def __init__(self, prob: float = 0.1, zoom_range: Range = (0.5, 1.0)) -> None:
        super().__init__(prob, "area", "bilinear", zoom_range)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The image (C, H, W), or without its fine detail."""
        self.randomize()
        if not self._do_transform:
            return image
        size = [max(1, round(side * self.zoom_factor)) for side in image.shape[1:]]
        small = F.interpolate(torch.from_numpy(image)[None], size=size, mode=self.downsample_mode)
        return F.interpolate(small, size=image.shape[1:], mode=self.upsample_mode)[0].numpy()


class RandGaussianSmooth(monai.RandGaussianSmooth):
    """With chance ``prob`` a Gaussian blur of ``sigma_x`` pixels along rows' axis, ``sigma_y`` across."""

    def __init__(
        self,
        prob: float = 0.1,
        sigma_x: Range = (0.25, 1.5),
        sigma_y: Range = (0.25, 1.5),
    ) -> None:
        super().__init__(sigma_x, sigma_y, prob=prob)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The image (C, H, W), or blurred; beyond the border lies 0, the background."""
        self.randomize()
        if not self._do_transform:
            return image
        for axis, sigma in ((1, self.x), (2, self.y)):
            kernel = gaussian_1d(torch.tensor(sigma), truncated=4.0).numpy()
            image = ndimage.correlate1d(image, kernel, axis, mode="constant")
        return image


class RandGaussianNoise(monai.RandomizableTransform):
    """With chance ``prob`` Gaussian noise of SD ``std``, or drawn from 0 to it with ``sample_std``."""

    def __init__(self, prob: float = 0.1, std: float = 0.1, sample_std: bool = True) -> None:
        super().__init__(prob)
        self.std, self.sample_std = std, sample_std

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The image (C, H, W), or with noise on it."""
        self.randomize(None)
        if not self._do_transform:
            return image
        std = self.R.uniform(0, self.std) if self.sample_std else self.std
        # NumPy takes three times as long for normal numbers
        generator = torch.Generator().manual_seed(int(self.R.randint(2**31)))
        noise = torch.randn(image.shape, generator=generator).numpy()
        noise *= np.float32(std)
        noise += image
        return noise


class RandInvert(monai.RandomizableTransform):
    """With chance ``prob`` the negative of the image: what is bright in one sequence is dark in another.

    Image (C, H, W) of any values; returns the same shape.
    """

    def __init__(self, prob: float = 0.1) -> None:
        super().__init__(prob)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The image, or its negative."""
        self.randomize(None)
        return -image if self._do_transform else image


class RandJpeg(monai.RandomizableTransform):
    """With chance ``prob`` the image as JPEG leaves it: 8 bits, blocks of 8x8, ringing at edges.

    Args:
        prob: chance.
        quality: range that the JPEG quality is drawn from, 1 (worst) to 95.

    Each channel (H, W) is scaled to 0..255 between its extremes, encoded alone, and scaled back.

    Raises:
        ConfigError: a range outside 1..95.
    """

    def __init__(self, prob: float = 0.2, quality: tuple[int, int] = (20, 80)) -> None:
        super().__init__(prob)
        low, high = quality
        if not 1 <= low <= high <= 95:
            raise ConfigError(
                f"augmentation: quality={list(quality)} must be an ascending range in 1..95"
            )
        self.low, self.high = int(low), int(high)
        self.quality = self.high

    def randomize(self, data: object = None) -> None:
        """Draw whether, and the quality."""
        super().randomize(None)
        self.quality = int(self.R.randint(self.low, self.high + 1))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The image (C, H, W), or its decoded JPEG."""
        self.randomize()
        if not self._do_transform:
            return image
        return np.stack([self._encoded(channel) for channel in image])

    def _encoded(self, channel: np.ndarray) -> np.ndarray:
        from PIL import Image

        low, spread = channel.min(), np.ptp(channel)
        if not spread > 0:
            return channel
        scale = spread / np.float32(255)
        pixels = channel - low
        pixels /= scale
        buffer = io.BytesIO()
        picture = Image.fromarray(np.rint(pixels, out=pixels).astype(np.uint8))
        picture.save(buffer, "JPEG", quality=self.quality)
        decoded = np.asarray(Image.open(buffer)).astype(np.float32)
        decoded *= scale
        decoded += low
        return decoded


@lru_cache(maxsize=16)
def _legendre(size: int, degree: int) -> np.ndarray:
    """Legendre polynomials up to ``degree`` at ``size`` points of -1..1, (size, degree + 1) float32."""
    points = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    return np.polynomial.legendre.legvander(points, degree).astype(np.float32)
