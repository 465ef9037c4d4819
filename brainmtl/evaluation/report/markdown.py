"""The report as Markdown (CommonMark with tables)."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from brainmtl.markdown import markdown_table

# What could start emphasis, code, a link, strike-through or a table cell.
SPECIAL = re.compile(r"([\\`*\[\]~|])|(?<![A-Za-z0-9])(_)|(_)(?![A-Za-z0-9])")
BLOCK_START = re.compile(r"^(\d+(?=[.)](?:\s|$))|)([-+#>=.)])")
TAG_OR_ENTITY = re.compile(r"<(?=[A-Za-z/!?])|&(?=#?\w+;)")
FENCE = re.compile(r"^ {0,3}(```|~~~)")
HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*)$")


def inline(text: str) -> str:
    """``text`` on one line, so that Markdown shows it literally within a line or a table cell."""
    line = TAG_OR_ENTITY.sub(lambda found: html.escape(found.group()), " ".join(text.split()))
    return SPECIAL.sub(lambda found: f"\\{found.group()}", line)


def escape(text: str) -> str:
    """As :func:`inline`, and neither a list, a heading nor a quotation where it begins a line."""
    return BLOCK_START.sub(r"\1\\\2", inline(text))


def to_markdown(report: Mapping[str, Any]) -> str:
    """Markdown of what :func:`brainmtl.evaluation.report.build.build_report` returned."""
    lines = [f"# {escape(report['title'])}", "", f"*{escape(report['notice'])}*", ""]
    for text in report["alerts"]:
        lines += [f"> **{escape(text)}**", ""]
    for block in report["opening"]:
        lines += _block(block)
    for text in report["findings"]:
        lines.append(f"- {escape(text)}")
    if report["findings"]:
        lines.append("")
    for text in report["remarks"]:
        lines += [f"> {escape(text)}", ""]
    for chapter in report["chapters"]:
        lines += [f"## {escape(chapter['title'])}", ""]
        for block in chapter["blocks"]:
            lines += _block(block)
    return "\n".join(lines).rstrip("\n") + "\n"


def nested(markdown: str, title: str, top: int = 3) -> str:
    """``markdown`` as the body of the chapter ``title``: its highest heading gets level ``top``.

    A heading that opens it with the chapter's own title is left out. Code is left as it is.
    """
    lines = markdown.strip("\n").splitlines()
    if lines and (found := HEADING.match(lines[0])) and found.group(2).strip() == title:
        lines = lines[1:]
    headings, fence = {}, None
    for k, line in enumerate(lines):
        opened = FENCE.match(line)
        if opened and fence in (None, opened.group(1)):
            fence = None if fence else opened.group(1)
        elif fence is None and (found := HEADING.match(line)):
            headings[k] = found
    shift = top - min((len(found.group(1)) for found in headings.values()), default=top)
    for k, found in headings.items():
        level = min(6, len(found.group(1)) + shift)
        lines[k] = f"{'#' * level} {found.group(2)}"
    return "\n".join(lines).strip("\n")


def _block(block: Mapping[str, Any]) -> list[str]:
    match block["kind"]:
        case "heading":
            return [f"### {escape(block['text'])}", ""]
        case "paragraph":
            return [escape(block["text"]), ""]
        case "bullets":
            return [*(f"- {escape(item)}" for item in block["items"]), ""]
        case "table":
            return _table(block)
        case "figures":
            return [line for picture in block["pictures"] for line in _picture(picture)]
        case "markdown":
            return [block["text"], ""]
    raise ValueError(f"block of unknown kind {block['kind']!r}")


def _table(block: Mapping[str, Any]) -> list[str]:
    columns = block["columns"]
    heads = [inline(column["title"]) for column in columns]
    rows = (map(inline, row) for row in block["rows"])
    left = [k for k, column in enumerate(columns) if column["align"] == "left"]
    lines = [*markdown_table(heads, rows, left), ""]
    return [*lines, escape(block["note"]), ""] if block["note"] else lines


def _picture(picture: Mapping[str, str]) -> list[str]:
    caption = escape(picture["caption"])
    return [f"![{caption}]({quote(picture['path'])})", "", f"*{caption}.*", ""]
