"""Validation scores by source, gathered batch by batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from brainmtl.data.manifest import case_of
from brainmtl.evaluation.metrics import classification_metrics, dice_from_counts
from brainmtl.models.multitask import MultiTaskOutput

SEG_THRESHOLD = 0.5


class SourceScores:
    """Dice per case and classification figures of each source; empty again after :meth:`compute`."""

    def __init__(self) -> None:
        self._overlap: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
        self._labels: dict[str, list[int]] = defaultdict(list)
        self._scores: dict[str, list[float]] = defaultdict(list)

    def update(self, output: MultiTaskOutput, batch: Mapping[str, Any]) -> None:
        """Add a batch of ``multitask_collate``."""
        if output.seg is not None and batch["masks"] is not None:
            predicted = torch.sigmoid(output.seg[:, 0].float()) >= SEG_THRESHOLD
            true = batch["masks"] == 1
            counts = torch.stack(
                [(predicted & true).sum((1, 2)), predicted.sum((1, 2)), true.sum((1, 2))], 1
            )
            for k in torch.nonzero(batch["has_masks"]).flatten().tolist():
                cases = self._overlap[batch["sources"][k]]
                case = case_of(batch["image_ids"][k])
                cases[case] = cases.get(case, np.zeros(3, dtype=np.int64)) + counts[k].cpu().numpy()
        if output.cls is not None:
            probability = torch.softmax(output.cls.float(), dim=1)[:, 1].tolist()
            for k in torch.nonzero(batch["has_labels"]).flatten().tolist():
                self._labels[batch["sources"][k]].append(int(batch["cls_labels"][k]))
                self._scores[batch["sources"][k]].append(probability[k])

    def compute(self) -> dict[str, dict[str, float]]:
        """``{source: {"dice", "roc_auc", "balanced_accuracy"}}``, undefined values left out.

        Dice is the mean over the cases with tumour of 2 |P n R| / (|P| + |R|) over all prepared
        slices of the case (an image is a case of its own).
        """
        found: dict[str, dict[str, float]] = defaultdict(dict)
        for source, cases in self._overlap.items():
            values = [dice_from_counts(*counts.tolist()) for counts in cases.values()]
            defined = [value for value in values if value is not None]
            if defined:
                found[source]["dice"] = float(np.mean(defined))
        for source, labels in self._labels.items():
            figures = classification_metrics(np.array(labels), np.array(self._scores[source]))
            for name in ("roc_auc", "balanced_accuracy"):
                if figures[name] is not None:
                    found[source][name] = figures[name]
        self.__init__()
        return dict(found)


def role_means(
    found: Mapping[str, Mapping[str, float]],
    seg_sources: Sequence[str],
    cls_sources: Sequence[str],
    weights: tuple[float, float] = (0.5, 0.5),
) -> dict[str, float]:
    """The monitors: means over the sources of a role, never over their pooled samples.

    ``seg_dice`` over ``seg_sources``; ``cls_roc_auc`` and ``cls_balanced_accuracy`` over
    ``cls_sources``; ``combined`` = weights[0] * seg_dice + weights[1] * cls_balanced_accuracy. What
    is not defined for any source of its role is left out.
    """
    means = {}
    for name, key, sources in (
        ("seg_dice", "dice", seg_sources),
        ("cls_roc_auc", "roc_auc", cls_sources),
        ("cls_balanced_accuracy", "balanced_accuracy", cls_sources),
    ):
        values = [found[source][key] for source in sources if key in found.get(source, {})]
        if values:
            means[name] = float(np.mean(values))
    if {"seg_dice", "cls_balanced_accuracy"} <= set(means):
        means["combined"] = (
            weights[0] * means["seg_dice"] + weights[1] * means["cls_balanced_accuracy"]
        )
    return means
