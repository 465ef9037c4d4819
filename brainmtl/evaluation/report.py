"""The Markdown report of one evaluation: remarks, headline per source, details, figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brainmtl.data.manifest import SYNTHETIC_PREFIX, display_name
from brainmtl.evaluation.table import NOT_DEFINED, stage_rows, stage_table

Pictures = Mapping[str, Sequence[tuple[str, Path]]]

CLASSIFICATION_LINES = {
    "accuracy": "Accuracy",
    "majority_baseline": "Majority baseline (accuracy of always calling the more frequent class)",
    "balanced_accuracy": "Balanced accuracy (mean of sensitivity and specificity)",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision",
    "f1": "F1",
    "roc_auc": "ROC-AUC",
    "prevalence": "Prevalence of tumour",
}


def report(result: Mapping[str, Any], run: Mapping[str, Any], pictures: Pictures) -> str:
    """Markdown from the contents of metrics.json and run.json.

    ``pictures`` maps a source to (caption, path relative to the report).
    """
    _, headline = stage_table(
        stage_rows(str(run["stage"]), {"metrics": dict(result), "run": dict(run)})
    )
    lines = [f"# Evaluation of stage {run['stage']} on split {run['split']}", ""]
    lines += [f"> {remark}\n>" for remark in run["remarks"]]
    if run["remarks"]:
        lines[-1] = lines[-1].removesuffix("\n>")
        lines.append("")
    lines += ["## Headline, per source", "", headline]
    if len(result) > 1:
        lines += [
            "No figure is pooled over sources: label and source go together, so that a pooled "
            "accuracy would reward telling the sources apart.",
            "",
        ]
    for source, values in result.items():
        lines += _source(run["display_names"][source], values, pictures.get(source, ()))
    return "\n".join([*lines, *_provenance(run)])


def _source(
    name: str, values: Mapping[str, Any], pictures: Sequence[tuple[str, Path]]
) -> list[str]:
    lines = [f"## {name}", ""]
    lines += _classification(values["classification"])
    lines += _segmentation(values["segmentation"])
    for caption, path in pictures:
        lines += [f"![{caption}]({path.as_posix()})", "", f"*{caption}.*", ""]
    return lines


def _classification(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return ["No classification: no image of this source and split has a label.", ""]
    lines = [
        f"Classification of {found['n']} labelled images ({found['n_positive']} with tumour, "
        f"{found['n_negative']} without), called tumour when P >= {found['threshold']:g}:",
        "",
        "| | Value | Counts |",
        "|---|---:|---:|",
    ]
    for key, label in CLASSIFICATION_LINES.items():
        counts = found["counts"].get(key)
        lines.append(
            f"| {label} | {number(found[key])} | {'/'.join(map(str, counts)) if counts else ''} |"
        )
    return [*lines, ""]


def _segmentation(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return ["No segmentation figures: this source has no reference masks.", ""]
    patients = found["per_patient"]
    return [
        f"Segmentation, a pixel is tumour when its probability is at least {found['threshold']:g}:",
        "",
        "| | Dice, mean +- SD | IoU, mean +- SD | n with tumour "
        "| False positives on empty references |",
        "|---|---:|---:|---:|---:|",
        f"| Per patient, original grid, all slices | {spread(patients, 'dice')} "
        f"| {spread(patients, 'iou')} | {patients['n']} | {_empty(patients['empty'], 'voxels')} |",
        f"| Per slice, {found['grid']} | {spread(found, 'dice')} | {spread(found, 'iou')} "
        f"| {found['n']} | {_empty(found['empty'], 'pixels')} |",
        "",
        f"A false positive has at least {found['empty']['min_pixels']} predicted tumour pixel(s).",
        "",
    ]


def _empty(empty: Mapping[str, Any], unit: str) -> str:
    if not empty["n"]:
        return "no empty reference"
    hits, n = empty["counts"]
    return (
        f"{hits}/{n} ({number(empty['false_positive_rate'])}), mean "
        f"{empty['mean_predicted_pixels']:.1f} {unit}"
    )


def number(value: float | None) -> str:
    """Three decimals, or "n/d" for what is not defined."""
    return NOT_DEFINED if value is None else f"{value:.3f}"


def spread(values: Mapping[str, Any], key: str) -> str:
    """``mean +- SD``; the SD of a single value is not defined and left out."""
    mean, sd = values[key], values[f"{key}_sd"]
    return number(mean) if sd is None else f"{number(mean)} +- {number(sd)}"


def _provenance(run: Mapping[str, Any]) -> list[str]:
    names = [display_name(s, s.startswith(SYNTHETIC_PREFIX)) for s in run["training_sources"]]
    trained_on = ", ".join(names) or "unknown sources"
    return [
        "## Where this comes from",
        "",
        f"- Checkpoint `{run['checkpoint']}` (SHA-256 `{run['checkpoint_sha256'][:16]}`), stage "
        f"{run['stage']}, trained on {trained_on}.",
        f"- Data `{run['data_dir']}` (manifest SHA-256 `{run['manifest_sha256'][:16]}`), split "
        f"{run['split']}, preprocessing version {run['preprocessing_version']}.",
        f"- {run['device']}, precision {run['precision']}, batch size {run['batch_size']}.",
        "- Files beside this one: `metrics.json`, `predictions.csv`, `cases.csv`, `run.json`.",
        "- Research software, not a medical device.",
        "",
    ]
