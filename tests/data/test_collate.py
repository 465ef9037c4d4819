from __future__ import annotations

import torch

from brainmtl.data.loading.collate import IGNORE_INDEX, multitask_collate


def sample(mask: torch.Tensor | None, cls: int, name: str) -> dict:
    return {
        "image": torch.full((1, 8, 8), float(cls)),
        "mask": mask,
        "cls": cls,
        "has_label": cls >= 0,
        "source": "brats" if mask is not None else "kaggle",
        "has_mask": mask is not None,
        "image_id": name,
    }


def test_rows_without_mask_are_filled_with_ignore() -> None:
    mask = torch.eye(8, dtype=torch.uint8)
    batch = multitask_collate([sample(None, 1, "a"), sample(mask, 0, "b"), sample(mask, -1, "c")])
    assert batch["images"].shape == (3, 1, 8, 8) and batch["images"].dtype == torch.float32
    assert batch["masks"].dtype == torch.uint8
    assert (batch["masks"][0] == IGNORE_INDEX).all() and IGNORE_INDEX == 255
    assert torch.equal(batch["masks"][1], mask) and torch.equal(batch["masks"][2], mask)
    assert batch["cls_labels"].tolist() == [1, 0, -1] and batch["cls_labels"].dtype == torch.int64
    assert batch["has_labels"].tolist() == [True, True, False]
    assert batch["has_masks"].tolist() == [False, True, True]
    assert batch["has_masks"].dtype == batch["has_labels"].dtype == torch.bool
    assert batch["sources"] == ["kaggle", "brats", "brats"]
    assert batch["image_ids"] == ["a", "b", "c"]


def test_masks_are_none_when_no_row_has_one() -> None:
    batch = multitask_collate([sample(None, 1, "a"), sample(None, 0, "b")])
    assert batch["masks"] is None
    assert not batch["has_masks"].any()
