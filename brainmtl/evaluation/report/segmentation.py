"""The tables on one source's masks: overlap, surfaces, volumes, lesions, the call per patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brainmtl.evaluation.report.document import Block, heading, paragraph, table
from brainmtl.evaluation.report.text import (
    NOT_DEFINED,
    basis,
    fraction,
    interval,
    number,
    resampling,
    spread,
    with_interval,
)
from brainmtl.words import quantity

# Key, label, whether it has an SD. {u} is the unit of distance, {t} the tolerance with its unit.
LINES = (
    ("dice", "Dice", True),
    ("iou", "Intersection over union", True),
    ("nsd", "Normalised surface Dice, tolerance {t}", True),
    ("boundary_f", "Boundary F, tolerance {t}", True),
    ("hd95", "95 % Hausdorff distance in {u}", True),
    ("pixel_accuracy", "Pixel accuracy", False),
)


def segmentation(values: Mapping[str, Any], pictures: Sequence[Block] = ()) -> list[Block]:
    """Blocks of one source with its ``pictures``; a sentence where it has no reference masks."""
    found = values["segmentation"]
    blocks = [heading("Segmentation")]
    if found is None:
        return [*blocks, paragraph("No image of this source has a reference mask: no figures.")]
    patients = found["per_patient"]
    blocks.append(
        paragraph(
            f"A pixel is tumour when its probability is at least {found['threshold']:.3g}. Means "
            f"are over references that hold tumour: {patients['n']} patients or groups "
            f"({patients['n_cases']} volumes or pictures in all) on the original grid with all "
            f"slices, and {quantity(found['n'], 'slices')} on the {found['grid']} grid."
        )
    )
    return [
        *blocks,
        _overlap(values, "segmentation.per_patient", patients, "Per patient"),
        _overlap(values, "segmentation", found, "Per slice"),
        *pictures,
        _empty(values, found, patients),
        *_volumes(values, patients),
        _lesions(values, patients["lesions"]),
    ]


def _overlap(values: Mapping[str, Any], prefix: str, found: Mapping[str, Any], title: str) -> Block:
    unit, tolerance = found["distance_unit"], found["tolerance"]
    reach = "that differs between cases" if tolerance is None else f"{tolerance:.3g} {unit}"
    lines = list(LINES)
    if "gated_dice" in found:
        lines.insert(1, ("gated_dice", "Dice as served (masks emptied where P is low)", True))
    rows = [
        [
            label.format(u=unit or "units that differ", t=reach),
            spread(found, key) if with_sd else number(found[key]),
            interval(values, f"{prefix}.{key}"),
            basis(values, f"{prefix}.{key}"),
        ]
        for key, label, with_sd in lines
    ]
    note = (
        f"{title}: {found['grid']} grid, n = {found['n']}. Hausdorff distances are over "
        f"{found['hd95_n']}; {quantity(found['hd95_missed'], 'references')} with tumour got an empty prediction, "
        f"which has no distance. Pixel accuracy counts background too and is high for empty masks. "
        f"{resampling(values, prefix)}"
    )
    return table(
        [title, "Mean ± SD", "95 % interval", "Interval from"],
        rows,
        text_columns=(0, 3),
        note=note.strip(),
    )


def _empty(
    values: Mapping[str, Any], found: Mapping[str, Any], patients: Mapping[str, Any]
) -> Block:
    rows = [
        [
            label,
            number(empty["n"]),
            fraction(empty["counts"]),
            number(empty["false_positive_rate"]),
            interval(values, f"{prefix}.empty.false_positive_rate"),
            number(empty["mean_predicted_pixels"], 1),
            number(empty["min_pixels"]),
        ]
        for label, prefix, empty in (
            ("Volumes or pictures, in voxels", "segmentation.per_patient", patients["empty"]),
            ("Slices, in pixels", "segmentation", found["empty"]),
        )
    ]
    return table(
        [
            "References without tumour",
            "n",
            "False positive",
            "Share",
            "95 % interval",
            "Mean predicted",
            "Counted from",
        ],
        rows,
        note="Dice is not defined on them; a false positive is a mask of at least the size in the "
        "last column.",
    )


def _volumes(values: Mapping[str, Any], patients: Mapping[str, Any]) -> list[Block]:
    if patients["volume_error_ml"] is None:
        return [
            paragraph("Volumes in ml: not defined, the pixel spacing of this source is unknown.")
        ]
    key = "segmentation.per_patient."
    rows = [
        [
            "Error (predicted minus reference)",
            spread(patients, "volume_error_ml"),
            interval(values, f"{key}volume_error_ml"),
        ],
        [
            "Absolute error",
            number(patients["absolute_volume_error_ml"]),
            interval(values, f"{key}absolute_volume_error_ml"),
        ],
    ]
    agreement = patients["bland_altman"]
    if agreement is not None:
        bias = f"{number(agreement['bias'])} ± {number(agreement['sd'])}"
        for name, label, shown in (
            ("bias", f"Bias (Bland-Altman, n = {agreement['n']} patients)", bias),
            ("lower", "Lower 95 % limit of agreement", number(agreement["lower"])),
            ("upper", "Upper 95 % limit of agreement", number(agreement["upper"])),
        ):
            rows.append([label, shown, interval(values, f"{key}bland_altman.{name}")])
    return [table(["Tumour volume in ml", "Mean ± SD", "95 % interval"], rows)]


def _lesions(values: Mapping[str, Any], lesions: Mapping[str, Any]) -> Block:
    missed = lesions["reference"] - lesions["found"]
    return table(
        ["Lesions", "Value"],
        [
            ["In the references (connected parts)", number(lesions["reference"])],
            ["Found", number(lesions["found"])],
            ["Missed", number(missed)],
            ["Share found", with_interval(values, "segmentation.per_patient.lesions.sensitivity")],
            ["Predicted parts that touch no lesion", number(lesions["false_positive_components"])],
            [
                "The same per volume or picture",
                with_interval(values, "segmentation.per_patient.lesions.false_positives_per_case"),
            ],
        ],
    )


def patient(values: Mapping[str, Any]) -> list[Block]:
    """The call per patient; empty where the source has none."""
    found = values["patient"]
    if found is None:
        return []
    rows = [
        [
            label,
            number(found[key]),
            interval(values, f"patient.{key}") if found[key] is not None else NOT_DEFINED,
            fraction(found["counts"].get(key)),
        ]
        for key, label in (("sensitivity", "Sensitivity"), ("specificity", "Specificity"))
    ]
    blocks = [
        heading("Decision per patient"),
        paragraph(
            f"{found['rule']} "
            f"{quantity(found['n_positive'], 'patients')} with tumour, {found['n_negative']} without."
        ),
        table(["Patients", "Value", "95 % interval", "Counts"], rows),
    ]
    if not found["n_negative"]:
        blocks.append(
            paragraph(
                "No patient without tumour is among them: nothing here says how often a healthy "
                "person would be called ill."
            )
        )
    return blocks


def literature(values: Mapping[str, Any]) -> list[Block]:
    """The protocol of older papers; empty where the source has none."""
    found = values["literature"]
    if found is None:
        return []
    return [
        heading("For comparison only: the protocol of the older literature"),
        paragraph(found["note"]),
        table(
            ["Older protocol", "Value"],
            [
                ["Dice pooled over the pixels of a batch", number(found["batch_pooled_dice"])],
                ["Accuracy pooled over the images", number(found["pooled_accuracy"])],
                ["Combined metric", number(found["combined_metric"])],
            ],
        ),
    ]
