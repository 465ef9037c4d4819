"""Sources that the model was never trained on, and how to train without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def unseen_report(
    frame: pd.DataFrame, result: Mapping[str, Any], run: Mapping[str, Any]
) -> dict[str, Any]:
    """The figures of seen and unseen sources side by side, and per source the options that leave it out.

    Args:
        frame: rows of the manifest that show which sources have masks (train and test together).
        result: metrics.json; run: run.json with ``training_sources``.
    """
    trained = [str(name) for name in run["training_sources"]]
    return {
        "training_sources": trained,
        "unseen": sorted(set(result) - set(trained)),
        "figures": {
            source: {"seen": source in trained} | _figures(values)
            for source, values in result.items()
        },
        "without": {source: leave_out(frame, trained, source) for source in trained},
    }


def _figures(values: Mapping[str, Any]) -> dict[str, Any]:
    classification = values["classification"] or {}
    per_patient = (values["segmentation"] or {}).get("per_patient", {})
    return {
        "balanced_accuracy": classification.get("balanced_accuracy"),
        "roc_auc": classification.get("roc_auc"),
        "n_classification": classification.get("n", 0),
        "dice": per_patient.get("dice"),
        "n_patients": per_patient.get("n", 0),
    }


def leave_out(frame: pd.DataFrame, trained: Sequence[str], source: str) -> dict[str, Any]:
    """``options`` to add to the command of a training on ``trained``, which then does without ``source``;
    None with a reason.

    Sources with masks take the segmentation role, the others the classification role; where none of
    those is left, the sources with masks (whose labels follow from the masks) take both.
    """
    masks = frame.groupby(frame["source"].astype(str))["has_mask"].max()
    rest = [name for name in trained if name != source]
    absent = [name for name in rest if name not in masks.index]
    if absent:
        return {
            "options": None,
            "reason": f"{', '.join(absent)} is not in this data folder: its role is unknown",
        }
    seg = [name for name in rest if masks[name] > 0]
    cls = [name for name in rest if masks[name] == 0] or seg
    if not seg:
        return {"options": None, "reason": "no source with masks would be left to train on"}
    return {"options": f"'data.seg_sources=[{','.join(seg)}]' 'data.cls_sources=[{','.join(cls)}]'"}
