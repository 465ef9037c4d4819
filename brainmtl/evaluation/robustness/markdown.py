"""The robustness part of the Markdown report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainmtl.evaluation.report.text import fraction, number
from brainmtl.markdown import markdown_table

SHOWN_LEVELS = (3, 5)
HOW_TO_READ = (
    "Each image was corrupted as if its raw picture had been, prepared as usual, and predicted again: "
    "where Dice and balanced accuracy stay near their clean values up to level 5 the model bears the "
    "corruption, and calls count as flipped when they differ from the clean image's, whichever of the "
    "two is right. "
    "Only a few images of each patient were drawn and masks are not cleaned, so a few hundredths say "
    "little: look for a steady fall from level to level."
)
HOW_TO_READ_CHECKS = (
    "The checks need no reference, since nothing that they change should matter: dP is the absolute "
    "change of the tumour probability, and Dice compares the two predicted masks with each other "
    "(1 = the same mask; two empty ones are left out)."
)
COLUMNS = {"dice": "Dice", "balanced_accuracy": "Bal. accuracy"}


def robustness_markdown(section: Mapping[str, Any], display_names: Mapping[str, str]) -> str:
    """Markdown of what :func:`~brainmtl.evaluation.robustness.curves.robustness` returns.

    A heading, how to read it, and two tables per source under its display name. Dice and balanced
    accuracy have no columns where they are not defined: no masks, one class.
    """
    lines = ["## Robustness", "", HOW_TO_READ, "", HOW_TO_READ_CHECKS, ""]
    for source, values in section["sources"].items():
        lines += [
            f"### {display_names[source]}",
            "",
            _drawn(values),
            "",
            *_curves(section["corruptions"], values),
            "",
            *_checks(section["checks"], values["metamorphic"]),
            "",
        ]
    return "\n".join(lines)


def _drawn(values: Mapping[str, Any]) -> str:
    clean = values["clean"]
    return (
        f"{values['n_images']} images of {values['n_groups']} patients (or groups of duplicates): "
        f"{clean['sensitivity']['counts'][1]} with tumour, "
        f"{clean['specificity']['counts'][1]} without; {clean['n_dice']} tumour masks."
    )


def _curves(corruptions: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """Clean, level 3 and level 5 of what is defined on clean images, and the calls flipped."""
    clean = values["clean"]
    columns = {key: title for key, title in COLUMNS.items() if clean[key] is not None}
    levels = [f"level {level}" for level in SHOWN_LEVELS]
    heads = [f"Corruption (level {' / '.join(map(str, SHOWN_LEVELS))})"]
    heads += [f"{title}, {name}" for title in columns.values() for name in ("clean", *levels)]
    heads += [f"Calls flipped, {name}" for name in levels]
    rows = []
    for name, corruption in corruptions.items():
        shown = [values["corruptions"][name][level - 1] for level in SHOWN_LEVELS]
        strengths = " / ".join(f"{corruption['parameters'][k - 1]:g}" for k in SHOWN_LEVELS)
        cells = [number(found[key]) for key in columns for found in (clean, *shown)]
        cells += [_flips(found) for found in shown]
        title = f"{corruption['title']}, {corruption['unit']} ({strengths})"
        rows.append([title, *cells])
    return markdown_table(heads, rows)


def _checks(titles: Mapping[str, str], found: Mapping[str, Any]) -> list[str]:
    heads = ["Check", "dP mean", "dP 95th percentile", "dP max", "Calls flipped", "Dice mean"]
    heads += ["Dice 5th percentile", "Dice min", "n masks"]
    rows = []
    for name, title in titles.items():
        change, masks = found[name]["probability_change"], found[name]["mask_dice"]
        cells = [number(change[key]) for key in ("mean", "p95", "max")]
        cells += [_flips(found[name])]
        cells += [number(masks[key]) for key in ("mean", "p5", "min")]
        rows.append([title, *cells, str(masks["n"])])
    return markdown_table(heads, rows)


def _flips(found: Mapping[str, Any]) -> str:
    flipped, n = found["flipped"]["counts"]
    return f"{fraction((flipped, n))} ({flipped / n:.0%})"
