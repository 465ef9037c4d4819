"""The segmentation decoder."""

from __future__ import annotations

from torch import Tensor, cat, nn
from torch.nn import functional as F

from brainmtl.models.blocks import STEMS, CountedModule, check_shape_options, make_block


class UpBlock(nn.Module):
    """Transposed convolution to twice the size, skip connection, block of convolutions."""

    def __init__(self, in_channels: int, out_channels: int, norm: str, block: str) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)
        self.block = make_block(block, 2 * out_channels, out_channels, norm)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.block(cat([skip, self.up(x)], dim=1))


class UNetDecoder(CountedModule):
    """U-Net expanding path: the encoder's feature maps -> mask logits (B, out_channels, H, W).

    base_filters, depth and stem must be those of the encoder. With a folding stem the last
    stage predicts fold^2 logits per position and unfolds them to the full resolution (sub-pixel
    convolution, Shi et al. 2016).
    """

    def __init__(
        self,
        base_filters: int = 64,
        depth: int = 4,
        out_channels: int = 1,
        norm: str = "batch",
        stem: str = "conv",
        block: str = "plain",
    ) -> None:
        super().__init__()
        check_shape_options(base_filters, depth, stem)
        self.base_filters = base_filters
        self.depth = depth
        self.stem = stem
        self.fold = STEMS[stem]
        widths = [base_filters * 2**level for level in range(depth + 1)]
        self.blocks = nn.ModuleList(
            UpBlock(widths[level + 1], widths[level], norm, block)
            for level in reversed(range(depth))
        )
        # unfolded pixels of one position see the same 1x1 input: 3x3 lets them differ by context
        kernel = 3 if self.fold > 1 else 1
        self.to_logits = nn.Conv2d(
            base_filters, out_channels * self.fold**2, kernel, padding=kernel // 2
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        *skips, x = features
        for block, skip in zip(self.blocks, reversed(skips), strict=True):
            x = block(x, skip)
        logits = self.to_logits(x)
        return F.pixel_shuffle(logits, self.fold) if self.fold > 1 else logits
