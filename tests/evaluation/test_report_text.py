"""Figures and names as text: intervals with their reason, and Markdown that shows what it is given."""

from __future__ import annotations

import html
import re
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt

from brainmtl.evaluation.report import with_interval
from brainmtl.evaluation.report.document import table
from brainmtl.evaluation.report.html import rich
from brainmtl.evaluation.report.markdown import escape, inline, nested
from brainmtl.evaluation.report.text import basis, counts_of, number, resampling

ALPHABET = [*"ab1 _*`~[]()<>|\\&#+-=.!:;\"'$", "&lt;", "</b>", "1. ", "- ", "__", "**", "\n"]


def values(**intervals: Any) -> dict[str, Any]:
    return {
        "classification": {
            "sensitivity": 136 / 149,
            "specificity": None,
            "brier": 0.125,
            "counts": {"sensitivity": [136, 149], "specificity": [0, 0]},
        },
        "segmentation": {"empty": {"false_positive_rate": 0.25, "counts": [1, 4]}},
        "patient": None,
        "intervals": {f"classification.{key}": value for key, value in intervals.items()},
    }


def test_figure_with_interval_and_counts() -> None:
    found = {"low": 0.8611, "high": 0.9476, "method": "bca", "n": 40, "resamples": 2000}
    known = values(sensitivity=found, brier=found | {"method": "percentile", "note": "a tie"})
    assert with_interval(known, "classification.sensitivity") == "0.913 (0.861 to 0.948), 136/149"
    assert with_interval(known, "classification.brier") == "0.125 (0.861 to 0.948)"
    assert basis(known, "classification.sensitivity") == "BCa bootstrap, n = 40"
    assert basis(known, "classification.brier") == "percentile bootstrap, n = 40 (a tie)"
    assert "2000 times" in resampling(known, "classification")
    assert resampling(known, "segmentation") == ""


def test_figure_without_interval_says_why() -> None:
    reason = {"low": None, "high": None, "n": 1, "note": "one patient: no interval"}
    known = values(sensitivity=reason, specificity=reason)
    assert (
        with_interval(known, "classification.sensitivity")
        == "0.913 (one patient: no interval), 136/149"
    )
    assert with_interval(known, "classification.specificity") == "n/d"
    assert with_interval(known, "classification.brier") == "0.125 (interval not computed)"
    assert basis(known, "classification.sensitivity") == ""
    rate = "segmentation.empty.false_positive_rate"
    assert with_interval(known, rate) == "0.250 (interval not computed), 1/4"
    assert with_interval(known, "patient.sensitivity") == "n/d"
    assert counts_of(known, "patient.sensitivity") is None
    with pytest.raises(KeyError):
        with_interval(known, "classification.sensitivty")


def test_numbers() -> None:
    assert [number(v) for v in (None, 0, 7, 0.0, 1.0, -0.25)] == [
        "n/d",
        "0",
        "7",
        "0.000",
        "1.000",
        "-0.250",
    ]


def shown(rendered: str) -> str:
    """The text of HTML that holds a paragraph (or table cell) and nothing else."""
    assert not re.search(r"<(?!/?(p|table|thead|tbody|tr|th|td)\b)", rendered), rendered
    return html.unescape(re.sub(r"<[^>]*>", "", rendered)).strip()


@pytest.mark.parametrize("seed", range(5))
def test_markdown_shows_any_text_literally(seed: int) -> None:
    rng = np.random.default_rng(seed)
    renderer = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for _ in range(400):
        text = "".join(rng.choice(ALPHABET, size=rng.integers(1, 12)))
        wanted = " ".join(text.split())
        assert shown(renderer.render(escape(text))) == wanted, repr(text)
        cell = renderer.render(f"| {inline(text)} |\n|---|\n| {inline(text)} |\n")
        assert shown(cell).split("\n\n")[0].strip() == wanted, repr(text)


def test_headings_of_a_section_lie_below_its_title() -> None:
    text = "# A\n\n## B\n\ntext\n\n~~~\n# code\n```\n# code\n~~~\n\n###### C\n"
    assert nested(text, "A") == "### B\n\ntext\n\n~~~\n# code\n```\n# code\n~~~\n\n###### C"
    assert nested(text, "Other").startswith("### A\n\n#### B\n")
    assert nested("### B\n\n#### C", "A") == "### B\n\n#### C"
    assert nested("", "A") == "" and nested("plain\n", "A") == "plain"


def test_ready_markdown_can_neither_link_nor_embed() -> None:
    text = "<b>x</b> [a](http://a.example) <http://b.example> ![p](p.png)\n\n[a]\n\n[a]: http://c.example\n"
    rendered = rich(text)
    assert not re.search(r"<(b|a|img)\b", rendered)
    assert "<table>" in rich("| a |\n|---|\n| 1 |\n")


def test_table_rows_must_fit() -> None:
    with pytest.raises(ValueError, match="does not fit the 2 columns"):
        table(["a", "b"], [["1", "2"], ["1"]])
