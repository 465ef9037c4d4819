"""The tables on one source's classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brainmtl.evaluation.report.document import Block, heading, paragraph, table
from brainmtl.evaluation.report.text import (
    basis,
    described,
    fraction,
    interval,
    number,
    resampling,
    with_interval,
)

# Key -> label and whether an interval belongs to it (prevalence and its baseline describe the data).
LINES = {
    "balanced_accuracy": ("Balanced accuracy", True),
    "sensitivity": ("Sensitivity", True),
    "specificity": ("Specificity", True),
    "precision": ("Precision (positive predictive value)", True),
    "f1": ("F1", True),
    "mcc": ("Matthews correlation coefficient", True),
    "roc_auc": ("ROC-AUC", True),
    "pr_auc": ("Average precision (area under the precision-recall curve)", True),
    "accuracy": ("Accuracy", True),
    "majority_baseline": ("Accuracy of always calling the more frequent class", False),
    "prevalence": ("Prevalence of tumour", False),
    "brier": ("Brier score (0 is best)", True),
    "ece": ("Expected calibration error (0 is best)", True),
}
AT_LEAST = (
    ("sensitivity_at_specificity", "Sensitivity", "specificity"),
    ("specificity_at_sensitivity", "Specificity", "sensitivity"),
)


def called_when(found: Mapping[str, Any]) -> str:
    """From where on an image is called tumour."""
    if found["threshold"] is None:
        return "the calibrated P reaches the threshold of its fold"
    return f"the calibrated P is at least {found['threshold']:.3g}"


def classification(values: Mapping[str, Any], pictures: Sequence[Block] = ()) -> list[Block]:
    """Blocks of one source with its ``pictures``; a sentence where nothing is labelled."""
    found = values["classification"]
    blocks = [heading("Classification of images")]
    if found is None:
        return [*blocks, paragraph("No image of this source and split has a label: no figures.")]
    blocks.append(
        paragraph(
            f"{found['n']} labelled images, {found['n_positive']} with tumour and "
            f"{found['n_negative']} without. An image is called tumour when {called_when(found)}."
        )
    )
    return [
        *blocks,
        _main(values, found),
        *pictures,
        *_calibration(values),
        _fixed_rates(values, found),
        _thresholds(values, found),
    ]


def _main(values: Mapping[str, Any], found: Mapping[str, Any]) -> Block:
    rows = []
    for key, (label, estimated) in LINES.items():
        full = f"classification.{key}"
        shown = (interval(values, full), basis(values, full)) if estimated else ("", "")
        rows.append(
            [label, number(found[key]), shown[0], fraction(found["counts"].get(key)), shown[1]]
        )
    return table(
        ["Figure", "Value", "95 % interval", "Counts", "Interval from"],
        rows,
        text_columns=(0, 4),
        note=resampling(values, "classification"),
    )


def _calibration(values: Mapping[str, Any]) -> list[Block]:
    before, after = values["uncalibrated"], values["classification"]
    blocks = [heading("Before and after calibration")]
    if before is None:
        blocks.append(paragraph("No calibration was fitted: there is nothing to compare with."))
    else:
        rows = []
        for key, (label, estimated) in LINES.items():
            if estimated:  # the others are the same before and after
                parts = ("uncalibrated", "classification")
                rows.append([label, *(with_interval(values, f"{part}.{key}") for part in parts)])
        note = (
            f"Value (95 % interval), counts. Before: the network's own P, called at "
            f"{before['threshold']:.3g}. After: P after temperature scaling; called tumour when "
            f"{called_when(after)}."
        )
        blocks.append(table(["Figure", "Before", "After"], rows, note=note))
    return [*blocks, _reliability(before, after)]


def _reliability(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Block:
    rows = [
        [
            title,
            f"{part['low']:.2f} to {part['high']:.2f}",
            number(part["n"]),
            number(part["mean_probability"]),
            number(part["observed"]),
        ]
        for title, values in (("before", before), ("after", after))
        for part in (values["reliability"] if values else ())
    ]
    return table(
        ["Calibration", "Range of P", "Images", "Mean P", "Share with tumour"],
        rows,
        text_columns=(0, 1),
        note="Each range holds about as many images as the others. Well calibrated: mean P and share "
        "with tumour agree.",
    )


def _fixed_rates(values: Mapping[str, Any], found: Mapping[str, Any]) -> Block:
    rows = []
    for key, label, other in AT_LEAST:
        for level, entry in found[key].items():
            full = f"classification.{key}.{level}"
            shown = described(values, full, entry["value"], entry["counts"])
            rows.append([f"{label} at {other} ≥ {level}", shown, number(entry["threshold"])])
    return table(
        ["At a fixed rate", "Value (95 % interval), counts", "Threshold on P"],
        rows,
        note="These thresholds were found on the very images that they are reported for: the "
        "values are optimistic.",
    )


def _thresholds(values: Mapping[str, Any], found: Mapping[str, Any]) -> Block:
    rows = []
    for line in found["thresholds"]:
        level = f"{line['threshold']:.1f}"
        rows.append(
            [
                level,
                *(
                    described(
                        values,
                        f"classification.thresholds.{level}.{rate}",
                        line[rate],
                        line["counts"].get(rate),
                    )
                    for rate in ("sensitivity", "specificity", "ppv", "npv")
                ),
            ]
        )
    return table(
        ["Threshold on P", "Sensitivity", "Specificity", "PPV", "NPV"],
        rows,
        text_columns=(),
        note=f"All {found['n']} labelled images at each threshold on the calibrated P: value (95 % "
        "interval), counts. PPV and NPV, the positive and negative predictive value, hold for this "
        "prevalence only.",
    )
