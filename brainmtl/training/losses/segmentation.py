"""Losses of the mask: pure functions, and the choices of ``conf/loss`` made of them.

Everywhere logits are (B, 1, H, W), masks (B, H, W) in {0, 1, 255}, and pixels of value 255 count as
if they were not there. MONAI's own losses know no ignored pixels that leave the weight of a row as
it is, so its formulas are fed with what is valid; the tests compare with its losses where nothing
is ignored.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainmtl.errors import ConfigError

IGNORE = 255  # mask value of pixels, or whole rows, without annotation
REDUCTIONS = ("sample", "batch")


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
    """Return the binary cross-entropy, averaged over the valid pixels of each row, then the rows."""
    logits, target, valid = _flatten(logits.float(), masks)  # float32: see soft_dice_loss
    per_pixel = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * valid
    return _mean_of_rows(per_pixel, valid)


def masked_focal_loss(
    logits: Tensor, masks: Tensor, gamma: float = 2.0, alpha: float | None = None
) -> Tensor:
    """Return the focal loss (Lin et al. 2017), averaged as `masked_bce_loss` is.

    -a (1 - p_t)^gamma log(p_t) per pixel, p_t the probability of the true class; a = alpha for
    tumour and 1 - alpha for the rest, or 1 for both where alpha is None.
    """
    from monai.losses import FocalLoss

    logits, target, valid = _flatten(logits.float(), masks)  # float32: see soft_dice_loss
    focal = FocalLoss(gamma=gamma, alpha=alpha, reduction="none")
    per_pixel = focal(logits[:, None], target[:, None])[:, 0] * valid
    return _mean_of_rows(per_pixel, valid)


def focal_tversky_loss(
    logits: Tensor,
    masks: Tensor,
    false_positives: float = 0.3,
    false_negatives: float = 0.7,
    gamma: float = 4 / 3,
    reduction: str = "batch",
    smooth: float = 1.0,
) -> Tensor:
    """Return (1 - T)^(1 / gamma) (Abraham and Khan 2019), reduced as `soft_dice_loss` is.

    T = (TP + smooth) / (TP + false_positives FP + false_negatives FN + smooth), of soft counts; with
    both weights at 0.5 and smooth halved it is Dice. gamma > 1 keeps the gradient of a T near 1.
    """
    from monai.losses import TverskyLoss

    probability, target, valid = _flatten(logits.float(), masks)  # float32: see soft_dice_loss
    tversky = TverskyLoss(
        alpha=false_positives,
        beta=false_negatives,
        smooth_nr=smooth,
        smooth_dr=smooth,
        batch=reduction == "batch",
        reduction="none",
    )
    # An ignored pixel with p = y = 0 is in none of the three counts.
    missing = tversky((torch.sigmoid(probability) * valid)[:, None], target[:, None])
    # The root's slope is infinite at 0, where an empty mask with nothing predicted would divide 0 by 0.
    return missing.clamp_min(1e-6).pow(1 / gamma).mean()


def hausdorff_loss(logits: Tensor, masks: Tensor, exponent: float = 2.0) -> Tensor:
    """Return the mean over the rows of log(1 + H), H the distance-transform Hausdorff loss.

    H = mean over the valid pixels of (p - y)^2 (d_p^exponent + d_y^exponent), d the distance in
    pixels to the contour of the prediction (p > 0.5) and of the mask; 0 where a row has no contour
    (Karimi and Salcudean 2019). The logarithm keeps a far false alarm, whose squared distance is in
    the thousands, from drowning every other term. Ignored pixels are background to the distances.
    """
    from monai.losses import HausdorffDTLoss

    height, width = masks.shape[-2:]
    # float32: see soft_dice_loss
    probability, target, valid = (
        value.view(-1, 1, height, width) for value in _flatten(logits.float(), masks)
    )
    # include_background: the one channel is the tumour, and without it MONAI warns at every step
    hausdorff = HausdorffDTLoss(alpha=exponent, include_background=True, reduction="none")
    per_row = hausdorff(torch.sigmoid(probability) * valid, target).flatten()
    share = valid.flatten(1).mean(1).clamp_min(1 / (height * width))
    return torch.log1p(per_row / share).mean()


class _DiceAnd(nn.Module):
    """dice_weight * soft Dice loss + the summand that a subclass adds."""

    def __init__(self, dice_weight: float, reduction: str, smooth: float) -> None:
        super().__init__()
        _check_overlap(reduction, smooth)
        self.dice_weight, self.reduction, self.smooth = dice_weight, reduction, smooth

    def summand(self, logits: Tensor, masks: Tensor) -> Tensor:
        """What is added to Dice, weighted: a scalar."""
        raise NotImplementedError

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Return the loss of logits (B, 1, H, W) and masks (B, H, W), a scalar."""
        dice = soft_dice_loss(logits, masks, self.reduction, self.smooth)
        return self.dice_weight * dice + self.summand(logits, masks)


