"""The encoder that segmentation and classification share."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from brainmtl.models.blocks import (
    STEMS,
    CountedModule,
    check_image_batch,
    check_shape_options,
    make_block,
)


class UNetEncoder(CountedModule):
    """U-Net contracting path (Ronneberger et al. 2015, with padding and normalisation).

    (B, in_channels, H, W) -> [x0, ..., bottleneck], depth + 1 feature maps. Level k has
    base_filters * 2**k channels at H / 2**k. H and W must be multiples of `size_multiple`
    (MultiTaskModel pads for that).

    stem="space_to_depth" first folds every 2x2 square of pixels into channels ("space_to_depth_4":
    every 4x4 square), so that all levels run at half (a quarter of) the resolution, with nearly the
    same number of weights and a quarter (a sixteenth) of the arithmetic. `block` names the
    kind of all blocks (`brainmtl.models.blocks.BLOCKS`).
    """

    def __init__(
        self,
        in_channels: int = 1,
        base_filters: int = 64,
        depth: int = 4,
        norm: str = "batch",
        stem: str = "conv",
        block: str = "plain",
    ) -> None:
        super().__init__()
        check_shape_options(base_filters, depth, stem)
        self.in_channels = in_channels
        self.base_filters = base_filters
        self.depth = depth
        self.stem = stem
        self.fold = STEMS[stem]
        self.size_multiple = self.fold * 2**depth
        self.feature_channels = tuple(base_filters * 2**level for level in range(depth + 1))
        inputs = (in_channels * self.fold**2, *self.feature_channels)
        self.blocks = nn.ModuleList(
            make_block(block, inputs[level], channels, norm)
            for level, channels in enumerate(self.feature_channels)
        )

    @property
    def gradcam_layer(self) -> nn.Module:
        """The last convolution block (its output is the bottleneck), where Grad-CAM hooks go."""
        return self.blocks[-1]

    def forward(self, x: Tensor) -> list[Tensor]:
        check_image_batch(x, self.in_channels)
        if self.fold > 1:
            x = F.pixel_unshuffle(x, self.fold)  # (B, C, H, W) -> (B, fold^2 C, H/fold, W/fold)
        features: list[Tensor] = []
        for level, block in enumerate(self.blocks):
            x = block(x if level == 0 else F.max_pool2d(x, kernel_size=2))
            features.append(x)
        return features
