"""The comparison as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainmtl.evaluation.comparison.sentences import training_notes
from brainmtl.evaluation.comparison.table import source_markdown

READING = (
    "Values and tests are on the cases that all evaluations share, each source by itself. n: patients "
    "with reference tumour for Dice; labelled images, or images/patients (groups of duplicates) "
    "where a patient has several. Change: difference of the two values. Paired difference: what the "
    "test estimates, for Dice the Hodges-Lehmann median of the differences of the same patients. p "
    "(Holm) is adjusted for all tests of this comparison and is the one to judge by."
)
VERDICTS = (
    "Verdict (margin): non-inferior where the lower end of the interval of the paired difference lies "
    "above minus the margin, inferior where the upper end lies below it, else not shown (Piaggio et al. "
    "2012, JAMA 308:2594). It takes a margin that was chosen before anyone looked at these results."
)


def comparison_report(found: Mapping[str, Any], picture: Path | None) -> str:
    """Markdown of comparison.json; ``picture`` lies beside it."""
    names = ", ".join(entry["name"] for entry in found["evaluations"])
    lines = [f"# Comparison on split {found['split']}: {names}", ""]
    for warning in found["warnings"]:
        lines += [f"> **Warning.** {warning}", ""]
    for remark in found["remarks"]:
        lines += [f"> {remark}", ""]
    lines += ["## What the tests say", ""]
    lines += [f"- {sentence}" for sentence in found["conclusions"]] or ["- Nothing was tested."]
    for note in training_notes(found["evaluations"]):
        lines += ["", note]
    lines.append("")
    for values in found["sources"].values():
        lines += [f"## {values['display_name']}", "", *source_markdown(values)]
    lines += [READING, ""]
    if found["margins"]:
        lines += [VERDICTS, ""]
    if picture is not None:
        caption = "Segmentation against classification, 95 % intervals, arrows from the baseline"
        if any(len(entry["runs"]) > 1 for entry in found["evaluations"]):
            caption += ", dots: single seeds"
        lines += ["## Trade-off", "", f"![{caption}]({picture.name})", "", f"*{caption}.*", ""]
    lines += ["## Where this comes from", ""]
    lines += [
        f"- {entry['name']}: `{run['folder']}`, checkpoint `{run['checkpoint']}` (SHA-256 "
        f"`{run['checkpoint_sha256'][:16]}`)."
        for entry in found["evaluations"]
        for run in entry["runs"]
    ]
    lines += [
        f"- {found['resamples']} bootstrap resamples, seed {found['seed']}.",
        "- Research software, not a medical device.",
        "",
    ]
    return "\n".join(lines)
