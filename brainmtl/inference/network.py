"""The network as it is served: one encoder pass, the head for all images, the decoder for some."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from brainmtl.errors import DataError
from brainmtl.inference.gradcam import TUMOUR, gradcam_from_features
from brainmtl.inference.ood import pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from brainmtl.models.multitask import MultiTaskModel


def autocast(device: str, precision: str) -> AbstractContextManager:
    """bfloat16 autocast where ``precision`` is "bf16" on ``device`` (such as cuda:0), else nothing."""
    import torch

    if precision == "bf16":
        return torch.autocast(device.partition(":")[0], dtype=torch.bfloat16)
    return contextlib.nullcontext()


@dataclass(frozen=True, eq=False)
class Encoded:
    """What one encoder pass leaves: ``probability`` (B,) raw P(tumour), ``pooled`` (B, F) the
    feature vectors for the OOD check, and the feature maps that decoder and Grad-CAM go on from.

    With ``flipped`` the maps hold 2 B images: the second half are the mirror images.
    """

    probability: np.ndarray
    pooled: np.ndarray
    features: list[Tensor]
    size: tuple[int, int]
    flipped: bool


class Network:
    """A frozen model on its device. Its methods keep no state, so that threads may share it."""

    def __init__(self, model: MultiTaskModel, device: str, precision: str) -> None:
        # gradients of weights are never needed: Grad-CAM differentiates by the bottleneck alone
        self.model = model.to(device).eval().requires_grad_(False)
        self.device = device
        self.precision = precision

    def encode(self, images: np.ndarray, tta: str = "none") -> Encoded:
        """One encoder pass over prepared images (B, C, H, W), float32, and the head on all of them.

        ``tta`` "flip" runs the mirror images in the same pass and averages P.

        Raises:
            DataError: an output that is not finite.
        """
        import torch

        flipped = tta == "flip"
        with torch.inference_mode(), self._autocast():
            batch = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
            if flipped:
                batch = torch.cat([batch, batch.flip(-1)])
            features = self.model.encode(batch)
            logits = self.model.head(features[-1])
        n = len(images)
        probability = logits.float().softmax(dim=1)[:, TUMOUR].cpu().numpy()
        if flipped:
            probability = (probability[:n] + probability[n:]) / 2
        if not np.isfinite(probability).all():
            raise DataError("the model's output is NaN or infinite: export the model again")
        return Encoded(
            probability,
            pool([level[:n] for level in features]),
            features,
            images.shape[-2:],
            flipped,
        )

    def decode(self, encoded: Encoded, chosen: Sequence[int]) -> np.ndarray:
        """Tumour probability of each pixel, float32 (len(chosen), H, W), for the ``chosen`` images.

        Raises:
            DataError: an output that is not finite.
        """
        import torch

        rows = list(chosen)
        n = len(encoded.probability)
        own = [*rows, *(n + row for row in rows)] if encoded.flipped else rows
        height, width = encoded.size
        with torch.inference_mode(), self._autocast():
            logits = self.model.decoder([level[own] for level in encoded.features])
        pixels = logits[..., :height, :width].float().sigmoid()[:, 0].cpu().numpy()
        if encoded.flipped:
            pixels = (pixels[: len(rows)] + pixels[len(rows) :][..., ::-1]) / 2
        if not np.isfinite(pixels).all():
            raise DataError("the model's mask is NaN or infinite: export the model again")
        return pixels

    def gradcam(self, encoded: Encoded, chosen: Sequence[int]) -> np.ndarray:
        """Grad-CAM float32 (len(chosen), H, W) in [0, 1] of the ``chosen`` images, upright views."""
        bottleneck = encoded.features[-1][list(chosen)]
        return gradcam_from_features(self.model, bottleneck, encoded.size).cpu().numpy()

    def _autocast(self) -> AbstractContextManager:
        return autocast(self.device, self.precision)
