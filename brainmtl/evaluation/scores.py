"""From lines of predictions.csv and cases.csv to the entries of metrics.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brainmtl.data.preprocessing.preprocess import IMAGE_SIZE
from brainmtl.evaluation import metrics

Lines = Sequence[dict[str, Any]]

SURFACE = ("nsd", "boundary_f", "hd95")
UNCALIBRATED_THRESHOLD = 0.5
LITERATURE_NOTE = (
    "Batch-pooled Dice sums intersections and areas over the pixels of all slices, so that large "
    "tumours dominate and a missed small one costs little; pooled accuracy is over labelled "
    "images, called tumour when the uncalibrated P >= 0.5; combined metric is the mean of the two. "
    "Given only because older multi-task papers report them: not comparable with Dice per patient "
    "or balanced accuracy, nor between test sets of other tumour sizes or class shares."
)


def score_sources(
    rows: Lines,
    cases: Lines,
    cls_threshold: float | None = 0.5,
    seg_threshold: float = 0.5,
    min_pixels: int = 1,
) -> dict[str, dict[str, Any]]:
    """``metrics.json`` without intervals and sites: source -> :func:`source_metrics`, never pooled."""
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
    rows: Lines,
    cases: Lines,
    cls_threshold: float | None = 0.5,
    seg_threshold: float = 0.5,
    min_pixels: int = 1,
) -> dict[str, Any]:
    """One source's entry of ``metrics.json`` from its lines of predictions.csv and cases.csv.

    Args:
        rows: lines of one source, with the calls already made (column ``call``).
        cases: its cases with a reference.
        cls_threshold: the threshold behind the calls; None where it differs between folds.
        seg_threshold: tumour probability from which a pixel is tumour; only reported.
        min_pixels: a mask on an empty reference is a false positive from this many pixels on.

    Returns:
        ``classification`` (calibrated), ``uncalibrated``: None without labelled rows;
        ``segmentation``, ``literature``: None without reference masks; ``patient``: None without
        volumes that have a reference. docs/evaluation.md has the fields.
    """
    labelled = [row for row in rows if row["cls"] >= 0]
    masked = [row for row in rows if row["reference_pixels"] is not None]
    volumes = [case for case in cases if case["kind"] == "volume"]
    return {
        "synthetic": any(row["synthetic"] for row in rows),
        "n_images": len(rows),
        "classification": _classification(labelled, cls_threshold) if labelled else None,
        "uncalibrated": _uncalibrated(labelled) if labelled else None,
        "segmentation": _segmentation(masked, cases, seg_threshold, min_pixels) if masked else None,
        "patient": _patient(volumes, cls_threshold) if volumes else None,
        "literature": _literature(masked, labelled) if masked else None,
    }


def _column(lines: Lines, key: str) -> np.ndarray:
    return np.array([line[key] for line in lines])


def _classification(labelled: Lines, threshold: float | None) -> dict[str, Any]:
    return metrics.classification_metrics(
        _column(labelled, "cls"),
        _column(labelled, "calibrated"),
        calls=_column(labelled, "call"),
        threshold=threshold,
    )


def _uncalibrated(labelled: Lines) -> dict[str, Any]:
    return metrics.classification_metrics(
        _column(labelled, "cls"),
        _column(labelled, "probability"),
        threshold=UNCALIBRATED_THRESHOLD,
    )


def _segmentation(masked: Lines, cases: Lines, threshold: float, min_pixels: int) -> dict[str, Any]:
    counts = [_counts(row, "pixels") for row in masked]
    accuracies = [metrics.pixel_accuracy_from_counts(*c, IMAGE_SIZE**2) for c in counts]
    return {
        "threshold": float(threshold),
        "grid": f"prepared {IMAGE_SIZE}x{IMAGE_SIZE}",
        **metrics.overlap_metrics(counts, min_pixels),
        **_spreads({key: [row[key] for row in masked] for key in SURFACE}),
        "hd95_n": sum(row["hd95"] is not None for row in masked),
        "hd95_missed": _missed(counts),
        "pixel_accuracy": metrics.mean_sd(accuracies)["mean"],
        "distance_unit": "px",
        "tolerance": metrics.TOLERANCE,
        "per_patient": _per_patient(cases, min_pixels),
    }


def _per_patient(cases: Lines, min_voxels: int) -> dict[str, Any]:
    """Means over patients of the mean over the patient's volumes that hold tumour.

    ``hd95_missed``, ``lesions`` and ``empty`` count volumes and components, not patients.
    """
    counts = [_counts(case, "voxels") for case in cases]
    groups = [str(case["group"]) for case in cases]
    unit = _shared(cases, "distance_unit")
    # Millimetres and pixels have no common mean.
    surface = {key: _by_patient(cases, key) if unit else [] for key in SURFACE}
    errors = _by_patient(cases, "volume_error_ml")
    absolute = metrics.group_means(
        (group, abs(case["volume_error_ml"]))
        for group, case in zip(groups, cases, strict=True)
        if case["volume_error_ml"] is not None
    )
    return {
        "grid": "original",
        **metrics.patient_metrics(list(zip(groups, counts, strict=True)), min_voxels),
        **_spreads(surface | {"gated_dice": _by_patient(cases, "gated_dice")}),
        "hd95_n": len(surface["hd95"]),
        "hd95_missed": _missed(counts),
        "pixel_accuracy": metrics.mean_sd(_by_patient(cases, "pixel_accuracy"))["mean"],
        "distance_unit": unit,
        "tolerance": _shared(cases, "tolerance") if unit else None,
        **_spreads({"volume_error_ml": errors}),
        "absolute_volume_error_ml": metrics.mean_sd(absolute)["mean"],
        "bland_altman": metrics.bland_altman(errors),
        "lesions": _lesions(cases),
    }


def _lesions(cases: Lines) -> dict[str, Any]:
    reference, found, invented = (
        sum(case[key] for case in cases)
        for key in ("lesions_reference", "lesions_found", "false_positive_components")
    )
    return {
        "reference": int(reference),
        "found": int(found),
        "sensitivity": metrics.ratio(found, reference),
        "false_positive_components": int(invented),
        "false_positives_per_case": metrics.ratio(invented, len(cases)),
    }


def _patient(volumes: Lines, threshold: float | None) -> dict[str, Any]:
    """Detection per patient: labelled, or called, tumour when any of the patient's volumes is."""
    label, call = (_any_by_patient(volumes, key) for key in ("patient_label", "patient_call"))
    positive = [group for group in label if label[group]]
    negative = [group for group in label if not label[group]]
    counts = {
        "sensitivity": [sum(call[group] for group in positive), len(positive)],
        "specificity": [sum(not call[group] for group in negative), len(negative)],
    }
    limit, unit = _shared(volumes, "rule_limit"), _shared(volumes, "rule_unit")
    chance = "the threshold of its fold" if threshold is None else f"{threshold:g}"
    known = limit is not None and unit is not None
    size = f"{limit:g} {unit}" if known else "the limit of its fold and unit"
    return {
        "rule": (
            "A patient is called to have tumour when, in any of the patient's volumes, the predicted "
            f"tumour on the slices with P >= {chance} is larger than {size}."
        ),
        "limit": limit,
        "unit": unit,
        "n_positive": len(positive),
        "n_negative": len(negative),
        **{name: metrics.ratio(*count) for name, count in counts.items()},
        "counts": counts,
    }


