"""Samples with and without mask or label into one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

IGNORE_INDEX = 255  # mask value of pixels that no loss and no metric may count


def multitask_collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Stack the sample dicts of :class:`brainmtl.data.loading.datasets.MultiSourceDataset`.

    Returns ``images`` (B, C, H, W) float32; ``masks`` (B, H, W) uint8 {0, 1}, rows without a mask
    filled with 255 (ignore), or None when no row has one; ``cls_labels`` (B,) int64, -1 without
    label; ``has_labels`` and ``has_masks`` (B,) bool; ``sources`` and ``image_ids`` lists of str.
    """
    has_masks = [sample["mask"] is not None for sample in samples]
    images = torch.stack([sample["image"] for sample in samples])
    masks = None
    if any(has_masks):
        masks = torch.full((len(samples), *images.shape[-2:]), IGNORE_INDEX, dtype=torch.uint8)
        for row, sample in zip(masks, samples, strict=True):
            if sample["mask"] is not None:
                row.copy_(sample["mask"])
    return {
        "images": images,
        "masks": masks,
        "cls_labels": torch.tensor([sample["cls"] for sample in samples], dtype=torch.int64),
        "has_labels": torch.tensor([sample["has_label"] for sample in samples], dtype=torch.bool),
        "has_masks": torch.tensor(has_masks, dtype=torch.bool),
        "sources": [sample["source"] for sample in samples],
        "image_ids": [sample["image_id"] for sample in samples],
    }
