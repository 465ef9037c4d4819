"""The one place where a model is constructed: by Hydra, by tests and by the export."""

from __future__ import annotations

from brainmtl.models.decoder import UNetDecoder
from brainmtl.models.encoder import UNetEncoder
from brainmtl.models.head import ClassificationHead
from brainmtl.models.multitask import MultiTaskModel


def create_multi_task_model(
    in_channels: int = 1,
    base_filters: int = 64,
    depth: int = 4,
    norm: str = "batch",
    stem: str = "conv",
    out_channels: int = 1,
    hidden_dim: int = 512,
    num_classes: int = 2,
    dropout: float = 0.3,
    pool: str = "avg",
    block: str = "plain",
) -> MultiTaskModel:
    """Return a MultiTaskModel with fresh weights; the arguments are those of its parts."""
    encoder = UNetEncoder(in_channels, base_filters, depth, norm, stem, block)
    return MultiTaskModel(
        encoder,
        UNetDecoder(base_filters, depth, out_channels, norm, stem, block),
        ClassificationHead(encoder.feature_channels[-1], hidden_dim, num_classes, dropout, pool),
    )
