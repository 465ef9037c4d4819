"""Logits and masks for tests of losses."""

from __future__ import annotations

import torch
from torch import Tensor


def make_pair(rows: int = 3, size: int = 12, share: float = 0.3) -> tuple[Tensor, Tensor]:
    """Random logits (rows, 1, size, size) and masks (rows, size, size), about ``share`` of it 1."""
    generator = torch.Generator().manual_seed(rows * 100 + size)
    logits = 3 * torch.randn(rows, 1, size, size, generator=generator)
    masks = (torch.rand(rows, size, size, generator=generator) < share).to(torch.uint8)
    return logits, masks
