"""Losses against MONAI, torch and scikit-learn, and over samples without annotation."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from logits import make_pair
from monai.losses import DiceLoss
from sklearn.metrics import log_loss
from torch import Tensor
from torch.nn import functional as F

from brainmtl.errors import ConfigError
from brainmtl.models import MultiTaskOutput
from brainmtl.training.losses import (
    DiceBCE,
    MultiTaskLoss,
    classification_loss,
    focal_tversky_loss,
    masked_bce_loss,
    masked_focal_loss,
    soft_dice_loss,
)


@pytest.mark.parametrize("reduction", ["sample", "batch"])
@pytest.mark.parametrize("smooth", [1e-5, 1.0, 100.0])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("rows", [1, 4])
def test_dice_loss_is_that_of_monai(reduction: str, smooth: float, share: float, rows: int) -> None:
    logits, masks = make_pair(rows, share=share)
    monai = DiceLoss(sigmoid=True, smooth_nr=smooth, smooth_dr=smooth, batch=reduction == "batch")(
        logits, masks[:, None]
    )
    torch.testing.assert_close(soft_dice_loss(logits, masks, reduction, smooth), monai)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5])
def test_bce_loss_is_that_of_torch_and_scikit_learn(share: float) -> None:
    logits, masks = make_pair(share=share)
    ours = masked_bce_loss(logits, masks)
    torch.testing.assert_close(
        ours, F.binary_cross_entropy_with_logits(logits[:, 0], masks.float())
    )
    probability = torch.sigmoid(logits.double()).flatten().numpy()
    assert ours == pytest.approx(log_loss(masks.flatten().numpy(), probability, labels=[0, 1]))


@pytest.mark.parametrize(
    "loss", [soft_dice_loss, masked_bce_loss, focal_tversky_loss, masked_focal_loss]
)
def test_ignored_pixels_count_as_if_they_were_not_there(
    loss: Callable[..., Tensor],
) -> None:
    logits, masks = make_pair(rows=2, size=12)
    masks[:, :, 8:] = 255
    torch.testing.assert_close(loss(logits, masks), loss(logits[..., :8], masks[..., :8]))
    logits.requires_grad_()
    loss(logits, masks).backward()
    assert not logits.grad[..., 8:].any()
    assert logits.grad[..., :8].abs().min() > 0


def test_each_row_weighs_the_same_whatever_it_ignores() -> None:
    logits, masks = make_pair(rows=2)
    masks[1, 4:] = 255
    rows = [masked_bce_loss(logits[i : i + 1], masks[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(masked_bce_loss(logits, masks), torch.stack(rows).mean())


@pytest.mark.parametrize("reduction", ["sample", "batch"])
def test_empty_mask_has_a_defined_loss_and_gradient(reduction: str) -> None:
    masks = torch.zeros(2, 16, 16, dtype=torch.uint8)
    silent = torch.full((2, 1, 16, 16), -50.0)
    assert soft_dice_loss(silent, masks, reduction) == pytest.approx(0.0, abs=1e-6)
    logits = torch.zeros(2, 1, 16, 16, requires_grad=True)
    soft_dice_loss(logits, masks, reduction).backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad > 0).all()  # predicting less is better, everywhere


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("reduction", ["sample", "batch"])
def test_half_precision_logits_are_reduced_in_float32(dtype: torch.dtype, reduction: str) -> None:
    logits, masks = make_pair(rows=2, size=300, share=0.9)  # 81,000 > 65,504, float16's largest
    low = logits.to(dtype)
    for loss in (
        lambda x: soft_dice_loss(x, masks, reduction),
        lambda x: masked_bce_loss(x, masks),
    ):
        assert loss(low).dtype == torch.float32
        torch.testing.assert_close(loss(low), loss(low.float()), rtol=0, atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = soft_dice_loss(low, masks, reduction)
    torch.testing.assert_close(inside, soft_dice_loss(low.float(), masks, reduction))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [1.0, 1.0], [0.25, 4.0]])
def test_classification_loss_is_torchs_over_the_number_of_samples(
    smoothing: float, weights: list[float] | None
) -> None:
    logits, labels = torch.randn(7, 2), torch.tensor([0, 1, 1, 0, 1, 1, 1])
    weight = None if weights is None else torch.tensor(weights)
    reference = F.cross_entropy(logits, labels, weight, label_smoothing=smoothing, reduction="sum")
    torch.testing.assert_close(
        classification_loss(logits, labels, weight, smoothing), reference / 7
    )
    if weights == [1.0, 1.0] and not smoothing:
        probability = logits.double().softmax(1).numpy()
        assert (reference / 7).item() == pytest.approx(log_loss(labels.numpy(), probability))


def test_class_weights_act_also_in_a_batch_of_one_class() -> None:
    logits, labels = torch.randn(4, 2), torch.ones(4, dtype=torch.long)
    plain = classification_loss(logits, labels)
    torch.testing.assert_close(
        classification_loss(logits, labels, torch.tensor([1.0, 0.5])), 0.5 * plain
    )


def test_classification_loss_of_half_precision_is_float32() -> None:
    logits = torch.tensor([[0.0, 7.0]], dtype=torch.float16)
    loss = classification_loss(logits, torch.tensor([1]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log1p(math.exp(-7)), rel=1e-3)


def make_batch() -> tuple[MultiTaskOutput, dict]:
    """Rows 0 and 1 have masks (row 1 also a label), row 2 a label only, row 3 nothing."""
    logits, masks = make_pair(rows=4)
    masks[2:] = 255
    batch = {
        "masks": masks,
        "has_masks": torch.tensor([True, True, False, False]),
        "cls_labels": torch.tensor([-1, 1, 0, -1]),
        "has_labels": torch.tensor([False, True, True, False]),
    }
    return MultiTaskOutput(seg=logits, cls=torch.randn(4, 2)), batch


def test_multi_task_loss_is_the_weighted_sum_over_the_annotated_rows() -> None:
    output, batch = make_batch()
    parts = MultiTaskLoss(3.0, DiceBCE(dice_weight=0.2, bce_weight=0.7))(output, batch)
    seg = 0.2 * soft_dice_loss(output.seg[:2], batch["masks"][:2]) + 0.7 * masked_bce_loss(
        output.seg[:2], batch["masks"][:2]
    )
    cls = F.cross_entropy(output.cls[1:3], torch.tensor([1, 0]))
    torch.testing.assert_close(parts.seg, seg)
    torch.testing.assert_close(parts.cls, cls)
    torch.testing.assert_close(parts.total, seg + 3.0 * cls)
    assert (parts.seg_count, parts.cls_count) == (2, 2)


def test_rows_without_annotation_change_nothing_and_get_no_gradient() -> None:
    output, batch = make_batch()
    loss = MultiTaskLoss()
    fewer = {key: value[:3] for key, value in batch.items()}
    torch.testing.assert_close(
        loss(output, batch).total,
        loss(MultiTaskOutput(*(o[:3] for o in output)), fewer).total,
    )
    output.seg.requires_grad_()
    output.cls.requires_grad_()
    loss(output, batch).total.backward()
    assert output.seg.grad.flatten(1).any(1).tolist() == [True, True, False, False]
    assert output.cls.grad.any(1).tolist() == [False, True, True, False]


def test_a_row_whose_mask_is_ignored_throughout_is_not_counted() -> None:
    output, batch = make_batch()
    alone = MultiTaskLoss()(output, batch)
    batch["has_masks"] = torch.tensor([True, True, True, False])
    parts = MultiTaskLoss()(output, batch)
    assert parts.seg_count == 2
    torch.testing.assert_close(parts.seg, alone.seg)


@pytest.mark.parametrize("no_masks", ["none", "flags"])
@pytest.mark.parametrize("labelled", [True, False])
def test_a_task_without_annotation_is_none_and_the_total_stays_finite(
    no_masks: str, labelled: bool
) -> None:
    output, batch = make_batch()
    if no_masks == "none":
        batch["masks"] = None
    batch["has_masks"] = torch.zeros(4, dtype=torch.bool)
    if not labelled:
        batch["has_labels"] = torch.zeros(4, dtype=torch.bool)
    output.cls.requires_grad_()
    parts = MultiTaskLoss()(output, batch)
    assert parts.seg is None
    assert (parts.cls is not None) == labelled
    assert (parts.seg_count, parts.cls_count) == (0, 2 * labelled)
    parts.total.backward()
    assert torch.isfinite(parts.total)
    assert bool(output.cls.grad.any()) == labelled


@pytest.mark.parametrize("task", ["seg", "cls"])
def test_one_task_goes_on_after_a_batch_without_its_annotation(task: str) -> None:
    output, batch = make_batch()
    computed = getattr(output, task).requires_grad_()
    batch |= {key: torch.zeros(4, dtype=torch.bool) for key in ("has_masks", "has_labels")}
    parts = MultiTaskLoss()(MultiTaskOutput(None, None)._replace(**{task: computed}), batch)
    parts.total.backward()
    assert parts.total == 0
    assert not computed.grad.any()


def test_a_task_that_the_model_did_not_compute_is_none() -> None:
    output, batch = make_batch()
    loss = MultiTaskLoss()
    both = loss(output, batch)
    seg_only, cls_only = (
        loss(output._replace(cls=None), batch),
        loss(output._replace(seg=None), batch),
    )
    assert seg_only.cls is None
    assert cls_only.seg is None
    torch.testing.assert_close(seg_only.total, both.seg)
    torch.testing.assert_close(cls_only.total, both.cls)


def test_auto_class_weights_must_be_resolved_and_stay_out_of_the_checkpoint() -> None:
    output, batch = make_batch()
    loss = MultiTaskLoss(class_weights="auto")
    with pytest.raises(ConfigError, match=r"set_class_weights"):
        loss(output, batch)
    loss.set_class_weights([4 / 6, 4 / 2])
    weight = torch.tensor([4 / 6, 4 / 2])
    expected = F.cross_entropy(output.cls[1:3], torch.tensor([1, 0]), weight, reduction="sum") / 2
    torch.testing.assert_close(loss(output, batch).cls, expected)
    assert loss.state_dict() == {}
    assert loss.double().class_weights.dtype == torch.float64  # moves with the module


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lambda_cls": -1.0}, "lambda_cls=-1.0"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0"),
        ({"class_weights": "balanced"}, "'balanced': use auto"),
        ({"class_weights": [1.0, -1.0]}, "not negative"),
        ({"class_weights": [1.0, float("nan")]}, "finite"),
        ({"class_weights": [1.0]}, "give two, of no tumour and of tumour"),
        ({"class_weights": [1.0, 2.0, 1.0]}, "give two"),
    ],
)
def test_options_that_cannot_work_are_named(options: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        MultiTaskLoss(**options)
