"""Numbers in sentences."""

from __future__ import annotations


def quantity(n: int, unit: str) -> str:
    """ "3 patients", "1 patient"; ``unit`` is a plural in -s, or in -ches."""
    ending = "es" if unit.endswith("ches") else "s"
    return f"{n} {unit.removesuffix(ending) if n == 1 else unit}"
