"""The rows on the terminal or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.speed.timing import Row
from brainmtl.markdown import markdown_table

HEADER = ("section", "row", "median", "ratio (quartiles)", "the ratio is")


def cells(row: Row) -> tuple[str, ...]:
    """What is shown of a row; "-" where there is nothing."""
    value = "-" if row.value is None else f"{_number(row.value)} {row.unit}"
    ratio = "-" if row.ratio is None else _number(row.ratio)
    if row.spread is not None:
        ratio += f" ({_number(row.spread[0])} to {_number(row.spread[1])})"
    return (row.section, row.name, value, ratio, row.against)


def to_markdown(rows: Sequence[Row]) -> str:
    """Header and rows as a Markdown table."""
    return "\n".join(markdown_table(HEADER, map(cells, rows), (0, 1, 4)))


def print_table(rows: Sequence[Row]) -> None:
    """One table per section on the terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for section in dict.fromkeys(row.section for row in rows):
        table = Table(title=section, title_justify="left")
        for column, name in enumerate(HEADER[1:]):
            table.add_column(name, justify="right" if column in (1, 2) else "left")
        for row in rows:
            if row.section == section:
                table.add_row(*cells(row)[1:])
        console.print(table)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
