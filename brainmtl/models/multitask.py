"""One encoder, two tasks: the mask of a tumour and whether there is one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Self

from torch import Tensor
from torch.nn import functional as F

from brainmtl.errors import ConfigError
from brainmtl.models.blocks import CountedModule, check_image_batch
from brainmtl.models.decoder import UNetDecoder
from brainmtl.models.encoder import UNetEncoder
from brainmtl.models.head import ClassificationHead

PARTS = ("encoder", "decoder", "head")


class MultiTaskOutput(NamedTuple):
    """What MultiTaskModel returns; a task that was not asked for is None."""

    seg: Tensor | None  # (B, out_channels, H, W) mask logits
    cls: Tensor | None  # (B, num_classes) logits, index 1 = tumour


class MultiTaskModel(CountedModule):
    """Shared encoder, segmentation decoder and classification head.

    (B, C, H, W) -> MultiTaskOutput. Any height and width: the image is padded inside to the
    multiple that the encoder needs, and the mask logits are cropped back. Build it with
    `brainmtl.models.create_multi_task_model`. ConfigError where the parts do not fit each other.
    """

    def __init__(
        self, encoder: UNetEncoder, decoder: UNetDecoder, head: ClassificationHead
    ) -> None:
        super().__init__()
        _check_fit(encoder, decoder, head)
        self.encoder = encoder
        self.decoder = decoder
        self.head = head
        self._frozen: frozenset[str] = frozenset()

    def forward(self, x: Tensor, do_seg: bool = True, do_cls: bool = True) -> MultiTaskOutput:
        """Run the encoder and the asked-for branches; the other branch is not called."""
        if not (do_seg or do_cls):
            raise ConfigError("nothing to compute: set do_seg=True, do_cls=True or both")
        check_image_batch(x, self.encoder.in_channels)
        height, width = x.shape[-2:]
        features = self.encode(x)
        seg = self.decoder(features)[..., :height, :width] if do_seg else None
        cls = self.head(features[-1]) if do_cls else None
        return MultiTaskOutput(seg=seg, cls=cls)

    def encode(self, x: Tensor) -> list[Tensor]:
        """Feature maps of every level for images (B, C, H, W) of any size, padded inside; the last is
        the bottleneck, which the head takes."""
        return self.encoder(pad_to_multiple(x, self.encoder.size_multiple))

    @property
    def trainable_parts(self) -> frozenset[str]:
        """The parts that are not frozen, a subset of {"encoder", "decoder", "head"}."""
        return frozenset(PARTS) - self._frozen

    def set_trainable(self, parts: Iterable[str]) -> Self:
        """Train these parts and freeze the others, until the next call.

        A frozen part has no gradient and stays in eval mode whatever `train()` is told, so that
        neither its weights nor its norm statistics move. ConfigError on an unknown part.
        """
        wanted = frozenset(parts)
        if unknown := sorted(wanted - set(PARTS)):
            raise ConfigError(f"train={unknown}: no such part; choose from {', '.join(PARTS)}")
        self._frozen = frozenset(PARTS) - wanted
        for name in PARTS:
            getattr(self, name).requires_grad_(name in wanted)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training mode for all parts that are not frozen."""
        super().train(mode)
        for name in self._frozen:
            getattr(self, name).eval()
        return self

    def parameter_counts(self) -> dict[str, int]:
        """Return the number of parameters of each part, of the whole, and the trainable ones."""
        per_part = {name: getattr(self, name).parameter_counts()["total"] for name in PARTS}
        return per_part | super().parameter_counts()


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (B, C, H, W) below and on the right, to multiples of `multiple`, by its edge values.

    At least two multiples per side: normalisation cannot train on a bottleneck of one pixel.
    """
    height, width = x.shape[-2:]
    below, right = (
        max(-(-length // multiple), 2) * multiple - length for length in (height, width)
    )
    # the edge continues the background, whose value the model does not know
    return F.pad(x, (0, right, 0, below), mode="replicate") if below or right else x


def _check_fit(encoder: UNetEncoder, decoder: UNetDecoder, head: ClassificationHead) -> None:
    for option in ("base_filters", "depth", "stem"):
        ours, theirs = getattr(encoder, option), getattr(decoder, option)
        if ours != theirs:
            raise ConfigError(
                f"UNetEncoder({option}={ours!r}) and UNetDecoder({option}={theirs!r}) do not fit:"
                f" give both the same {option}"
            )
    channels = encoder.feature_channels[-1]
    if head.in_features != channels:
        raise ConfigError(
            f"UNetEncoder ends in {channels} channels and ClassificationHead takes"
            f" in_features={head.in_features}: set in_features={channels}"
        )
