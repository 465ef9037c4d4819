"""The loss of the classification head."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


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
