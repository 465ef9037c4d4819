"""Losses of the two tasks, over the samples that carry the annotation.

MONAI's DiceCELoss does not fit: it knows no ignore value in a one-channel mask, and rows without a
mask would have to be cut out and weighed around it. The tests compare with MONAI's DiceLoss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainmtl.errors import ConfigError
from brainmtl.models.multitask import MultiTaskOutput

IGNORE = 255  # mask value of pixels, or whole rows, without annotation
DICE_REDUCTIONS = ("sample", "batch")


class LossParts(NamedTuple):
    """A loss and its parts; a part is None where no sample carries the annotation."""

    total: Tensor  # seg + lambda_cls * cls
    seg: Tensor | None
    cls: Tensor | None
    seg_count: int  # samples with a mask
    cls_count: int  # samples with a label


def soft_dice_loss(
    logits: Tensor, masks: Tensor, reduction: str = "batch", smooth: float = 1.0
) -> Tensor:
    """Return 1 - soft Dice, a scalar, of logits (B, 1, H, W) and masks (B, H, W) in {0, 1, 255}.

    Dice = (2 sum(p y) + smooth) / (sum(p) + sum(y) + smooth), p = sigmoid(logits), without the
    pixels of value 255. reduction="sample" averages the Dice loss of the rows; "batch" forms the
    sums over all rows at once (nnU-Net's batch Dice), so that a batch with empty and tiny masks
    keeps a useful gradient. `smooth` makes an empty mask well defined: 0 if nothing is predicted.
    """
    # float32: in float16 the sum over a 256x256 mask overflows (65504 < 65536), and in bfloat16
    # adding one pixel to a sum over 256 changes nothing
    probability, target, valid = _flatten(logits.float(), masks)
    probability = torch.sigmoid(probability) * valid
    axes = (0, 1) if reduction == "batch" else (1,)
    overlap = (probability * target).sum(axes)
    size = (probability + target).sum(axes)
    return 1 - ((2 * overlap + smooth) / (size + smooth)).mean()


def masked_bce_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the binary cross-entropy, averaged over the valid pixels of each row, then the rows.

    Shapes and the ignore value 255 as in `soft_dice_loss`.
    """
    logits, target, valid = _flatten(logits.float(), masks)  # float32: see soft_dice_loss
    per_pixel = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * valid
    return (per_pixel.sum(1) / valid.sum(1).clamp_min(1)).mean()


def classification_loss(
    logits: Tensor,
    labels: Tensor,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the cross-entropy of logits (B, K) and labels (B,), a scalar.

    The sum over the samples is divided by their number, not by the sum of their class weights as
    torch does: otherwise the weights would cancel in a batch of one class.
    """
    per_sample = F.cross_entropy(
        logits.float(),  # float32: the log-sum-exp of half precision logits loses small losses
        labels,
        weight=class_weights,
        label_smoothing=label_smoothing,
        reduction="none",
    )
    return per_sample.mean()


class MultiTaskLoss(nn.Module):
    """L = L_seg + lambda_cls * L_cls on a batch of `multitask_collate`.

    L_seg = dice_weight * Dice + bce_weight * BCE over the rows with a mask, L_cls = cross-entropy
    over the rows with a label. Each is a mean over the samples that carry the annotation, so that
    the share of the sources in a batch does not shift the balance of the tasks.

    class_weights: None, one weight per class, or "auto": to be set from the training labels with
    `set_class_weights` before the first use. ConfigError on values that cannot work.
    """

    def __init__(
        self,
        lambda_cls: float = 1.0,
        dice_weight: float = 0.5,
        bce_weight: float = 0.5,
        dice_reduction: str = "batch",
        dice_smooth: float = 1.0,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | str | None = None,
    ) -> None:
        super().__init__()
        _check_options(lambda_cls, dice_weight, bce_weight, dice_reduction, dice_smooth)
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"loss.label_smoothing={label_smoothing}: must lie in [0, 1)")
        self.lambda_cls = lambda_cls
        self.dice_weight = dice_weight
        self.bce_weight = bce_weight
        self.dice_reduction = dice_reduction
        self.dice_smooth = dice_smooth
        self.label_smoothing = label_smoothing
        self.class_weights: Tensor | None
        # not persistent: a checkpoint holds the model alone, the weights follow from the data
        self.register_buffer("class_weights", None, persistent=False)
        self.needs_class_weights = class_weights == "auto"
        if isinstance(class_weights, str) and not self.needs_class_weights:
            raise ConfigError(
                f"loss.class_weights={class_weights!r}: use auto, null or a list such as [1.0,1.0]"
            )
        if class_weights is not None and not self.needs_class_weights:
            self.set_class_weights(class_weights)

    def set_class_weights(self, weights: Sequence[float] | Tensor | None) -> None:
        """Set one weight per class (None: all 1); see `MultiTaskDataModule.class_weights`."""
        self.needs_class_weights = False
        if weights is None:
            self.class_weights = None
            return
        tensor = torch.as_tensor(weights, dtype=torch.float32)
        if tensor.ndim != 1 or not bool(((tensor >= 0) & torch.isfinite(tensor)).all()):
            raise ConfigError(
                f"loss.class_weights={tensor.tolist()}: must be finite and not negative"
            )
        self.class_weights = tensor

    def forward(self, output: MultiTaskOutput, batch: Mapping[str, Any]) -> LossParts:
        """Return the loss of the tasks that the model computed and the batch has annotations of.

        Where the batch has none at all, the total is 0 with a gradient of 0.
        """
        seg, seg_count = self._segmentation(output, batch)
        cls, cls_count = self._classification(output, batch)
        terms = [seg] if seg is not None else []
        if cls is not None:
            terms.append(self.lambda_cls * cls)
        if not terms:  # stays in the graph, so that backward() works in every step
            terms = [0.0 * out.float().sum() for out in output if out is not None]
        return LossParts(torch.stack(terms).sum(), seg, cls, seg_count, cls_count)

    def _segmentation(
        self, output: MultiTaskOutput, batch: Mapping[str, Any]
    ) -> tuple[Tensor | None, int]:
        masks = batch["masks"]
        if output.seg is None or masks is None:
            return None, 0
        rows = batch["has_masks"] & (masks != IGNORE).flatten(1).any(dim=1)
        count = int(rows.sum())
        if count == 0:
            return None, 0
        logits, masks = output.seg[rows], masks[rows]
        dice = soft_dice_loss(logits, masks, self.dice_reduction, self.dice_smooth)
        return self.dice_weight * dice + self.bce_weight * masked_bce_loss(logits, masks), count

    def _classification(
        self, output: MultiTaskOutput, batch: Mapping[str, Any]
    ) -> tuple[Tensor | None, int]:
        rows = batch["has_labels"]
        count = int(rows.sum())
        if output.cls is None or count == 0:
            return None, 0
        if self.needs_class_weights:
            raise ConfigError(
                "loss.class_weights=auto was not resolved: call set_class_weights(...) with the"
                " weights of the training labels, or set loss.class_weights=null"
            )
        labels = batch["cls_labels"][rows]
        loss = classification_loss(
            output.cls[rows], labels, self.class_weights, self.label_smoothing
        )
        return loss, count


def _flatten(logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits, target (0 where invalid) and validity as float (B, H * W)."""
    flat = masks.flatten(1)
    return (
        logits.flatten(1),
        (flat == 1).to(logits.dtype),
        (flat != IGNORE).to(logits.dtype),
    )


def _check_options(
    lambda_cls: float,
    dice_weight: float,
    bce_weight: float,
    reduction: str,
    smooth: float,
) -> None:
    if min(lambda_cls, dice_weight, bce_weight) < 0 or dice_weight + bce_weight == 0:
        raise ConfigError(
            f"loss.lambda_cls={lambda_cls}, dice_weight={dice_weight}, bce_weight={bce_weight}:"
            " none may be negative, and dice_weight or bce_weight must be positive"
        )
    if reduction not in DICE_REDUCTIONS:
        raise ConfigError(f"loss.dice_reduction={reduction!r}: use {' or '.join(DICE_REDUCTIONS)}")
    if smooth <= 0:
        raise ConfigError(
            f"loss.dice_smooth={smooth}: must be positive, or an empty mask divides by zero"
        )
