"""From lines of predictions.csv and cases.csv to the entries of metrics.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from brainmtl.evaluation import metrics


def score_sources(
    rows: Sequence[dict[str, Any]],
    cases: Sequence[dict[str, Any]],
    cls_threshold: float = 0.5,
    seg_threshold: float = 0.5,
    min_pixels: int = 1,
) -> dict[str, dict[str, Any]]:
    """``metrics.json``: source -> :func:`source_metrics`, never pooled."""
    return {
        source: source_metrics(
            [row for row in rows if row["source"] == source],
            [case for case in cases if case["source"] == source],
            cls_threshold,
            seg_threshold,
            min_pixels,
        )
        for source in sorted({row["source"] for row in rows})
    }


def source_metrics(
    rows: Sequence[dict[str, Any]],
    cases: Sequence[dict[str, Any]],
    cls_threshold: float = 0.5,
    seg_threshold: float = 0.5,
    min_pixels: int = 1,
) -> dict[str, Any]:
    """One source's entry of ``metrics.json`` from its lines of predictions.csv and cases.csv.

    ``classification`` is None without labelled rows, ``segmentation`` without reference masks.
    """
    labelled = [row for row in rows if row["cls"] >= 0]
    masked = [row for row in rows if row["reference_pixels"] is not None]
    classification = segmentation = None
    if labelled:
        classification = metrics.classification_metrics(
            np.array([row["cls"] for row in labelled]),
            np.array([row["probability"] for row in labelled]),
            cls_threshold,
        )
    if masked:
        names = ("intersection_{}", "predicted_{}", "reference_{}")
        pixels = [tuple(row[name.format("pixels")] for name in names) for row in masked]
        voxels = [
            (str(case["group"]), tuple(case[name.format("voxels")] for name in names))
            for case in cases
        ]
        segmentation = {
            "threshold": float(seg_threshold),
            "grid": "prepared 256x256",
            **metrics.overlap_metrics(pixels, min_pixels),
            "per_patient": {"grid": "original", **metrics.patient_metrics(voxels, min_pixels)},
        }
    return {
        "synthetic": any(row["synthetic"] for row in rows),
        "n_images": len(rows),
        "classification": classification,
        "segmentation": segmentation,
    }
