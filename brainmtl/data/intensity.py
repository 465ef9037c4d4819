"""Random intensity transforms that MONAI lacks, in its form: called with an image, seeded before.

They see what :class:`brainmtl.data.augmentation.Augmentation` gives them: a foreground of mean 0 on a
background of 0.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from monai.transforms import RandomizableTransform

from brainmtl.errors import ConfigError


class RandInvert(RandomizableTransform):
    """With chance ``prob`` the negative of the image: what is bright in one sequence is dark in another.

    Image (C, H, W) of any values; returns the same shape.
    """

    def __init__(self, prob: float = 0.1) -> None:
        super().__init__(prob)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """The image, or its negative."""
        self.randomize(None)
        return -image if self._do_transform else image


class RandJpeg(RandomizableTransform):
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

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """The image (C, H, W), or its decoded JPEG."""
        self.randomize()
        if not self._do_transform:
            return image
        return torch.stack([self._encoded(channel) for channel in image])

    def _encoded(self, channel: torch.Tensor) -> torch.Tensor:
        from PIL import Image

        low, high = float(channel.min()), float(channel.max())
        if not high > low:
            return channel
        scale = (high - low) / 255
        pixels = ((channel - low) / scale).round().to(torch.uint8).numpy()
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=self.quality)
        decoded = np.asarray(Image.open(buffer), dtype=np.float32)
        return torch.from_numpy(decoded * scale + low)
