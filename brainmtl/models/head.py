"""The classification head."""

from __future__ import annotations

from torch import Tensor, nn

from brainmtl.errors import ConfigError
from brainmtl.models.blocks import CountedModule


class ClassificationHead(CountedModule):
    """Global average pooling, one hidden layer, logits: (B, C, h, w) -> (B, num_classes)."""

    def __init__(
        self,
        in_features: int,
        hidden_dim: int = 512,
        num_classes: int = 2,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ConfigError(f"model.num_classes={num_classes}: must be at least 2")
        if not 0 <= dropout < 1:
            raise ConfigError(f"model.dropout={dropout}: must lie in [0, 1)")
        self.in_features = in_features
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),  # (B, C)
            nn.Linear(in_features, hidden_dim),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, num_classes),
        )

    def forward(self, bottleneck: Tensor) -> Tensor:
        return self.layers(bottleneck)
