"""Tables in Markdown, as all reports write them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence


def markdown_table(
    heads: Sequence[str], rows: Iterable[Iterable[str]], text: Container[int] = (0,)
) -> list[str]:
    """Lines of a table: heading, marks, rows. The columns ``text`` are set left, the others right."""
    marks = "|".join("---" if k in text else "---:" for k in range(len(heads)))
    return [_row(heads), f"|{marks}|", *map(_row, rows)]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
