"""The comparison as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainmtl.evaluation.comparison.sentences import ONE_RUN
from brainmtl.evaluation.comparison.table import source_markdown

READING = (
    "Values and tests are on the cases that all evaluations share, each source by itself. n: patients "
    "with reference tumour for Dice; labelled images, or images/patients (groups of duplicates) "
    "where a patient has several. Change: difference of the two values. Paired difference: what the "
    "test estimates, for Dice the Hodges-Lehmann median of the differences of the same patients. p "
    "(Holm) is adjusted for all tests of this comparison and is the one to judge by."
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
    lines += ["", ONE_RUN, ""]
    for values in found["sources"].values():
        lines += [f"## {values['display_name']}", "", *source_markdown(values)]
    lines += [READING, ""]
    if picture is not None:
        caption = "Segmentation against classification, 95 % intervals, arrows from the baseline"
        lines += ["## Trade-off", "", f"![{caption}]({picture.name})", "", f"*{caption}.*", ""]
    lines += ["## Where this comes from", ""]
    for entry in found["evaluations"]:
        lines.append(
            f"- {entry['name']}: `{entry['folder']}`, checkpoint `{entry['checkpoint']}` (SHA-256 "
            f"`{entry['checkpoint_sha256'][:16]}`)."
        )
    lines += [
        f"- {found['resamples']} bootstrap resamples, seed {found['seed']}.",
        "- Research software, not a medical device.",
        "",
    ]
    return "\n".join(lines)
