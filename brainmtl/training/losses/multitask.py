"""The losses of both tasks on one batch, each over the samples that carry its annotation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from brainmtl.errors import ConfigError
from brainmtl.models.multitask import MultiTaskOutput
from brainmtl.training.losses.classification import classification_loss
from brainmtl.training.losses.segmentation import IGNORE, DiceBCE


class LossParts(NamedTuple):
    """A loss and its parts; a part is None where no sample carries the annotation."""

    total: Tensor  # seg + lambda_cls * cls, or what a strategy of brainmtl.training.balance makes
    seg: Tensor | None
    cls: Tensor | None
    seg_count: int  # samples with a mask
    cls_count: int  # samples with a label


class MultiTaskLoss(nn.Module):
    """L = L_seg + lambda_cls * L_cls on a batch of `multitask_collate`.

    L_seg = `segmentation` (default: `DiceBCE`) over the rows with a mask, L_cls = cross-entropy over
    the rows with a label. Each is a mean over the samples that carry the annotation, so that the
    share of the sources in a batch does not shift the balance of the tasks. Where the model computes
    the classification alone, there is nothing to weigh and L = L_cls.

    class_weights: None, one weight per class, or "auto": to be set from the training labels with
    `set_class_weights` before the first use. ConfigError on values that cannot work.
    """

    def __init__(
        self,
        lambda_cls: float = 1.0,
        segmentation: nn.Module | None = None,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | str | None = None,
    ) -> None:
        super().__init__()
        if lambda_cls < 0:
            raise ConfigError(f"loss.lambda_cls={lambda_cls}: must not be negative")
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"loss.label_smoothing={label_smoothing}: must lie in [0, 1)")
        self.lambda_cls = lambda_cls
        self.segmentation = DiceBCE() if segmentation is None else segmentation
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
        if len(tensor) != 2:
            raise ConfigError(
                f"loss.class_weights={tensor.tolist()}: give two, of no tumour and of tumour"
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
            # by what the model computed, not by this batch: a batch without masks of a stage of
            # both tasks is weighed as every other batch of it
            terms.append(cls if output.seg is None else self.lambda_cls * cls)
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
        return self.segmentation(output.seg[rows], masks[rows]), count

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
