"""The model card as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainmtl.evaluation.report.document import Block, bullets, chapter, heading, paragraph, table
from brainmtl.evaluation.report.markdown import to_markdown
from brainmtl.evaluation.report.operating import advice_table, operating_point
from brainmtl.evaluation.report.overview import training_names
from brainmtl.evaluation.report.text import described, number
from brainmtl.evaluation.table import NOT_MEASURED
from brainmtl.inference.operating.bands import Band

LABELS = {
    "classification.balanced_accuracy": "Balanced accuracy",
    "classification.accuracy": "Accuracy",
    "classification.majority_baseline": "Accuracy of always calling the more frequent class",
    "classification.sensitivity": "Sensitivity",
    "classification.specificity": "Specificity",
    "classification.roc_auc": "ROC-AUC",
    "classification.pr_auc": "Average precision",
    "classification.brier": "Brier score",
    "classification.ece": "Expected calibration error",
    "segmentation.per_patient.dice": "Dice per patient",
    "segmentation.per_patient.gated_dice": "Dice per patient, as served",
    "segmentation.per_patient.nsd": "Normalised surface Dice per patient",
    "segmentation.per_patient.hd95": "95 % Hausdorff distance per patient (mm; px where no spacing is known)",
    "segmentation.per_patient.volume_error_ml": "Volume error per patient (ml)",
    "segmentation.dice": "Dice per slice",
    "segmentation.nsd": "Normalised surface Dice per slice",
    "segmentation.hd95": "95 % Hausdorff distance per slice (px)",
    "patient.sensitivity": "Sensitivity per patient",
    "patient.specificity": "Specificity per patient",
}
COUNTS = {
    "n_images": "Images",
    "n_labelled": "With label",
    "n_with_tumour": "With tumour",
    "n_without_tumour": "Without tumour",
    "n_patients_with_tumour_mask": "Patients or groups with tumour mask",
    "n_cases_with_mask": "Volumes or pictures with mask",
}


def card_markdown(card: Mapping[str, Any]) -> str:
    """Markdown of :func:`brainmtl.evaluation.card.build_card`'s dict, in the sections of Mitchell et
    al. 2019."""
    names = {source: data["display_name"] for source, data in card["data"].items()}
    chapters = [
        chapter("Model details", [_details(card)]),
        chapter(
            "Intended use",
            [
                paragraph(card["intended_use"]),
                heading("Out of scope"),
                bullets(card["out_of_scope_use"]),
            ],
        ),
        chapter("Training and evaluation data", [paragraph(_trained_on(card)), _data(card)]),
        chapter("Metrics", [_metrics(card, names)]),
        chapter("Operating point", operating_point({**card, "display_names": names})),
        chapter(
            "Advice per band of the calibrated probability",
            [advice_table([Band(**band) for band in card["bands"]])],
        ),
        chapter("Caveats: what these figures do not show", [bullets(card["limits"])]),
        chapter("References", [bullets(card["references"])]),
    ]
    return to_markdown(
        {
            "title": f"Model card: {card['name']}",
            "notice": card["notice"],
            "alerts": [],
            "opening": [paragraph(f"{card['task']}.")],
            "findings": [],
            "remarks": card["remarks"],
            "chapters": chapters,
        }
    )


def _details(card: Mapping[str, Any]) -> Block:
    rows = [
        ["Version of brainmtl", card["version"]],
        ["Stage of training", card["stage"]],
        ["Checkpoint", card["checkpoint"]],
        ["Checkpoint, SHA-256", card["checkpoint_sha256"]],
        ["Data, SHA-256 of the manifest", card["manifest_sha256"]],
        ["Preprocessing version", card["preprocessing_version"]],
        ["Input", f"{'x'.join(map(str, card['image_size']))} pixels, one prepared slice"],
        ["Licence", card["license"]],
        ["Software", ", ".join(f"{name} {found}" for name, found in card["software"].items())],
        ["Evaluated with", card["command"]],
    ]
    return table(["", ""], rows, text_columns=(0, 1))


def _trained_on(card: Mapping[str, Any]) -> str:
    made_up = [card["data"][source]["display_name"] for source in card["synthetic_evaluation"]]
    evaluated = f"Evaluated on split {card['split']}"
    if made_up:
        evaluated += f"; synthetic, drawn by a computer: {', '.join(made_up)}"
    return f"Trained on {training_names(card)}. {evaluated}."


def _data(card: Mapping[str, Any]) -> Block:
    return table(
        ["Source", "Data", "Seen in training", *COUNTS.values()],
        [
            [
                data["display_name"],
                "synthetic" if data["synthetic"] else "real",
                "yes" if data["seen_in_training"] else "no",
                *(number(data[key]) for key in COUNTS),
            ]
            for data in card["data"].values()
        ],
        text_columns=(0, 1, 2),
        note="n/d: the source has no such annotation.",
    )


def _metrics(card: Mapping[str, Any], names: Mapping[str, str]) -> Block:
    measured = card["eval_metrics"]
    rows = [
        [label, *(_cell(found, key) for found in measured.values())]
        for key, label in LABELS.items()
        if any(key in found for found in measured.values())
    ]
    return table(
        ["", *(names[source] for source in measured)],
        rows,
        note="Value (95 % interval), counts where the figure is a proportion. n/d: not defined. "
        "-: the source has no such annotation. Never pooled over sources.",
    )


def _cell(found: Mapping[str, Mapping[str, Any]], key: str) -> str:
    if key not in found:
        return NOT_MEASURED
    entry = found[key]
    if entry["low"] is None and entry["note"] is None:  # a property of the data has no interval
        return number(entry["value"])
    return described({"intervals": found}, key, entry["value"], entry["counts"])
