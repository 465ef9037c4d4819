"""The table on one source's institutions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainmtl.evaluation.report.document import Block, heading, table
from brainmtl.evaluation.report.text import with_interval
from brainmtl.evaluation.table import NOT_MEASURED

COLUMNS = {
    "segmentation.per_patient.dice": "Dice per patient",
    "classification.balanced_accuracy": "Balanced accuracy",
    "classification.sensitivity": "Sensitivity",
    "classification.specificity": "Specificity",
    "classification.roc_auc": "ROC-AUC",
}
TRAINED_ON = {True: "yes", False: "no", None: "not known, or not in every fold"}


def sites(values: Mapping[str, Any]) -> list[Block]:
    """A block where the source's rows name institutions, else none."""
    if not values.get("sites"):
        return []
    return [
        heading("By institution"),
        table(
            ["Institution", "Others of it trained on", "Patients or groups", "Images", *COLUMNS.values()],
            [
                [
                    site,
                    TRAINED_ON[entry["trained_on"]],
                    entry["n_groups"],
                    entry["n_images"],
                    *(_cell(entry, key) for key in COLUMNS),
                ]
                for site, entry in values["sites"].items()
            ],
            text_columns=(0, 1),
            note="Value (95 % interval over patients or groups), counts. Where others of an institution "
            "were trained on, the model knows its scanners. Few patients each: intervals decide.",
        ),
    ]  # fmt: skip


def _cell(entry: Mapping[str, Any], key: str) -> str:
    return NOT_MEASURED if entry[key.partition(".")[0]] is None else with_interval(entry, key)
