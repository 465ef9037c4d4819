"""The network as PyTorch runs it, operation by operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from brainmtl.inference.device import autocast

if TYPE_CHECKING:
    from torch import Tensor

    from brainmtl.models.multitask import MultiTaskModel


class Eager:
    """``model`` on ``device``, precision 32 or bf16 (autocast). The model itself is moved there."""

    name = "eager"

    def __init__(self, model: MultiTaskModel, device: str = "cpu", precision: str = "32") -> None:
        self.device = device
        self.precision = precision
        # The layout in which convolutions on a CPU are fastest, as benchmarks/README.md shows.
        self._layout = torch.channels_last if device == "cpu" else torch.contiguous_format
        self._model = model.to(device, memory_format=self._layout).eval()
        self._model.requires_grad_(False)

    @torch.inference_mode()
    def encode(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """As :meth:`.base.Runtime.encode`."""
        return self._encode(images.to(self.device))

    @torch.inference_mode()
    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """As :meth:`.base.Runtime.decode`."""
        return self._decode([level.contiguous(memory_format=self._layout) for level in features])

    def _encode(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        with autocast(self.device, self.precision):
            features = self._model.encode(images)
            return features, self._model.head(features[-1])

    def _decode(self, features: list[Tensor]) -> Tensor:
        with autocast(self.device, self.precision):
            return self._model.decoder(features)
