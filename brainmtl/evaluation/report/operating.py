"""The fitted operating point, and what to do in each band of the calibrated probability."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from brainmtl.evaluation.report.document import Block, heading, paragraph, table
from brainmtl.evaluation.report.text import NOT_DEFINED, fraction, number
from brainmtl.inference.operating.bands import Band, band_range

CANDIDATES = "candidates"
LABELS = {
    "version": "Version of the file format",
    "temperature": "Temperature of the calibration",
    "threshold": "Called tumour from this calibrated P on",
    "seg_gate": "Masks are emptied below this calibrated P",
    "seg_threshold": "A pixel is tumour from this probability on",
    "postprocess": "Cleaning of masks",
    "tta": "Test-time augmentation",
    "limit_ml": "A patient is called above this volume (ml)",
    "limit_voxels": "A patient is called above this volume (voxels, no spacing known)",
    "checkpoint_sha256": "Fitted for the checkpoint with SHA-256",
    "manifest_sha256": "Fitted on the data whose manifest has SHA-256",
    "split": "Fitted on split",
    "counts": "Fitted on",
    "images": "images",
    "remarks": "Remarks",
    "fitted": "Fitted",
}


def operating_point(run: Mapping[str, Any]) -> list[Block]:
    """What was fitted, on what, and the candidates that were compared for the masks.

    With folds, ``run["operating_point"]`` holds one entry per fold, which get a column each.
    """
    folds = run["operating_point"] if run["folds"] else {"Value": run["operating_point"]}
    columns = {name: dict(_leaves(point)) for name, point in folds.items()}
    labels = dict.fromkeys(label for column in columns.values() for label in column)
    blocks = [
        paragraph(
            "What was set before any figure was taken, and on which data. Settings that were fitted "
            "on the very images that are evaluated would flatter the figures."
        ),
        table(
            ["Setting", *columns],
            [[label, *(c.get(label, "") for c in columns.values())] for label in labels],
            text_columns=range(len(columns) + 1),
        ),
    ]
    for name, point in folds.items():
        if point.get(CANDIDATES):
            of = f", {name}" if run["folds"] else ""
            blocks.append(heading(f"Candidates of test-time augmentation and post-processing{of}"))
            blocks.append(_candidates(point[CANDIDATES], run["display_names"]))
    return blocks


def _candidates(candidates: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Block:
    sources = list(dict.fromkeys(name for entry in candidates for name in entry["dice"]))
    return table(
        [
            "Test-time augmentation",
            "Smallest part kept (pixels)",
            "Holes filled",
            *(f"Dice, {names.get(source, source)}" for source in sources),
            "Mean",
            "Chosen",
        ],
        [
            [
                _plain(entry["tta"]),
                number(entry["min_component_pixels"]),
                _plain(entry["fill_holes"]),
                *(number(entry["dice"].get(source)) for source in sources),
                number(entry["mean"]),
                "chosen" if entry["chosen"] else "",
            ]
            for entry in candidates
        ],
        note="Dice on the validation data. The chosen line was chosen for these figures, which are "
        "therefore optimistic.",
    )


def _leaves(point: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(label, text) of nested settings, all but the candidates, which have their own table."""
    for key, value in point.items():
        if key == CANDIDATES:
            continue
        label = LABELS.get(key, str(key).replace("_", " "))
        label = f"{prefix}: {label}" if prefix else label
        if isinstance(value, Mapping):
            yield from _leaves(value, label)
        else:
            yield label, _plain(value)


def _plain(value: Any) -> str:
    if value is None:
        return NOT_DEFINED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "; ".join(map(_plain, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def advice_table(bands: Sequence[Band]) -> Block:
    """The recommendation per band, the highest probabilities first."""
    return table(
        ["Calibrated P(tumour)", "Band", "Recommendation"],
        [[band_range(band.low, band.high), band.name, band.advice] for band in reversed(bands)],
        text_columns=(0, 1, 2),
    )


def bands_chapter(
    observed: Mapping[str, Sequence[Mapping[str, Any]]],
    bands: Sequence[Band],
    names: Mapping[str, str],
) -> list[Block]:
    """The recommendation per band and, per source, what such a probability meant there."""
    blocks = [
        advice_table(bands),
        paragraph(
            "The recommendations order the work of a reader; they replace none. What a probability "
            "meant in this data follows per source; elsewhere, with another share of patients with "
            "tumour or other scanners, it can mean something else."
        ),
    ]
    for source, lines in observed.items():
        blocks.append(heading(names[source]))
        if not any(line["n"] for line in lines):
            blocks.append(paragraph("No labelled image: nothing is known about the bands here."))
            continue
        blocks.append(_observed(lines))
    return blocks


def _observed(lines: Sequence[Mapping[str, Any]]) -> Block:
    total = sum(line["n"] for line in lines)
    return table(
        [
            "Band",
            "P from",
            "to",
            "Images",
            "Patients or groups",
            "With tumour",
            "Share",
            "95 % interval",
        ],
        [
            [
                line["name"],
                f"{line['low']:.2f}",
                f"{line['high']:.2f}",
                number(line["n"]),
                number(line["n_groups"]),
                fraction((line["n_positive"], line["n"])) if line["n"] else "",
                number(line["share"]),
                f"{number(line['share_low'])} to {number(line['share_high'])}"
                if line["n"]
                else "no image in this band",
            ]
            for line in reversed(lines)
        ],
        note=f"{total} labelled images. Wilson intervals, which take images for independent: slices "
        "of one patient are not, so the truth is less certain than they say.",
    )
