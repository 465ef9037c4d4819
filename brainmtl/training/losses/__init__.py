"""Losses of the two tasks, over the samples that carry the annotation."""

from __future__ import annotations

from brainmtl.training.losses.classification import classification_loss
from brainmtl.training.losses.multitask import LossParts, MultiTaskLoss
from brainmtl.training.losses.segmentation import (
    DiceBCE,
    DiceFocal,
    DiceHausdorff,
    FocalTversky,
    focal_tversky_loss,
    hausdorff_loss,
    masked_bce_loss,
    masked_focal_loss,
    soft_dice_loss,
)

__all__ = [
    "DiceBCE",
    "DiceFocal",
    "DiceHausdorff",
    "FocalTversky",
    "LossParts",
    "MultiTaskLoss",
    "classification_loss",
    "focal_tversky_loss",
    "hausdorff_loss",
    "masked_bce_loss",
    "masked_focal_loss",
    "soft_dice_loss",
]
