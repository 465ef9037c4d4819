"""A report as a test reads it: written, parsed, and taken apart into figures and texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import report_inputs as inputs

from brainmtl.evaluation.report import write_report
from brainmtl.inference.operating.bands import load_bands

VOID = {"meta", "img", "br", "hr", "link", "input"}
# Shown with other decimals, or as part of a sentence.
OTHERWISE = {"low", "high", "threshold", "tolerance", "mean_predicted_pixels", "limit"}


class Page(HTMLParser):
    """Tags must be closed in order; collects what a page refers to, its tags and its text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.rows: list[int] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = dict(attrs)
        self.references += [str(found[key]) for key in ("src", "href") if key in found]
        self.ids += [str(found["id"])] if "id" in found else []
        if tag == "img":
            assert found["alt"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def written(folder: Path, result: dict[str, Any], **given: Any) -> tuple[dict[str, Any], str, Page]:
    """(report.json, report.md, the parsed report.html) of a report on ``result``."""
    lines = {
        "rows": [row for source in result for row in inputs.rows(source)],
        "cases": [case for source in result for case in inputs.cases(source)],
        "pictures": {},
        "sections": [],
        "bands": load_bands(),
        "run": inputs.run(result),
    } | given
    paths = write_report(folder, result, lines.pop("run"), *lines.values())
    markdown = paths["markdown"].read_text(encoding="utf-8")
    page = Page(paths["html"].read_text(encoding="utf-8"))
    return json.loads(paths["json"].read_text(encoding="utf-8")), markdown, page


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key not in OTHERWISE or path.startswith("intervals"):
                yield from leaves(value, f"{path}.{key}".lstrip("."))
    elif isinstance(tree, list):
        for k, value in enumerate(tree):
            yield from leaves(value, f"{path}.{k}")
    elif isinstance(tree, float):
        yield path, tree


def texts(report: dict[str, Any]) -> Iterator[str]:
    """Every text of report.json that a reader should see."""
    yield from (report["title"], report["notice"], *report["alerts"], *report["findings"])
    yield from report["remarks"]
    for block in [*report["opening"], *(b for c in report["chapters"] for b in c["blocks"])]:
        if block["kind"] == "table":
            yield from (column["title"] for column in block["columns"])
            yield from (cell for row in block["rows"] for cell in row)
            yield block["note"]
        elif block["kind"] == "bullets":
            yield from block["items"]
        elif block["kind"] == "figures":
            yield from (picture["caption"] for picture in block["pictures"])
        else:
            yield block["text"]


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("\N{NO-BREAK SPACE}", " "))
