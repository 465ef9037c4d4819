"""The network as it is served: one encoder pass, the head for all images, the decoder for some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from brainmtl.errors import DataError
from brainmtl.inference.gradcam import TUMOUR, layercam_from_features
from brainmtl.inference.ood import pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from brainmtl.inference.runtimes.base import Runtime
    from brainmtl.models.multitask import MultiTaskModel


@dataclass(frozen=True, eq=False)
class Encoded:
    """What one encoder pass leaves: ``probability`` (B,) raw P(tumour), ``pooled`` (B, F) the
    feature vectors for the OOD check, and the feature maps that decoder and heat map go on from.

    With ``flipped`` the maps hold 2 B images: the second half are the mirror images.
    """

    probability: np.ndarray
    pooled: np.ndarray
    features: list[Tensor]
    size: tuple[int, int]
    flipped: bool


class Network:
    """A frozen model by the runtime that runs it. Its methods keep no state: threads may share it.

    ``runtime`` None is eager PyTorch on ``device`` in ``precision`` (32 or bf16). Another one takes
    the place of encoder, head and decoder; the heat map differentiates PyTorch's last block and head at
    the features that the runtime has left.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        device: str = "cpu",
        precision: str = "32",
        runtime: Runtime | None = None,
    ) -> None:
        from brainmtl.inference.runtimes.eager import Eager

        self.runtime: Runtime = runtime or Eager(model, device, precision)
        # gradients of weights are never needed: the heat map differentiates by features alone
        self.model = model.to(self.runtime.device).eval().requires_grad_(False)

    def encode(self, images: np.ndarray, tta: str = "none") -> Encoded:
        """One encoder pass over prepared images (B, C, H, W), float32, and the head on all of them.

        ``tta`` "flip" runs the mirror images in the same pass and averages P.

        Raises:
            DataError: an output that is not finite.
        """
        import torch

        flipped = tta == "flip"
        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(images))
            if flipped:
                batch = torch.cat([batch, batch.flip(-1)])
            features, logits = self.runtime.encode(batch)
            probability = logits.float().softmax(dim=1)[:, TUMOUR].cpu().numpy()
        n = len(images)
        if flipped:
            probability = (probability[:n] + probability[n:]) / 2
        if not np.isfinite(probability).all():
            raise DataError("the model's output is NaN or infinite: export the model again")
        return Encoded(
            probability,
            pool([level[:n] for level in features], images),
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
        with torch.inference_mode():
            logits = self.runtime.decode([level[own] for level in encoded.features])
            pixels = logits[..., :height, :width].float().sigmoid()[:, 0].cpu().numpy()
        if encoded.flipped:
            pixels = (pixels[: len(rows)] + pixels[len(rows) :][..., ::-1]) / 2
        if not np.isfinite(pixels).all():
            raise DataError("the model's mask is NaN or infinite: export the model again")
        return pixels

    def gradcam(self, encoded: Encoded, chosen: Sequence[int]) -> np.ndarray:
        """LayerCAM float32 (len(chosen), H, W) in [0, 1] of the ``chosen`` images, upright views."""
        above_bottleneck = encoded.features[-2][list(chosen)]
        return layercam_from_features(self.model, above_bottleneck, encoded.size).cpu().numpy()