def _literature(masked: Lines, labelled: Lines) -> dict[str, Any]:
    dice = metrics.pooled_dice([_counts(row, "pixels") for row in masked])
    right = sum((row["probability"] >= UNCALIBRATED_THRESHOLD) == row["cls"] for row in labelled)
    accuracy = metrics.ratio(right, len(labelled))
    defined = dice is not None and accuracy is not None
    return {
        "note": LITERATURE_NOTE,
        "batch_pooled_dice": dice,
        "pooled_accuracy": accuracy,
        "combined_metric": (dice + accuracy) / 2 if defined else None,
    }


def _counts(line: dict[str, Any], unit: str) -> tuple[int, int, int]:
    intersection, predicted, reference = (
        int(line[f"{part}_{unit}"]) for part in ("intersection", "predicted", "reference")
    )
    return intersection, predicted, reference


def _missed(counts: Sequence[tuple[int, int, int]]) -> int:
    """Masks with an empty prediction on a reference that is not."""
    return sum(reference > 0 and predicted == 0 for _, predicted, reference in counts)


def _spreads(values: Mapping[str, Sequence[float | None]]) -> dict[str, float | None]:
    """``{key: mean, key_sd: SD}`` of the defined values of each key."""
    found = {}
    for key, own in values.items():
        spread = metrics.mean_sd(own)
        found |= {key: spread["mean"], f"{key}_sd": spread["sd"]}
    return found


def _by_patient(cases: Lines, key: str) -> list[float]:
    return metrics.group_means((str(case["group"]), case[key]) for case in cases)


def _any_by_patient(cases: Lines, key: str) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for case in cases:
        group = str(case["group"])
        found[group] = found.get(group, False) or bool(case[key])
    return found


def _shared(lines: Lines, key: str) -> Any:
    """The value that all lines have; None where they differ or there are none."""
    values = {line[key] for line in lines}
    return values.pop() if len(values) == 1 else None
