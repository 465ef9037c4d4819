"""Numbers in sentences."""

from __future__ import annotations


def quantity(n: int, unit: str) -> str:
    """ "3 patients", "1 patient"; ``unit`` is a plural in -s, or in -ches."""
    ending = "es" if unit.endswith("ches") else "s"
    return f"{n} {unit.removesuffix(ending) if n == 1 else unit}"


def duration(seconds: float) -> str:
    """``42 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
