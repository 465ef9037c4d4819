"""What the network says and sees: tumour probabilities, pooled bottlenecks, an untrained encoder."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn

    from brainmtl.models.multitask import MultiTaskModel

BATCH = 16


def calibrated_probabilities(
    model: MultiTaskModel, images: Sequence[np.ndarray], operating_point: Mapping[str, Any]
) -> np.ndarray:
    """Calibrated P(tumour), (N,) float64, of prepared images (C, H, W) of one size.

    ``operating_point`` gives the ``temperature``.
    """
    import torch

    from brainmtl.inference.operating.calibration import apply

    with torch.inference_mode():
        parts = [
            model(batch, do_seg=False).cls.float().softmax(dim=1)[:, 1].cpu().numpy()
            for batch in _batches(model, images)
        ]
    return apply(np.concatenate(parts), operating_point["temperature"])


def pooled_bottleneck(
    encoder: nn.Module, model: MultiTaskModel, images: Sequence[np.ndarray]
) -> np.ndarray:
    """What the classification head of ``model`` pools from ``encoder``, (N, F) float64."""
    import torch

    from brainmtl.models.multitask import pad_to_multiple

    pool = model.head.pool  # global average pooling and flattening
    with torch.inference_mode():
        parts = [
            pool(encoder(pad_to_multiple(batch, model.encoder.size_multiple))[-1]).float().cpu()
            for batch in _batches(model, images)
        ]
        return torch.cat(parts).numpy().astype(np.float64)


def untrained_encoder(model: MultiTaskModel, seed: int) -> nn.Module:
    """An encoder of the same architecture, with fresh random weights and norm statistics."""
    import torch

    encoder = copy.deepcopy(model.encoder).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in encoder.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    return encoder.to(next(model.parameters()).device).eval()


def _batches(model: MultiTaskModel, images: Sequence[np.ndarray]) -> list[torch.Tensor]:
    import torch

    device = next(model.parameters()).device
    return [
        torch.from_numpy(np.stack(images[start : start + BATCH])).to(device)
        for start in range(0, len(images), BATCH)
    ]
