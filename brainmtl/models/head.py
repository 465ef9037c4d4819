"""The classification head."""

from __future__ import annotations

from torch import Tensor, cat, nn

from brainmtl.errors import ConfigError
from brainmtl.models.blocks import CountedModule

POOLS = ("avg", "avg_max")


class AvgMaxPool(nn.Module):
    """Mean and maximum of every channel side by side: (B, C, h, w) -> (B, 2 C).

    The mean of a small tumour's evidence drowns in the rest of the head, its maximum does not.
    """

    def forward(self, x: Tensor) -> Tensor:
        return cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)


class ClassificationHead(CountedModule):
    """Global pooling, one hidden layer, logits: (B, C, h, w) -> (B, num_classes).

    ``pool`` is "avg" (global average) or "avg_max" (average and maximum side by side).
    """

    def __init__(
        self,
        in_features: int,
        hidden_dim: int = 512,
        num_classes: int = 2,
        dropout: float = 0.3,
        pool: str = "avg",
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ConfigError(f"model.num_classes={num_classes}: must be at least 2")
        if not 0 <= dropout < 1:
            raise ConfigError(f"model.dropout={dropout}: must lie in [0, 1)")
        if pool not in POOLS:
            raise ConfigError(f"model.pool={pool!r} is unknown: choose one of {', '.join(POOLS)}")
        self.in_features = in_features
        self.pool = (
            AvgMaxPool()
            if pool == "avg_max"
            else nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        )  # (B, C) or (B, 2 C)
        self.layers = nn.Sequential(
            nn.Linear((2 if pool == "avg_max" else 1) * in_features, hidden_dim),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, num_classes),
        )

    def forward(self, bottleneck: Tensor) -> Tensor:
        return self.layers(self.pool(bottleneck))
