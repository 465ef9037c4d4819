"""First lines of the report: what was evaluated, does it beat the trivial, figures per source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brainmtl.data.manifest import SYNTHETIC_PREFIX, display_name
from brainmtl.evaluation.report.document import Block, Section, paragraph, table
from brainmtl.evaluation.report.text import NOT_DEFINED, lookup, number, with_interval
from brainmtl.evaluation.table import NOT_MEASURED
from brainmtl.words import quantity

UNNAMED = "groups"  # of pictures: copies, or patients where a table names them
Lines = Sequence[Mapping[str, Any]]

HEADLINE = {
    "classification.balanced_accuracy": "Balanced accuracy",
    "classification.accuracy": "Accuracy",
    "classification.majority_baseline": "Accuracy of always calling the more frequent class",
    "classification.sensitivity": "Sensitivity",
    "classification.specificity": "Specificity",
    "classification.roc_auc": "ROC-AUC",
    "segmentation.per_patient.dice": "Dice per patient",
    "segmentation.per_patient.gated_dice": "Dice per patient, as served",
    "segmentation.dice": "Dice per slice",
    "patient.sensitivity": "Sensitivity per patient",
    "patient.specificity": "Specificity per patient",
}
BASELINES = ("classification.majority_baseline",)


def count_sources(
    result: Mapping[str, Any], run: Mapping[str, Any], rows: Lines
) -> dict[str, dict[str, Any]]:
    """What each source consists of: ``name, synthetic, unit, groups, images, labelled, masked``.

    ``unit`` says what ``groups`` counts: patients where a case has several slices, otherwise patients that a
    table named, or groups of near-duplicate pictures whose patients nobody knows.
    """
    found = {}
    for source, values in result.items():
        own = [row for row in rows if row["source"] == source]
        volumes = len({row["case_id"] for row in own}) < len(own)
        found[source] = {
            "name": run["display_names"][source],
            "synthetic": values["synthetic"],
            "unit": "patients" if volumes else UNNAMED,
            "groups": len({row["group"] for row in own}),
            "images": values["n_images"],
            "labelled": sum(row["cls"] >= 0 for row in own),
            "masked": sum(row["reference_pixels"] is not None for row in own),
        }
    return found


def training_names(run: Mapping[str, Any]) -> str:
    """Display names of the sources that the model was trained on, as one text."""
    names = [display_name(s, s.startswith(SYNTHETIC_PREFIX)) for s in run["training_sources"]]
    return ", ".join(names) or "unknown sources"


def opening(run: Mapping[str, Any], counted: Mapping[str, Mapping[str, Any]]) -> list[Block]:
    """What was evaluated, in a sentence and a table, and whether the data are synthetic."""
    folds = run["folds"]
    how = (
        f"Cross-validation over {len(folds)} folds: every case was predicted once, by the model "
        "that was not trained on it"
        if folds
        else f"One checkpoint on split {run['split']}"
    )
    parts = [
        f"{quantity(s['images'], 'images')} of {quantity(s['groups'], s['unit'])} ({s['name']})"
        for s in counted.values()
    ]
    return [
        paragraph(
            f"{how}. Stage {run['stage']}, trained on {training_names(run)}; evaluated on "
            f"{', '.join(parts)}."
        ),
        paragraph(_nature(counted)),
        table(
            ["Source", "Data", "Patients or groups", "Images", "With label", "With reference mask"],
            [
                [
                    s["name"],
                    "synthetic" if s["synthetic"] else "real",
                    quantity(s["groups"], s["unit"]),
                    s["images"],
                    s["labelled"],
                    s["masked"],
                ]
                for s in counted.values()
            ],
            text_columns=(0, 1),
        ),
    ]


def _nature(counted: Mapping[str, Mapping[str, Any]]) -> str:
    made_up = [s["name"] for s in counted.values() if s["synthetic"]]
    if not made_up:
        return "All images evaluated here are real ones."
    if len(made_up) == len(counted):
        return (
            "All images evaluated here are synthetic, drawn by a computer. The figures show that "
            "the software works; they say nothing about patients."
        )
    return (
        f"Synthetic, drawn by a computer: {', '.join(made_up)}. Their figures say nothing about "
        "patients; those of the other sources come from real images."
    )


def verdicts(
    result: Mapping[str, Any], run: Mapping[str, Any], sections: Sequence[Section]
) -> tuple[list[str], list[str]]:
    """(alerts, findings): what must be read first, and what else the comparisons found."""
    alerts = [text for section in sections for text in section.alerts]
    findings = [text for section in sections for text in section.findings]
    for source, values in result.items():
        if values["classification"] is None:
            continue
        text, beaten = _against_majority(run["display_names"][source], values)
        (findings if beaten else alerts).append(text)
    return alerts, findings


def _against_majority(name: str, values: Mapping[str, Any]) -> tuple[str, bool]:
    """Always calling one class has a balanced accuracy of 0.5: the interval must lie above it."""
    found = values["classification"]
    accuracy = (
        f"accuracy {number(found['accuracy'])} against {number(found['majority_baseline'])} of "
        "always calling the more frequent class"
    )
    if found["balanced_accuracy"] is None:
        return (
            f"{name}: only one class is present, so no figure shows that the two are told apart; {accuracy}.",
            True,
        )
    known = values["intervals"].get("classification.balanced_accuracy") or {"low": None}
    low = known["low"]  # None: too few groups for an interval, which shows nothing
    shown = with_interval(values, "classification.balanced_accuracy")
    if low is not None and low > 0.5:
        return (
            f"{name}: balanced accuracy {shown} against 0.5 of a constant call; {accuracy}.",
            True,
        )
    return (
        f"{name}: the model is NOT shown to be better than a constant call: balanced accuracy "
        f"{shown} against 0.5; {accuracy}.",
        False,
    )


def headline(result: Mapping[str, Any], run: Mapping[str, Any]) -> list[Block]:
    """The main figures, one column per source."""
    names = [run["display_names"][source] for source in result]
    rows = [
        [label, *(_headline_cell(values, key) for values in result.values())]
        for key, label in HEADLINE.items()
    ]
    blocks = [
        table(
            ["", *names],
            [row for row in rows if set(row[1:]) != {NOT_MEASURED}],
            note="Value (95 % interval), counts where the figure is a proportion. n/d: not defined. "
            "-: the source has no such annotation.",
        )
    ]
    if len(result) > 1:
        blocks.append(
            paragraph(
                "No figure is pooled over sources: label and source go together, so that a pooled "
                "accuracy would reward telling the sources apart."
            )
        )
    return blocks


def _headline_cell(values: Mapping[str, Any], key: str) -> str:
    if values[key.partition(".")[0]] is None:
        return NOT_MEASURED
    if key in BASELINES:  # a property of the data, not an estimate of the model's
        return number(lookup(values, key))
    if lookup(values, key) is None:
        return NOT_DEFINED
    return with_interval(values, key)
