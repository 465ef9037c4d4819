"""The report where figures are undefined: it says so, and prints no None or nan."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import report_inputs as inputs
from report_inputs import merged, no_segmentation
from report_pages import written


def no_classification(values: dict[str, Any]) -> None:
    values |= {"classification": None, "uncalibrated": None}


def one_class(values: dict[str, Any]) -> None:
    undefined = ("specificity", "balanced_accuracy", "roc_auc", "pr_auc", "mcc")
    for part in ("classification", "uncalibrated"):
        values[part] |= dict.fromkeys(undefined) | {"n_negative": 0}
        for key in ("sensitivity_at_specificity", "specificity_at_sensitivity"):
            nothing = dict.fromkeys(("value", "threshold", "counts"))
            values[part][key] = dict.fromkeys(("0.90", "0.95"), nothing)


def one_patient(values: dict[str, Any]) -> None:
    note = {"low": None, "high": None, "n": 1, "note": "one patient: no interval"}
    values["intervals"] = dict.fromkeys(values["intervals"], note)
    patients = values["segmentation"]["per_patient"]
    patients |= {key: None for key in patients if key.endswith("_sd")} | {"bland_altman": None}


def no_healthy(values: dict[str, Any]) -> None:
    values["patient"] |= {"n_negative": 0, "specificity": None}


def no_tumour(values: dict[str, Any]) -> None:
    segmentation = values["segmentation"]
    for part in (segmentation, segmentation["per_patient"]):
        for key, value in part.items():
            if isinstance(value, float) and key not in ("threshold", "tolerance"):
                part[key] = None
    segmentation["per_patient"] |= {"bland_altman": None, "tolerance": None, "distance_unit": None}


def uncalibrated(values: dict[str, Any]) -> None:
    values["uncalibrated"] = None


DEGENERATE = {
    no_classification: "No image of this source and split has a label",
    no_segmentation: "No image of this source has a reference mask",
    one_class: "only one class is present",
    one_patient: "one patient: no interval",
    no_healthy: "no healthy patients",
    no_tumour: "Dice | n/d",
    uncalibrated: "No calibration was fitted",
    merged: "the threshold of its fold",
}


@pytest.mark.parametrize("change", DEGENERATE, ids=lambda change: change.__name__)
def test_undefined_figures(change: Any, tmp_path: Path) -> None:
    values = inputs.source_values(inputs.Figures())
    change(values)
    groups = 1 if change is one_patient else 8
    labelled = {no_classification: {-1}, one_class: {1, -1}}.get(change, {-1, 0, 1})
    rows = [row for row in inputs.rows("brats", groups=groups) if row["cls"] in labelled]
    cases = [] if change is no_segmentation else inputs.cases("brats", groups=groups)
    if change is no_tumour:
        cases = [case | {"dice": None, "gated_dice": None} for case in cases]
    _, markdown, page = written(tmp_path, {"brats": values}, rows=rows, cases=cases)
    assert DEGENERATE[change] in markdown
    assert ("only 1 patient." in markdown) == (change is one_patient)
    assert not re.search(r"\b(None|nan|null|inf)\b", markdown)
    assert not re.search(r"\b(None|nan|null|inf)\b", page.text)
