"""Inputs of report and model card as the evaluation hands them over, with figures that differ.

Every float is a different number of thousandths, so that finding "0.137" in a report means that this
very figure was printed. The figures are not computed from the lines: what is tested here is that
they are shown, not that they are right.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, pairwise
from typing import Any

import numpy as np

RATES = ("accuracy", "sensitivity", "specificity", "precision", "f1", "prevalence")
INTERVALS = (
    *(
        f"classification.{k}"
        for k in ("balanced_accuracy", "accuracy", "sensitivity", "specificity")
    ),
    *(
        f"classification.{k}"
        for k in ("precision", "f1", "mcc", "roc_auc", "pr_auc", "brier", "ece")
    ),
    *(f"segmentation.{k}" for k in ("dice", "iou", "nsd", "boundary_f", "hd95", "pixel_accuracy")),
    *(f"segmentation.per_patient.{k}" for k in ("dice", "gated_dice", "iou", "nsd", "boundary_f")),
    *(f"segmentation.per_patient.{k}" for k in ("hd95", "pixel_accuracy", "volume_error_ml")),
    "segmentation.per_patient.absolute_volume_error_ml",
    *(f"segmentation.per_patient.bland_altman.{k}" for k in ("bias", "lower", "upper")),
    *(f"segmentation.per_patient.lesions.{k}" for k in ("sensitivity", "false_positives_per_case")),
    "segmentation.per_patient.empty.false_positive_rate",
    "segmentation.empty.false_positive_rate",
    "patient.sensitivity",
    "patient.specificity",
)


class Figures:
    """0.101, 0.102, ...: a new number each time."""

    def __init__(self, start: int = 101) -> None:
        self.thousandths: Iterator[int] = count(start)

    def __call__(self) -> float:
        return next(self.thousandths) / 1000

    def spread(self, *names: str) -> dict[str, float]:
        return {key: self() for name in names for key in (name, f"{name}_sd")}


def classification(f: Figures, threshold: float | None) -> dict[str, Any]:
    counts = {rate: [701 + k, 801 + k] for k, rate in enumerate(RATES)}
    fixed = {
        level: {"value": f(), "threshold": f(), "counts": [31, 41]} for level in ("0.90", "0.95")
    }
    names = (
        *RATES,
        "balanced_accuracy",
        "mcc",
        "roc_auc",
        "pr_auc",
        "majority_baseline",
        "brier",
        "ece",
    )
    edges = [k / 5 for k in range(6)]
    return {
        **{name: f() for name in names},
        "n": 149,
        "n_positive": 70,
        "n_negative": 79,
        "threshold": threshold,
        "confusion_matrix": [[61, 18], [9, 61]],
        "counts": counts | {"majority_baseline": [79, 149]},
        "sensitivity_at_specificity": fixed,
        "specificity_at_sensitivity": {
            level: {"value": f(), "threshold": f(), "counts": [32, 42]}
            for level in ("0.90", "0.95")
        },
        "reliability": [
            {"low": low, "high": high, "n": 29, "mean_probability": f(), "observed": f()}
            for low, high in pairwise(edges)
        ],
        "thresholds": [
            {
                "threshold": k / 10,
                "n": 149,
                **{rate: f() for rate in ("sensitivity", "specificity", "ppv", "npv")},
                "counts": {rate: [51, 52] for rate in ("sensitivity", "specificity", "ppv", "npv")},
            }
            for k in range(1, 10)
        ],
    }


def empty(f: Figures) -> dict[str, Any]:
    found = {"n": 17, "false_positive_rate": f(), "counts": [3, 17], "min_pixels": 5}
    return found | {"mean_predicted_pixels": 12.5}


def segmentation(f: Figures) -> dict[str, Any]:
    scores = ("dice", "iou", "nsd", "boundary_f", "hd95")
    common = {"hd95_n": 37, "hd95_missed": 4, "pixel_accuracy": f(), "n": 38}
    return {
        "threshold": 0.45,
        "grid": "prepared 256x256",
        **f.spread(*scores),
        **common,
        "distance_unit": "px",
        "tolerance": 3.0,
        "empty": empty(f),
        "per_patient": {
            "grid": "original",
            **f.spread(*scores, "gated_dice", "volume_error_ml"),
            **(common | {"pixel_accuracy": f(), "n": 6, "hd95_n": 5}),
            "n_cases": 8,
            "distance_unit": "mm",
            "tolerance": 2.0,
            "absolute_volume_error_ml": f(),
            "bland_altman": {"bias": f(), "lower": -f(), "upper": f(), "sd": f(), "n": 8},
            "lesions": {
                "reference": 11,
                "found": 9,
                "sensitivity": f(),
                "false_positive_components": 6,
                "false_positives_per_case": f(),
            },
            "empty": empty(f),
        },
    }


def source_values(f: Figures, *, synthetic: bool = False) -> dict[str, Any]:
    """One complete entry of metrics.json."""
    after = classification(f, 0.437)
    same = {key: after[key] for key in ("prevalence", "majority_baseline")}
    values = {
        "synthetic": synthetic,
        "n_images": 160,
        "classification": after,
        "uncalibrated": classification(f, 0.5) | same,
        "segmentation": segmentation(f),
        "patient": {
            "rule": "A patient is called ill when the predicted volume is larger than 0.25 ml.",
            "limit": 0.25,
            "unit": "ml",
            "n_positive": 6,
            "n_negative": 2,
            "sensitivity": f(),
            "specificity": f(),
            "counts": {"sensitivity": [5, 6], "specificity": [1, 2]},
        },
        "literature": {
            "note": "As in papers that pool all pixels: not comparable with the figures above.",
            "batch_pooled_dice": f(),
            "pooled_accuracy": f(),
            "combined_metric": f(),
        },
    }
    values["intervals"] = {
        key: {"low": f(), "high": f(), "method": "bca", "n": 8, "resamples": 2000}
        for key in INTERVALS
    }
    # A balanced accuracy well above a coin's: the report has nothing to warn of.
    values["intervals"]["classification.balanced_accuracy"] |= {"low": 0.861, "high": 0.948}
    return values


def rows(
    source: str, *, groups: int = 8, masks: bool = True, seed: int = 0
) -> list[dict[str, Any]]:
    """Lines of predictions.csv, 20 per group, labels -1, 0 and 1 among them."""
    rng = np.random.default_rng(seed)
    found = []
    for group in range(groups):
        for position in range(20):
            cls = (1, 0, 0, 1, -1)[position % 5]
            probability = float(np.clip(rng.normal(0.3 + 0.4 * (cls == 1), 0.2), 0, 1))
            found.append(
                {
                    "image_id": f"{source}_{group}_{position}",
                    "source": source,
                    "group": f"g{group}",
                    "cls": cls,
                    "probability": probability,
                    "calibrated": probability**1.2,
                    "call": int(probability**1.2 >= 0.437),
                    "reference_pixels": 100 if masks else None,
                    "case_id": f"{source}_{group}",
                    "position": position,
                }
            )
    return found


def cases(
    source: str, *, groups: int = 8, kind: str = "volume", seed: int = 0
) -> list[dict[str, Any]]:
    """Lines of cases.csv, one per group; the last has an empty reference. Pictures have no ml."""
    rng = np.random.default_rng(seed)
    found = []
    for group in range(groups):
        healthy = group == groups - 1 and groups > 1
        reference = 0.0 if healthy else float(rng.uniform(5, 80))
        predicted = float(max(0, reference + rng.normal(0, 6)))
        dice = None if healthy else float(rng.uniform(0.5, 0.95))
        millilitres = kind == "volume"
        found.append(
            {
                "source": source,
                "group": f"g{group}",
                "case_id": f"{source}_{group}",
                "kind": kind,
                "dice": dice,
                "gated_dice": dice and dice * 0.98,
                "predicted_ml": predicted if millilitres else None,
                "reference_ml": reference if millilitres else None,
                "volume_error_ml": predicted - reference if millilitres else None,
            }
        )
    return found


def run(result: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """run.json of an evaluation of ``result``."""
    return {
        "checkpoint": "outputs/joint/checkpoints/best.ckpt",
        "checkpoint_sha256": "c" * 64,
        "stage": "joint",
        "split": "test",
        "data_dir": "data/processed",
        "manifest_sha256": "d" * 64,
        "training_sources": ["brats"],
        "synthetic_training": False,
        "preprocessing_version": "2",
        "display_names": {
            name: f"{name} (synthetic)" if values["synthetic"] else name
            for name, values in result.items()
        },
        "device": "cpu",
        "precision": "32",
        "batch_size": 16,
        "seg_threshold": 0.45,
        "operating_point": {
            "fitted_on": "validation images of brats",
            "temperature": 1.625,
            "threshold": 0.437,
            "tta": "flip",
            "candidates": [
                {
                    "tta": tta,
                    "min_component_pixels": pixels,
                    "fill_holes": pixels > 0,
                    "dice": {"brats": 0.811 + pixels / 1000},
                    "mean": 0.812 + pixels / 1000,
                    "chosen": (tta, pixels) == ("flip", 20),
                }
                for tta in ("none", "flip")
                for pixels in (0, 20)
            ],
        },
        "seconds": dict.fromkeys(result, 12.5),
        "remarks": ["The data folder is not the one of training."],
        "folds": None,
    } | changes


def no_segmentation(values: dict[str, Any]) -> None:
    values |= {"segmentation": None, "patient": None, "literature": None}


def merged(values: dict[str, Any]) -> None:
    values["classification"]["threshold"] = None
    values["patient"] |= {"limit": None, "unit": None}
