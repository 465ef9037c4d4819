"""What every runtime does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Runtime(Protocol):
    """A network in two steps, so that the decoder runs only where it is needed.

    It keeps no state between calls: threads may share it. ``name`` is the choice of ``runtime=``,
    ``precision`` 32, bf16 or int8, ``device`` where features and logits lie.
    """

    name: str
    precision: str
    device: str

    def encode(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """(feature maps of every level, class logits (B, 2)) of float32 images (B, C, 256, 256)."""
        ...

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Mask logits (b, 1, 256, 256) of feature maps, those of all images or of some."""
        ...
