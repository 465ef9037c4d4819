"""Lines of predictions.csv and cases.csv as an evaluation writes them, drawn at random.

`volumes`: patients with several slices and one or two volumes, some healthy. `pictures`: labelled
pictures without masks, one or several per duplicate group. ``skill`` shifts probabilities and
overlaps; the same ``seed`` gives the same cases with the same references whatever the skill.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Lines = list[dict[str, Any]]
AREA = 256 * 256
SLICE_ML = 0.006  # of a pixel


def volumes(
    source: str, patients: int, slices: int = 8, *, seed: int = 0, skill: float = 1.0
) -> tuple[Lines, Lines]:
    """(rows, cases) of a source with masks; every fifth patient is healthy, every third has two."""
    draw, noise = np.random.default_rng(seed), np.random.default_rng([seed, round(1000 * skill)])
    rows: Lines = []
    cases: Lines = []
    for patient in range(patients):
        hardness = draw.normal(0, 0.5)
        for volume in range(1 + (patient % 3 == 1)):
            case_id = f"P{patient:03d}_{volume}"
            own = [
                _slice(source, f"P{patient:03d}", case_id, k, patient % 5 == 4, draw, noise, skill - hardness)
                for k in range(slices)
            ]  # fmt: skip
            rows += own
            cases.append(_case(own, draw, noise))
    return rows, cases


def _slice(
    source: str,
    group: str,
    case_id: str,
    k: int,
    healthy: bool,
    draw: Any,
    noise: Any,
    skill: float,
) -> dict[str, Any]:
    reference = 0 if healthy or draw.random() < 0.3 else int(draw.integers(20, 4000))
    share = 1 / (1 + np.exp(-skill - noise.normal(0, 0.5)))
    hit = round(share * reference)
    predicted = hit + (int(noise.integers(0, 300)) if noise.random() < 0.5 else 0)
    label = 1 if reference >= 100 else (0 if reference == 0 else -1)
    probability = 1 / (1 + np.exp(-(skill * (2 * (reference > 0) - 1) + noise.normal(0, 1.5))))
    both = reference > 0 and predicted > 0
    return {
        "image_id": f"{case_id}_z{k:03d}",
        "source": source,
        "group": group,
        "cls": label,
        "probability": float(probability),
        "calibrated": float(probability**0.8),
        "call": int(probability**0.8 >= 0.5),
        "dice": 2 * hit / (predicted + reference) if reference else None,
        "reference_pixels": reference,
        "predicted_pixels": predicted,
        "intersection_pixels": hit,
        "nsd": float(share) if reference else None,
        "boundary_f": float(share**2) if reference else None,
        "hd95": float(10 * (1 - share)) if both else None,
        "case_id": case_id,
        "position": k,
        "split": "test",
        "synthetic": int(source.startswith("phantom_")),
        "fold": None,
    }


def _case(rows: Lines, draw: Any, noise: Any) -> dict[str, Any]:
    hit, predicted, reference = (
        sum(row[f"{part}_pixels"] for row in rows)
        for part in ("intersection", "predicted", "reference")
    )
    lesions = int(draw.integers(1, 4)) if reference else 0
    dice = 2 * hit / (predicted + reference) if reference else None
    called = sum(row["predicted_pixels"] for row in rows if row["calibrated"] >= 0.5)
    return {
        **{key: rows[0][key] for key in ("source", "group", "case_id", "synthetic")},
        "kind": "volume",
        "n_slices": len(rows),
        "dice": dice,
        "iou": hit / (predicted + reference - hit) if reference else None,
        "intersection_voxels": hit,
        "predicted_voxels": predicted,
        "reference_voxels": reference,
        "n_voxels": AREA * len(rows),
        "predicted_ml": predicted * SLICE_ML,
        "reference_ml": reference * SLICE_ML,
        "volume_error_ml": (predicted - reference) * SLICE_ML if reference else None,
        "pixel_accuracy": 1 - (predicted + reference - 2 * hit) / (AREA * len(rows)) if reference else None,
        "nsd": dice,
        "boundary_f": None if dice is None else dice**2,
        "hd95": 20 * (1 - dice) if dice and predicted else None,
        "distance_unit": "mm",
        "tolerance": 2.0,
        "lesions_reference": lesions,
        "lesions_found": int(noise.binomial(lesions, 0.7)),
        "false_positive_components": int(noise.poisson(0.8)),
        "gated_dice": None if dice is None else 0.9 * dice,
        "gated_predicted_voxels": predicted,
        "rule_volume": called * SLICE_ML,
        "rule_unit": "ml",
        "rule_limit": 0.5,
        "patient_call": int(called * SLICE_ML > 0.5),
        "patient_label": int(reference > 0),
    }  # fmt: skip


def pictures(
    source: str, groups: int, *, per_group: int = 1, seed: int = 0, skill: float = 1.0
) -> Lines:
    """Rows of labelled pictures without masks, ``per_group`` near-duplicates in every group."""
    draw, noise = np.random.default_rng(seed), np.random.default_rng([seed, round(1000 * skill)])
    rows: Lines = []
    for group in range(groups):
        label = int(draw.random() < 0.6)
        shared = noise.normal(0, 1)
        for k in range(per_group):
            logit = skill * (2 * label - 1) + shared + noise.normal(0, 0.4)
            probability = float(1 / (1 + np.exp(-logit)))
            name = f"photo_{group:03d}_{k}"
            rows.append(
                {
                    "image_id": name,
                    "source": source,
                    "group": f"g{group:03d}",
                    "cls": label,
                    "probability": probability,
                    "calibrated": probability**1.2,
                    "call": int(probability**1.2 >= 0.45),
                    **dict.fromkeys(("dice", "reference_pixels")),
                    "predicted_pixels": 40,
                    **dict.fromkeys(("intersection_pixels", "nsd", "boundary_f", "hd95")),
                    "case_id": name,
                    "position": 0,
                    "split": "test",
                    "synthetic": int(source.startswith("phantom_")),
                    "fold": None,
                }
            )
    return rows
