"""Entries of metrics.json recomputed with pandas and scikit-learn from simulated lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from brainmtl.evaluation.lines import read_lines, write_lines
from brainmtl.evaluation.scores import score_sources, source_metrics

Lines = list[dict[str, Any]]
SURFACE = ("nsd", "boundary_f", "hd95")


def overlap_counts(rng: np.random.Generator, size: int) -> tuple[int, int, int]:
    """(intersection, predicted, reference); one in three references and one in four masks empty."""
    reference_size = int(rng.integers(1, size)) * int(rng.random() > 1 / 3)
    predicted = int(rng.integers(1, size)) * int(rng.random() > 1 / 4)
    both = int(rng.integers(0, min(predicted, reference_size) + 1))
    return both, predicted, reference_size


def figures(rng: np.random.Generator, predicted: int, truth: int) -> dict[str, float | None]:
    if not truth:
        return dict.fromkeys(SURFACE)
    if not predicted:
        return {"nsd": 0.0, "boundary_f": 0.0, "hd95": None}
    return {"nsd": rng.random(), "boundary_f": rng.random(), "hd95": 30 * rng.random()}


def simulate_rows(seed: int, n: int = 60, source: str = "brats", masks: bool = True) -> Lines:
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(n):
        both, predicted, truth = overlap_counts(rng, 2000)
        probability = float(rng.beta(3, 2) if truth else rng.beta(2, 3))
        calibrated = probability**1.5
        row = {
            "image_id": f"{source}{k}",
            "source": source,
            "group": f"p{k % 7}",
            "cls": -1 if 0 < truth < 100 else int(truth > 0),
            "probability": probability,
            "calibrated": calibrated,
            "call": int(calibrated >= (0.3 if k % 7 < 4 else 0.45)),  # two folds
            "dice": 2 * both / (predicted + truth) if truth else None,
            "reference_pixels": truth,
            "predicted_pixels": predicted,
            "intersection_pixels": both,
            **figures(rng, predicted, truth),
            "case_id": f"p{k % 7}_{k % 2}",
            "synthetic": 0,
        }
        if not masks:
            row |= dict.fromkeys(("reference_pixels", "intersection_pixels", "dice", *SURFACE))
        rows.append(row)
    return rows


def simulate_cases(seed: int, n: int = 20, unit: str = "mm", source: str = "brats") -> Lines:
    rng = np.random.default_rng(seed)
    cases = []
    for k in range(n):
        both, predicted, truth = overlap_counts(rng, 90_000)
        known = unit == "mm"
        lesions = int(rng.integers(1, 5)) if truth else 0
        volume = float(rng.integers(0, 6))
        gated = int(predicted * rng.random())
        cases.append(
            {
                "source": source,
                "group": f"p{k % 7}",
                "case_id": f"p{k % 7}_{k // 7}",
                "kind": "volume",
                "dice": 2 * both / (predicted + truth) if truth else None,
                "iou": both / (predicted + truth - both) if truth else None,
                "intersection_voxels": both,
                "predicted_voxels": predicted,
                "reference_voxels": truth,
                "n_voxels": 10**6,
                "volume_error_ml": (predicted - truth) / 1000 if known and truth else None,
                "pixel_accuracy": 1 - (predicted + truth - 2 * both) / 10**6 if truth else None,
                **figures(rng, predicted, truth),
                "distance_unit": unit,
                "tolerance": 2.0,
                "lesions_reference": lesions,
                "lesions_found": int(rng.integers(0, lesions + 1)),
                "false_positive_components": int(rng.integers(0, 4)),
                "gated_dice": 2 * min(gated, both) / (gated + truth) if truth else None,
                "rule_volume": volume,
                "rule_unit": "ml" if known else "voxels",
                "rule_limit": 2.0,
                "patient_call": int(volume > 2.0),
                "patient_label": int(truth > 0),
            }
        )
    return cases


def close(value: float) -> Any:
    return None if np.isnan(value) else pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_classification_before_and_after_calibration(seed: int) -> None:
    rows = simulate_rows(seed)
    found = source_metrics(rows, [], cls_threshold=None)
    frame = pd.DataFrame([row for row in rows if row["cls"] >= 0])
    assert 0 < len(frame) < len(rows) == found["n_images"]
    after, before = found["classification"], found["uncalibrated"]
    assert after["threshold"] is None and before["threshold"] == 0.5
    for values, score, calls in (
        (after, frame["calibrated"], frame["call"]),
        (before, frame["probability"], frame["probability"] >= 0.5),
    ):
        assert values["n"] == len(frame)
        assert values["accuracy"] == close(reference.accuracy_score(frame["cls"], calls))
        assert values["mcc"] == close(reference.matthews_corrcoef(frame["cls"], calls))
        assert values["roc_auc"] == close(reference.roc_auc_score(frame["cls"], score))
        assert values["brier"] == close(reference.brier_score_loss(frame["cls"], score))
    assert after["brier"] != before["brier"] and after["roc_auc"] == before["roc_auc"]


@pytest.mark.parametrize("seed", range(3))
def test_segmentation_per_slice(seed: int) -> None:
    rows = simulate_rows(seed)
    found = source_metrics(rows, [], seg_threshold=0.4)["segmentation"]
    frame = pd.DataFrame(rows).astype(dict.fromkeys(("dice", *SURFACE), float))
    tumour = frame[frame["reference_pixels"] > 0]
    for key in ("dice", *SURFACE):
        assert found[key] == close(tumour[key].mean())
        assert found[f"{key}_sd"] == close(tumour[key].std())
    wrong = tumour.eval("predicted_pixels + reference_pixels - 2 * intersection_pixels")
    assert found["pixel_accuracy"] == close((1 - wrong / 256**2).mean())
    assert found["n"] == len(tumour) == found["hd95_n"] + found["hd95_missed"]
    assert found["hd95_missed"] == (tumour["predicted_pixels"] == 0).sum() > 0
    empty = frame[frame["reference_pixels"] == 0]
    assert found["empty"]["counts"] == [(empty["predicted_pixels"] > 0).sum(), len(empty)]
    assert (found["threshold"], found["distance_unit"], found["tolerance"]) == (0.4, "px", 2.0)


@pytest.mark.parametrize("unit", ["mm", "px"])
@pytest.mark.parametrize("seed", range(3))
def test_segmentation_per_patient(seed: int, unit: str) -> None:
    cases = simulate_cases(seed, unit=unit)
    found = source_metrics(simulate_rows(seed), cases)["segmentation"]["per_patient"]
    keys = ["dice", "iou", "gated_dice", "volume_error_ml", "pixel_accuracy", *SURFACE]
    frame = pd.DataFrame(cases).astype(dict.fromkeys(keys, float))
    frame["absolute"] = frame["volume_error_ml"].abs()
    tumour = frame[frame["reference_voxels"] > 0]
    patients = tumour.groupby("group")[[*keys, "absolute"]].mean()
    for key in keys:
        assert found[key] == close(patients[key].mean()), key
        if key != "pixel_accuracy":
            assert found[f"{key}_sd"] == close(patients[key].std()), key
    assert found["absolute_volume_error_ml"] == close(patients["absolute"].mean())
    assert (found["n"], found["n_cases"]) == (len(patients), len(cases))
    assert found["hd95_n"] == patients["hd95"].notna().sum()
    assert found["hd95_missed"] == (tumour["predicted_voxels"] == 0).sum()
    assert (found["distance_unit"], found["tolerance"]) == (unit, 2.0)
    differences = patients["volume_error_ml"]
    if unit == "px":
        assert found["bland_altman"] is found["volume_error_ml"] is None
    else:
        mean, sd = differences.mean(), differences.std()
        limits = {"lower": mean - 1.96 * sd, "upper": mean + 1.96 * sd}
        expected = {"bias": mean, "sd": sd, **limits, "n": len(patients)}
        assert found["bland_altman"] == {key: close(value) for key, value in expected.items()}
    totals = frame[["lesions_reference", "lesions_found", "false_positive_components"]].sum()
    assert list(found["lesions"].values()) == [
        totals.iloc[0],
        totals.iloc[1],
        close(totals.iloc[1] / totals.iloc[0]),
        totals.iloc[2],
        close(totals.iloc[2] / len(cases)),
    ]


@pytest.mark.parametrize("seed", range(3))
def test_patient_rule_counts_patients(seed: int) -> None:
    cases = simulate_cases(seed, n=12)
    found = source_metrics(simulate_rows(seed), cases, cls_threshold=0.3)["patient"]
    patients = pd.DataFrame(cases).groupby("group")[["patient_label", "patient_call"]].max()
    matrix = reference.confusion_matrix(patients["patient_label"], patients["patient_call"])
    (tn, fp), (fn, tp) = matrix.tolist()
    assert found["counts"] == {"sensitivity": [tp, tp + fn], "specificity": [tn, tn + fp]}
    assert found["sensitivity"] == tp / (tp + fn) and found["n_negative"] == tn + fp
    assert found["specificity"] == (tn / (tn + fp) if tn + fp else None)
    assert "P >= 0.3" in found["rule"] and "2 ml" in found["rule"]
    assert (found["limit"], found["unit"]) == (2.0, "ml")


def test_patient_rule_of_several_folds_and_of_pictures() -> None:
    cases = simulate_cases(1)
    cases[0]["rule_limit"] = 3.0
    found = source_metrics(simulate_rows(1), cases, cls_threshold=None)["patient"]
    assert found["limit"] is None and found["rule"].count("its fold") == 2
    pictures = [case | {"kind": "image"} for case in cases]
    assert source_metrics(simulate_rows(1), pictures)["patient"] is None


def test_literature_pools_pixels_and_images() -> None:
    rows = simulate_rows(2)
    found = source_metrics(rows, [])["literature"]
    frame = pd.DataFrame(rows)
    sums = frame[["intersection_pixels", "predicted_pixels", "reference_pixels"]].sum()
    dice = 2 * sums.iloc[0] / (sums.iloc[1] + sums.iloc[2])
    labelled = frame[frame["cls"] >= 0]
    accuracy = reference.accuracy_score(labelled["cls"], labelled["probability"] >= 0.5)
    assert found["batch_pooled_dice"] == close(dice)
    assert found["pooled_accuracy"] == close(accuracy)
    assert found["combined_metric"] == close((dice + accuracy) / 2)
    assert "not comparable" in found["note"] and "over labelled images" in found["note"]


def test_sources_without_labels_masks_or_tumour() -> None:
    pictures = source_metrics(simulate_rows(0, masks=False), [])
    assert pictures["segmentation"] is pictures["literature"] is pictures["patient"] is None
    assert pictures["classification"]["n"] > 0
    unlabelled = source_metrics([row | {"cls": -1} for row in simulate_rows(0)], [])
    assert unlabelled["classification"] is unlabelled["uncalibrated"] is None
    assert unlabelled["literature"]["combined_metric"] is None
    rows = [row for row in simulate_rows(0) if not row["reference_pixels"]]
    cases = [case for case in simulate_cases(0) if not case["reference_voxels"]]
    healthy = source_metrics(rows, cases)
    patients = healthy["segmentation"]["per_patient"]
    undefined = ("dice", "nsd", "boundary_f", "hd95", "gated_dice", "volume_error_ml")
    assert all(patients[key] is None and patients[f"{key}_sd"] is None for key in undefined)
    assert patients["bland_altman"] is patients["lesions"]["sensitivity"] is None
    assert patients["n"] == patients["hd95_n"] == patients["hd95_missed"] == 0
    assert healthy["patient"]["sensitivity"] is healthy["literature"]["batch_pooled_dice"] is None
    for entry in (pictures, unlabelled, healthy):
        json.dumps(entry, allow_nan=False)


def test_one_patient_has_no_spread() -> None:
    case = next(c for c in simulate_cases(0) if c["dice"] and c["hd95"] is not None)
    found = source_metrics(simulate_rows(0), [case])["segmentation"]["per_patient"]
    assert found["n"] == 1 and found["dice"] == pytest.approx(case["dice"])
    assert found["dice_sd"] is found["hd95_sd"] is found["bland_altman"] is None
    assert found["volume_error_ml"] == case["volume_error_ml"]


def test_millimetres_and_pixels_are_not_averaged() -> None:
    cases = simulate_cases(0) + simulate_cases(1, unit="px")
    found = source_metrics(simulate_rows(0), cases)
    patients = found["segmentation"]["per_patient"]
    assert patients["dice"] is not None
    for key in (*SURFACE, "distance_unit", "tolerance"):
        assert patients[key] is None
    assert found["patient"]["unit"] is None


def test_sources_are_never_pooled() -> None:
    rows = simulate_rows(0) + simulate_rows(1, source="phantom_brats")
    for row in rows[60:]:
        row["synthetic"] = 1
    cases = simulate_cases(0) + simulate_cases(1, source="phantom_brats")
    found = score_sources(rows, cases, None, 0.5, 10)
    assert list(found) == ["brats", "phantom_brats"]
    assert found["brats"] == source_metrics(rows[:60], cases[:20], None, 0.5, 10)
    assert found["phantom_brats"] == source_metrics(rows[60:], cases[20:], None, 0.5, 10)
    assert [values["synthetic"] for values in found.values()] == [False, True]
    assert found["brats"]["segmentation"]["empty"]["min_pixels"] == 10


@pytest.mark.parametrize("unit", ["mm", "px"])
def test_lines_read_back_from_csv_give_the_same_figures(tmp_path: Path, unit: str) -> None:
    rows, cases = simulate_rows(4), simulate_cases(4, unit=unit)
    write_lines(tmp_path / "rows.csv", rows)
    write_lines(tmp_path / "cases.csv", cases)
    back = score_sources(read_lines(tmp_path / "rows.csv"), read_lines(tmp_path / "cases.csv"))
    assert json.dumps(back, allow_nan=False)
    found, expected = flat(back), flat(score_sources(rows, cases))
    assert list(found) == list(expected)
    for path, value in expected.items():
        assert found[path] == (pytest.approx(value) if isinstance(value, float) else value), path


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dicts and lists as {path: leaf}."""
    if isinstance(tree, dict | list):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {
            path: leaf for key, own in items for path, leaf in flat(own, f"{prefix}/{key}").items()
        }
    return {prefix: tree}
