"""The table on one source's institutions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainmtl.evaluation.report.document import Block, heading, table
from brainmtl.evaluation.report.text import counts_of, fraction, lookup, number, with_interval
from brainmtl.evaluation.table import NOT_MEASURED

# Key -> heading and whether its interval is shown; rates have their counts instead, for width.
COLUMNS = {
    "segmentation.per_patient.dice": ("Dice per patient", True),
    "classification.balanced_accuracy": ("Balanced accuracy", True),
    "classification.roc_auc": ("ROC-AUC", True),
    "classification.sensitivity": ("Sensitivity", False),
    "classification.specificity": ("Specificity", False),
}
TRAINED_ON = {True: "yes", False: "no", None: "?"}


def sites(values: Mapping[str, Any]) -> list[Block]:
    """A heading and a table where the source's rows name institutions, else none."""
    if not values.get("sites"):
        return []
    columns = ["Institution", "Trained on", "n", *(title for title, _ in COLUMNS.values())]
    rows = [
        [site, TRAINED_ON[entry["trained_on"]], entry["n_groups"], *_cells(entry)]
        for site, entry in values["sites"].items()
    ]
    note = (
        "Value (95 % interval over patients or groups, whose number is n) or counts. Trained on: whether the "
        "model saw other patients of the institution in training, and so its scanners (?: not known, or not "
        "in every fold). Few patients each: read the intervals."
    )
    return [heading("By institution"), table(columns, rows, text_columns=(0, 1), note=note)]


def _cells(entry: Mapping[str, Any]) -> list[str]:
    found = []
    for key, (_, interval) in COLUMNS.items():
        if entry[key.partition(".")[0]] is None:
            found.append(NOT_MEASURED)
        elif interval and entry["n_groups"] > 1:
            found.append(with_interval(entry, key))
        else:
            counts = fraction(counts_of(entry, key))
            found.append(", ".join(filter(None, (number(lookup(entry, key)), counts))))
    return found
