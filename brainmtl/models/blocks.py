"""The convolution blocks that the encoder and the decoder are made of."""

from __future__ import annotations

import math
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from brainmtl.errors import ConfigError
from brainmtl.models.group_norm import GroupNorm

NORMS = ("batch", "group", "instance")
# Stem -> side of the square of pixels that it folds into channels.
STEMS = {"conv": 1, "space_to_depth": 2, "space_to_depth_4": 4}


def make_norm(norm: str, channels: int) -> nn.Module:
    """Return the normalisation layer called `norm` ("batch", "group" or "instance").

    Group norm uses 8 groups, or as many as divide `channels`; all three have learned scale and
    shift, so the parameter count does not depend on the choice. ConfigError on another name.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "group":
        return GroupNorm(math.gcd(8, channels), channels)
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    raise ConfigError(f"model.norm={norm!r} is unknown: choose one of {', '.join(NORMS)}")


def convolution(in_channels: int, out_channels: int, separable: bool) -> nn.Module:
    """3x3 convolution, same size, without bias: (B, in, H, W) -> (B, out, H, W).

    ``separable`` makes it one 3x3 filter per channel and a 1x1 convolution over the channels (Chollet 2017),
    which takes hardly more than a ninth of the weights and of the arithmetic where channels are many.
    """
    if not separable:
        return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
        nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False),
    )


class ConvBlock(nn.Sequential):
    """Twice 3x3 convolution, normalisation, ReLU: (B, in, H, W) -> (B, out, H, W)."""

    def __init__(
        self, in_channels: int, out_channels: int, norm: str = "batch", separable: bool = False
    ) -> None:
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            layers += [
                # the norm's shift makes a bias redundant
                convolution(channels, out_channels, separable),
                make_norm(norm, out_channels),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class ResidualBlock(nn.Module):
    """A ConvBlock whose input is added to its result before the last ReLU (He et al. 2016).

    (B, in, H, W) -> (B, out, H, W). Where the numbers of channels differ, a 1x1 convolution leads from
    one to the other.
    """

    def __init__(
        self, in_channels: int, out_channels: int, norm: str = "batch", separable: bool = False
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(*list(ConvBlock(in_channels, out_channels, norm, separable))[:-1])
        self.shortcut = (
            nn.Identity()
            if in_channels == out_channels
            else nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x), inplace=True)


BLOCKS = {
    "plain": ConvBlock,
    "residual": ResidualBlock,
    "separable": partial(ConvBlock, separable=True),
    "separable_residual": partial(ResidualBlock, separable=True),
}


def make_block(block: str, in_channels: int, out_channels: int, norm: str) -> nn.Module:
    """Return the block called `block`, (B, in, H, W) -> (B, out, H, W); ConfigError on another name."""
    if block not in BLOCKS:
        raise ConfigError(f"model.block={block!r} is unknown: choose one of {', '.join(BLOCKS)}")
    return BLOCKS[block](in_channels, out_channels, norm)


class CountedModule(nn.Module):
    """A module that can tell how many parameters it has."""

    def parameter_counts(self) -> dict[str, int]:
        """Return {"total": all parameters, "trainable": those with a gradient}."""
        return {
            "total": sum(p.numel() for p in self.parameters()),
            "trainable": sum(p.numel() for p in self.parameters() if p.requires_grad),
        }


def check_shape_options(base_filters: int, depth: int, stem: str) -> None:
    """Raise ConfigError unless the options that encoder and decoder share are usable."""
    if base_filters < 1:
        raise ConfigError(f"model.base_filters={base_filters}: must be at least 1, e.g. 32")
    if depth < 1:
        raise ConfigError(f"model.depth={depth}: must be at least 1, e.g. 4")
    if stem not in STEMS:
        raise ConfigError(f"model.stem={stem!r} is unknown: choose one of {', '.join(STEMS)}")


def check_image_batch(x: Tensor, in_channels: int) -> None:
    """Raise ConfigError unless `x` is an image batch (B, in_channels, H, W)."""
    if x.ndim != 4:
        raise ConfigError(
            f"the model got a tensor of shape {tuple(x.shape)}: it takes (B, {in_channels}, H, W);"
            " add the missing axis with image[None]"
        )
    if x.shape[1] != in_channels:
        raise ConfigError(
            f"the model got {x.shape[1]} channel(s) in shape {tuple(x.shape)} but was built with"
            f" in_channels={in_channels}: set model.in_channels to the number of modalities"
        )
