"""Where the classification looks: shares of the heat of LayerCAM outside the head and in the tumour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.evaluation.metrics import ratio
from brainmtl.evaluation.shortcuts.images import at_most, sample_batches
from brainmtl.inference.gradcam import head_mask, heat_shares, layercam

if TYPE_CHECKING:
    import pandas as pd

    from brainmtl.models.multitask import MultiTaskModel


def heat_report(
    model: MultiTaskModel,
    data_dir: str | Path,
    test: pd.DataFrame,
    rows: Sequence[Mapping[str, Any]],
    *,
    limit: int,
    progress: bool = True,
) -> dict[str, Any]:
    """Per source, means over images ``called`` tumour and over images with ``tumour`` by label.

    ``outside_head``: mean share of the heat outside the head, ``n`` images; beside it
    ``flat_outside_head``, what a map without any preference would have there. ``inside_tumour``,
    ``flat_inside_tumour`` and ``pointing`` (is the hottest point in the tumour) over the
    ``n_with_mask`` images whose mask shows a tumour. ``n_without_heat`` maps are 0 everywhere and
    enter no mean. At most ``limit`` images of each source are looked at.
    """
    called = {(row["source"], row["image_id"]) for row in rows if row["call"] == 1}
    keys = zip(test["source"].astype(str), test["image_id"].astype(str), strict=True)
    wanted = np.array([key in called for key in keys], dtype=bool) | (test["label"] == 1).to_numpy()
    lines: list[dict[str, Any]] = []
    if wanted.any():
        part = at_most(test[wanted], limit)
        for batch in sample_batches(data_dir, part, text="heat maps", progress=progress):
            lines += _lines(model, *batch, called)
    return {
        source: {
            "called": _means([line for line in own if line["called"]], "no image called tumour"),
            "tumour": _means([line for line in own if line["tumour"]], "no image with tumour"),
        }
        for source in sorted(set(test["source"].astype(str)))
        for own in [[line for line in lines if line["source"] == source]]
    }


def _lines(
    model: MultiTaskModel, rows: Sequence[Any], samples: Sequence[Any], called: set[tuple[str, str]]
) -> list[dict[str, Any]]:
    import torch

    device = next(model.parameters()).device
    images = torch.from_numpy(np.stack([sample.image for sample in samples])).to(device)
    maps = layercam(model, images).cpu().numpy()
    lines = []
    for row, sample, heat in zip(rows, samples, maps, strict=True):
        tumour = None if sample.mask is None or not sample.mask.any() else sample.mask > 0
        head = head_mask(sample.image)
        shares = heat_shares(heat, head, tumour)
        lines.append(
            {
                "source": str(row.source),
                "called": (str(row.source), str(row.image_id)) in called,
                "tumour": int(row.label) == 1,
                "flat_outside_head": 1 - float(head.mean()),
                "flat_inside_tumour": None if tumour is None else float(tumour.mean()),
                **shares._asdict(),
            }
        )
    return lines


def _means(lines: Sequence[dict[str, Any]], reason: str) -> dict[str, Any]:
    warm = [line for line in lines if line["outside_head"] is not None]
    masked = [line for line in warm if line["inside_tumour"] is not None]
    hits = sum(line["pointing_hit"] for line in masked)
    found = {
        "n": len(warm),
        "n_without_heat": len(lines) - len(warm),
        "outside_head": _mean(warm, "outside_head"),
        "flat_outside_head": _mean(warm, "flat_outside_head"),
        "n_with_mask": len(masked),
        "inside_tumour": _mean(masked, "inside_tumour"),
        "flat_inside_tumour": _mean(masked, "flat_inside_tumour"),
        "pointing": {"rate": ratio(hits, len(masked)), "counts": [int(hits), len(masked)]},
    }
    return found if lines else found | {"reason": reason}


def _mean(lines: Sequence[dict[str, Any]], name: str) -> float | None:
    return float(np.mean([line[name] for line in lines])) if lines else None
