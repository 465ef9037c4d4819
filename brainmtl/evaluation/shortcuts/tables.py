"""Small helpers for the Markdown of the section."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from brainmtl.evaluation.table import NOT_DEFINED
from brainmtl.markdown import markdown_table


def number(value: float | None, sign: bool = False) -> str:
    """Two decimals, with a sign if asked for; "n/d" for what is not defined."""
    if value is None:
        return NOT_DEFINED
    return f"{value:+.2f}" if sign else f"{value:.2f}"


def percent(value: float | None) -> str:
    """A share as a whole percentage, below 10 % with one decimal."""
    if value is None:
        return NOT_DEFINED
    return f"{value:.1%}" if value < 0.1 else f"{value:.0%}"


def fraction(counts: Sequence[int]) -> str:
    """ "3/20"."""
    return "/".join(map(str, counts))


def interval(found: Mapping[str, Any] | None, sign: bool = False) -> str:
    """ "+0.02 to +0.11", or the note that says why there is none."""
    if found is None:
        return NOT_DEFINED
    if found["low"] is None:
        return found["note"]
    return f"{number(found['low'], sign)} to {number(found['high'], sign)}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], n_text: int = 1) -> list[str]:
    """Lines of a Markdown table and an empty one; the first ``n_text`` columns are set left."""
    return [*markdown_table(header, rows, range(n_text)), ""]
