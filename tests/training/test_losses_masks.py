"""The other losses of the mask against MONAI, or against a formula spelled out in numpy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from logits import make_pair
from monai.losses import (
    DiceFocalLoss,
    FocalLoss,
    HausdorffDTLoss,
    LogHausdorffDTLoss,
    TverskyLoss,
)
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from brainmtl.errors import ConfigError
from brainmtl.models import MultiTaskOutput
from brainmtl.training.losses import (
    DiceBCE,
    DiceFocal,
    DiceHausdorff,
    FocalTversky,
    MultiTaskLoss,
    focal_tversky_loss,
    hausdorff_loss,
    masked_bce_loss,
    masked_focal_loss,
    soft_dice_loss,
)

SHARES = [0.0, 0.05, 0.5, 1.0]  # 0: an empty mask, 1: a full one
LOSSES = [focal_tversky_loss, masked_focal_loss, hausdorff_loss]
CHOICES = [DiceBCE, DiceFocal, FocalTversky, DiceHausdorff]


@pytest.mark.parametrize("reduction", ["sample", "batch"])
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("weights", [(0.3, 0.7), (0.5, 0.5), (0.9, 0.0)])
def test_tversky_is_that_of_monai(
    reduction: str, share: float, weights: tuple[float, float]
) -> None:
    logits, masks = make_pair(share=share)
    monai = TverskyLoss(
        sigmoid=True,
        alpha=weights[0],
        beta=weights[1],
        smooth_nr=1.0,
        smooth_dr=1.0,
        batch=reduction == "batch",
    )(logits, masks[:, None].float())
    torch.testing.assert_close(focal_tversky_loss(logits, masks, *weights, 1.0, reduction), monai)


def test_tversky_of_equal_weights_is_dice() -> None:
    logits, masks = make_pair()
    torch.testing.assert_close(
        focal_tversky_loss(logits, masks, 0.5, 0.5, 1.0, smooth=0.5),
        soft_dice_loss(logits, masks, smooth=1.0),
    )


def test_focal_tversky_by_hand() -> None:
    """One row of p = (1, 0, 1, 0) and y = (1, 1, 0, 0): T = (1 + 1) / (1 + 0.3 + 0.7 + 1) = 2/3."""
    logits = torch.tensor([40.0, -40.0, 40.0, -40.0]).view(1, 1, 2, 2)
    masks = torch.tensor([1, 1, 0, 0], dtype=torch.uint8).view(1, 2, 2)
    assert float(focal_tversky_loss(logits, masks)) == pytest.approx((1 / 3) ** 0.75, rel=1e-5)
    # a missed pixel costs more than a false one
    missed = torch.tensor([40.0, -40.0, -40.0, -40.0]).view(1, 1, 2, 2)
    false = torch.tensor([40.0, 40.0, 40.0, -40.0]).view(1, 1, 2, 2)
    assert focal_tversky_loss(missed, masks) > focal_tversky_loss(false, masks)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("share", SHARES)
def test_focal_is_that_of_monai_and_of_the_formula(
    gamma: float, alpha: float | None, share: float
) -> None:
    logits, masks = make_pair(share=share)
    ours = masked_focal_loss(logits, masks, gamma, alpha)
    monai = FocalLoss(gamma=gamma, alpha=alpha)(logits, masks[:, None].float())
    torch.testing.assert_close(ours, monai)
    p, y = torch.sigmoid(logits[:, 0].double()).numpy(), masks.numpy()
    true = np.where(y == 1, p, 1 - p)
    factor = 1.0 if alpha is None else np.where(y == 1, alpha, 1 - alpha)
    assert float(ours) == pytest.approx(np.mean(-factor * (1 - true) ** gamma * np.log(true)))
    if gamma == 0 and alpha is None:
        torch.testing.assert_close(ours, masked_bce_loss(logits, masks))


@pytest.mark.parametrize("reduction", ["sample", "batch"])
@pytest.mark.parametrize("share", SHARES)
def test_dice_focal_is_that_of_monai(reduction: str, share: float) -> None:
    logits, masks = make_pair(share=share)
    monai = DiceFocalLoss(
        sigmoid=True,
        smooth_nr=1.0,
        smooth_dr=1.0,
        batch=reduction == "batch",
        gamma=2.0,
        lambda_dice=0.3,
        lambda_focal=0.7,
    )(logits, masks[:, None].float())
    torch.testing.assert_close(DiceFocal(0.3, 0.7, reduction=reduction)(logits, masks), monai)


def contour_distance(region: np.ndarray) -> np.ndarray:
    """Distance to the other side; 0 where there is one side only."""
    if region.all() or not region.any():
        return np.zeros(region.shape)
    return distance_transform_edt(region) + distance_transform_edt(~region)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("exponent", [1.0, 2.0])
def test_hausdorff_is_that_of_monai_and_of_the_formula(share: float, exponent: float) -> None:
    logits, masks = make_pair(share=share)
    ours = hausdorff_loss(logits, masks, exponent)
    rows = [
        LogHausdorffDTLoss(alpha=exponent, include_background=True, sigmoid=True)(
            logits[k : k + 1], masks[k : k + 1, None].float()
        )
        for k in range(len(masks))
    ]
    torch.testing.assert_close(ours, torch.stack(rows).mean())
    expected = []
    for logit, mask in zip(logits[:, 0].double(), masks.numpy() == 1, strict=True):
        p = torch.sigmoid(logit).numpy()
        distance = contour_distance(p > 0.5) ** exponent + contour_distance(mask) ** exponent
        expected.append(math.log1p(np.mean((p - mask) ** 2 * distance)))
    assert float(ours) == pytest.approx(np.mean(expected), rel=1e-5)


def test_hausdorff_prefers_the_near_error() -> None:
    """Two false alarms of one size, near the tumour and far from it: Dice cannot tell them apart."""
    masks = torch.zeros(1, 64, 64, dtype=torch.uint8)
    masks[:, 8:16, 8:16] = 1
    near, far = (torch.where(masks[:, None] == 1, 9.0, -9.0) for _ in range(2))
    near[..., 8:16, 18:22] = 9.0
    far[..., 50:58, 50:54] = 9.0
    torch.testing.assert_close(soft_dice_loss(near, masks), soft_dice_loss(far, masks))
    assert hausdorff_loss(far, masks) > 2 * hausdorff_loss(near, masks)


def test_ignored_pixels_are_background_to_the_distances_and_err_nowhere() -> None:
    logits, masks = make_pair(rows=2, size=12)
    masks[:, :, 8:] = 255
    background = torch.where(masks == 255, 0, masks)
    silent = logits.clone()
    silent[..., 8:] = -200.0
    per_row = HausdorffDTLoss(include_background=True, sigmoid=True, reduction="none")(
        silent, background[:, None].float()
    ).flatten()
    expected = torch.log1p(per_row * 12 / 8).mean()  # over the valid pixels, 8 of 12 columns
    torch.testing.assert_close(hausdorff_loss(logits, masks), expected)
    logits.requires_grad_()
    hausdorff_loss(logits, masks).backward()
    assert not logits.grad[..., 8:].any()


@pytest.mark.parametrize("loss", [masked_focal_loss, hausdorff_loss])
def test_each_row_weighs_the_same_whatever_it_ignores(loss: Callable[..., Tensor]) -> None:
    logits, masks = make_pair(rows=2)
    masks[1, 4:] = 255
    rows = [loss(logits[k : k + 1], masks[k : k + 1]) for k in range(2)]
    torch.testing.assert_close(loss(logits, masks), torch.stack(rows).mean())


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("value", [0, 1])
def test_empty_and_full_masks_have_a_loss_near_zero_and_a_gradient(
    choice: type[torch.nn.Module], value: int
) -> None:
    """Predicted right, the loss is 0 and its gradient finite; undecided, it points to the mask."""
    loss = choice()
    masks = torch.full((2, 16, 16), value, dtype=torch.uint8)
    sign = 1.0 if value else -1.0
    certain = torch.full((2, 1, 16, 16), sign * 50.0, requires_grad=True)
    found = loss(certain, masks)
    found.backward()
    assert float(found.detach()) == pytest.approx(0.0, abs=1e-4)
    assert torch.isfinite(certain.grad).all()
    undecided = torch.zeros(2, 1, 16, 16, requires_grad=True)
    loss(undecided, masks).backward()
    assert torch.isfinite(undecided.grad).all()
    assert (sign * undecided.grad < 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_logits_are_reduced_in_float32(
    dtype: torch.dtype, loss: Callable[..., Tensor]
) -> None:
    logits, masks = make_pair(rows=2, size=300, share=0.9)  # 81,000 > 65,504, float16's largest
    low = logits.to(dtype)
    assert loss(low, masks).dtype == torch.float32
    torch.testing.assert_close(loss(low, masks), loss(low.float(), masks), rtol=0, atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(low, masks)
    torch.testing.assert_close(inside, loss(low.float(), masks))


@pytest.mark.parametrize("choice", CHOICES)
def test_rows_without_a_mask_change_nothing_and_get_no_gradient(
    choice: type[torch.nn.Module],
) -> None:
    """What `MultiTaskLoss` hands on are the rows with a mask, whatever the loss of the mask."""
    logits, masks = make_pair(rows=3)
    masks[2] = 255
    batch = {
        "masks": masks,
        "has_masks": torch.tensor([True, True, False]),
        "cls_labels": torch.full((3,), -1),
        "has_labels": torch.zeros(3, dtype=torch.bool),
    }
    logits.requires_grad_()
    parts = MultiTaskLoss(segmentation=choice())(MultiTaskOutput(seg=logits, cls=None), batch)
    torch.testing.assert_close(parts.seg, choice()(logits[:2], masks[:2]))
    parts.total.backward()
    assert logits.grad.flatten(1).any(1).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: DiceBCE(0.0, 0.0), r"dice_weight=0\.0, bce_weight=0\.0.*one must be positive"),
        (lambda: DiceBCE(reduction="row"), "'row': use sample or batch"),
        (lambda: DiceBCE(smooth=0.0), r"smooth=0\.0"),
        (lambda: DiceFocal(gamma=-1.0), r"gamma=-1\.0"),
        (lambda: DiceFocal(alpha=1.5), r"alpha=1\.5"),
        (lambda: DiceFocal(dice_weight=-1.0), r"dice_weight=-1\.0"),
        (lambda: FocalTversky(reduction="row"), "'row': use sample or batch"),
        (lambda: FocalTversky(false_negatives=-0.1), r"false_negatives=-0\.1"),
        (lambda: FocalTversky(gamma=0.75), r"gamma=0\.75"),
        (lambda: DiceHausdorff(exponent=0.0), r"exponent=0\.0"),
        (lambda: DiceHausdorff(dice_weight=-1.0), r"dice_weight=-1\.0"),
        (lambda: DiceHausdorff(boundary_weight=-1.0), r"boundary_weight=-1\.0"),
    ],
)
def test_options_that_cannot_work_are_named(build: Callable[[], object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build()
