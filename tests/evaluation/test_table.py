"""The table: what is not defined, what is not measured, and synthetic sources named so."""

from __future__ import annotations

import io

import numpy as np
from rich.console import Console

from brainmtl.evaluation import metrics
from brainmtl.evaluation.table import (
    COLUMNS,
    MIN_WIDTH,
    NOT_DEFINED,
    NOT_MEASURED,
    stage_rows,
    stage_table,
)


def evaluation() -> dict:
    one_class = metrics.classification_metrics(np.array([1, 1]), np.array([0.9, 0.1]))
    segmentation = metrics.overlap_metrics([(5, 10, 10)]) | {
        "per_patient": metrics.patient_metrics([("a", (8, 10, 10))])
    }
    return {
        "metrics": {
            "kaggle": {"synthetic": False, "classification": one_class, "segmentation": None},
            "phantom_brats": {
                "synthetic": True,
                "classification": None,
                "segmentation": segmentation,
            },
        },
        "run": {
            "display_names": {"kaggle": "kaggle", "phantom_brats": "brats-like (synthetic)"},
            "seconds": {"kaggle": 1.234, "phantom_brats": 56.7},
        },
    }


def test_rows_tell_undefined_from_unmeasured() -> None:
    kaggle, phantom = stage_rows("joint", evaluation())
    assert kaggle["roc_auc"] == kaggle["specificity"] == NOT_DEFINED
    assert kaggle["dice"] == kaggle["n_seg"] == NOT_MEASURED
    assert (kaggle["accuracy"], kaggle["n"], kaggle["seconds"]) == (0.5, 2, 1.234)
    assert phantom["dice"] == 0.8 and phantom["dice_slice"] == 0.5 and phantom["n_seg"] == "1/1"
    assert phantom["roc_auc"] == phantom["n"] == NOT_MEASURED
    assert stage_rows("joint", evaluation(), seconds=9.0)[0]["seconds"] == 9.0


def test_markdown_and_terminal_show_the_same_cells() -> None:
    rows = stage_rows("seg_warmup", evaluation()) + stage_rows("joint", evaluation())
    table, markdown = stage_table(rows)
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 4
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 1}
    assert "brats-like (synthetic)" in lines[3]
    headings = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert {"Accuracy", "ROC-AUC", "Dice per patient", "Balanced accuracy"} <= set(headings)
    console = Console(file=io.StringIO(), width=MIN_WIDTH)
    console.print(table)
    printed = console.file.getvalue()
    for text in (
        "0.800",
        "0.500",
        "56.7",
        "1.2",
        NOT_DEFINED,
        "seg_warmup",
        "joint",
        "(synthetic)",
    ):
        assert text in printed and text in markdown
    assert printed.count("seg_warmup") == 1  # a stage is named once per block
    assert max(map(len, printed.splitlines())) <= MIN_WIDTH
