"""The report as plain data: chapters made of blocks, which Markdown and HTML render alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Block = dict[str, Any]
Chapter = dict[str, Any]
Picture = tuple[str, Path]  # caption, path (absolute, or relative to the folder of the report)
Pictures = Mapping[str, Sequence[Picture]]


@dataclass(frozen=True)
class Section:
    """A chapter of the report that another part of the evaluation has written.

    ``markdown`` may hold paragraphs, lists, tables and headings. Headings are moved below the
    chapter's own, and one that only repeats ``title`` is left out; in the HTML file raw HTML, links
    and pictures of it are shown as text. ``findings`` are sentences for the
    first lines of the report, ``alerts`` those that must come before everything else, such as that
    the model does not beat a trivial baseline.
    """

    title: str
    markdown: str
    pictures: Sequence[Picture] = ()
    findings: Sequence[str] = ()
    alerts: Sequence[str] = ()


def chapter(title: str, blocks: Iterable[Block]) -> Chapter:
    """A chapter with its blocks in order."""
    return {"title": title, "blocks": list(blocks)}


def heading(text: str) -> Block:
    """A heading within a chapter."""
    return {"kind": "heading", "text": text}


def paragraph(text: str) -> Block:
    """One paragraph of plain text."""
    return {"kind": "paragraph", "text": text}


def bullets(items: Iterable[str]) -> Block:
    """A list of plain texts."""
    return {"kind": "bullets", "items": list(items)}


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    text_columns: Sequence[int] = (0,),
    note: str = "",
) -> Block:
    """A table of texts; columns named in ``text_columns`` are set left, the others right.

    Raises:
        ValueError: a row of another length than ``columns``.
    """
    cells = [list(map(str, row)) for row in rows]
    for row in cells:
        if len(row) != len(columns):
            raise ValueError(f"row {row} does not fit the {len(columns)} columns {list(columns)}")
    return {
        "kind": "table",
        "columns": [
            {"title": title, "align": "left" if k in text_columns else "right"}
            for k, title in enumerate(columns)
        ],
        "rows": cells,
        "note": note,
    }


def figures(pictures: Iterable[tuple[str, str]], wide: bool = False) -> list[Block]:
    """Pictures side by side where there is room, or each at full width; empty without pictures."""
    found = [{"caption": caption, "path": path} for caption, path in pictures]
    return [{"kind": "figures", "wide": wide, "pictures": found}] if found else []


def ready(markdown: str) -> Block:
    """Markdown that is rendered instead of shown literally."""
    return {"kind": "markdown", "text": markdown}
