"""Numbers in sentences."""

from __future__ import annotations


def quantity(n: int, unit: str) -> str:
    """ "3 patients", "1 patient"; ``unit`` is a plural in -s."""
    return f"{n} {unit.removesuffix('s') if n == 1 else unit}"