class DiceBCE(_DiceAnd):
    """dice_weight * soft Dice loss + bce_weight * cross-entropy."""

    def __init__(
        self,
        dice_weight: float = 0.5,
        bce_weight: float = 0.5,
        reduction: str = "batch",
        smooth: float = 1.0,
    ) -> None:
        _check_weights(dice_weight=dice_weight, bce_weight=bce_weight)
        super().__init__(dice_weight, reduction, smooth)
        self.bce_weight = bce_weight

    def summand(self, logits: Tensor, masks: Tensor) -> Tensor:
        """bce_weight * `masked_bce_loss`."""
        return self.bce_weight * masked_bce_loss(logits, masks)


class DiceFocal(_DiceAnd):
    """dice_weight * soft Dice loss + focal_weight * focal loss."""

    def __init__(
        self,
        dice_weight: float = 0.5,
        focal_weight: float = 0.5,
        gamma: float = 2.0,
        alpha: float | None = None,
        reduction: str = "batch",
        smooth: float = 1.0,
    ) -> None:
        _check_weights(dice_weight=dice_weight, focal_weight=focal_weight)
        super().__init__(dice_weight, reduction, smooth)
        if gamma < 0 or not (alpha is None or 0 <= alpha <= 1):
            raise ConfigError(
                f"loss.segmentation gamma={gamma}, alpha={alpha}: gamma must be 0 or more, alpha null"
                " or within [0, 1]"
            )
        self.focal_weight, self.gamma, self.alpha = focal_weight, gamma, alpha

    def summand(self, logits: Tensor, masks: Tensor) -> Tensor:
        """focal_weight * `masked_focal_loss`."""
        return self.focal_weight * masked_focal_loss(logits, masks, self.gamma, self.alpha)


class DiceHausdorff(_DiceAnd):
    """dice_weight * soft Dice loss + boundary_weight * `hausdorff_loss`."""

    def __init__(
        self,
        dice_weight: float = 0.5,
        boundary_weight: float = 0.5,
        exponent: float = 2.0,
        reduction: str = "batch",
        smooth: float = 1.0,
    ) -> None:
        _check_weights(dice_weight=dice_weight, boundary_weight=boundary_weight)
        super().__init__(dice_weight, reduction, smooth)
        if not exponent > 0:
            raise ConfigError(f"loss.segmentation.exponent={exponent}: must be positive, e.g. 2")
        self.boundary_weight, self.exponent = boundary_weight, exponent

    def summand(self, logits: Tensor, masks: Tensor) -> Tensor:
        """boundary_weight * `hausdorff_loss`."""
        return self.boundary_weight * hausdorff_loss(logits, masks, self.exponent)


class FocalTversky(nn.Module):
    """`focal_tversky_loss` with its options."""

    def __init__(
        self,
        false_positives: float = 0.3,
        false_negatives: float = 0.7,
        gamma: float = 4 / 3,
        reduction: str = "batch",
        smooth: float = 1.0,
    ) -> None:
        super().__init__()
        _check_weights(false_positives=false_positives, false_negatives=false_negatives)
        _check_overlap(reduction, smooth)
        if not gamma >= 1:
            raise ConfigError(
                f"loss.segmentation.gamma={gamma}: must be 1 (plain Tversky loss) or more"
            )
        self.options = (false_positives, false_negatives, gamma, reduction, smooth)

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Return the loss of logits (B, 1, H, W) and masks (B, H, W), a scalar."""
        return focal_tversky_loss(logits, masks, *self.options)


def _mean_of_rows(per_pixel: Tensor, valid: Tensor) -> Tensor:
    """Mean over the valid pixels of each row (B, H * W), then over the rows."""
    return (per_pixel.sum(1) / valid.sum(1).clamp_min(1)).mean()


def _flatten(logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits, target (0 where invalid) and validity as float (B, H * W)."""
    flat = masks.flatten(1)
    return (
        logits.flatten(1),
        (flat == 1).to(logits.dtype),
        (flat != IGNORE).to(logits.dtype),
    )


def _check_weights(**weights: float) -> None:
    if min(weights.values()) < 0 or sum(weights.values()) == 0:
        given = ", ".join(f"{name}={value}" for name, value in weights.items())
        raise ConfigError(
            f"loss.segmentation {given}: none may be negative, and one must be positive"
        )


def _check_overlap(reduction: str, smooth: float) -> None:
    if reduction not in REDUCTIONS:
        raise ConfigError(
            f"loss.segmentation.reduction={reduction!r}: use {' or '.join(REDUCTIONS)}"
        )
    if smooth <= 0:
        raise ConfigError(
            f"loss.segmentation.smooth={smooth}: must be positive, or an empty mask divides by zero"
        )
