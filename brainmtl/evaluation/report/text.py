"""Figures as text: three decimals, intervals with their basis, and a reason where one is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brainmtl.evaluation.table import NOT_DEFINED

METHODS = {
    "bca": "BCa bootstrap",
    "percentile": "percentile bootstrap",
    "basic": "basic bootstrap",
    "wilson": "Wilson",
}
NO_INTERVAL = "not computed"


def number(value: float | None, digits: int = 3) -> str:
    """``digits`` decimals for a float, an int as it is, "n/d" for what is not defined."""
    if value is None:
        return NOT_DEFINED
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}"


def fraction(counts: Sequence[int] | None) -> str:
    """``[136, 149]`` -> "136/149"; empty without counts."""
    return "" if counts is None else "/".join(map(str, counts))


def spread(values: Mapping[str, Any], key: str) -> str:
    """Mean ± SD; the SD of a single value is not defined and left out."""
    mean, sd = values[key], values[f"{key}_sd"]
    return number(mean) if sd is None else f"{number(mean)} ± {number(sd)}"


def lookup(values: Mapping[str, Any] | None, key: str) -> Any:
    """The entry of nested dicts under a dotted key; None where a part of the way is None.

    Raises:
        KeyError: the key names nothing, which is a mistake of the caller.
    """
    found: Any = values
    for part in key.split("."):
        if found is None:
            return None
        found = found[part]
    return found


def counts_of(values: Mapping[str, Any], key: str) -> list[int] | None:
    """Numerator and denominator of the proportion under a dotted key, None for other figures."""
    parent_key, _, name = key.rpartition(".")
    parent = lookup(values, parent_key) or {}
    counts = parent.get("counts")
    return counts.get(name) if isinstance(counts, Mapping) else counts


def interval(values: Mapping[str, Any], key: str) -> str:
    """ "0.861 to 0.948", or why there is no interval (the note of metrics.json)."""
    found = values["intervals"].get(key)
    if found is None:
        return NO_INTERVAL
    if found["low"] is None:
        return found["note"]
    return f"{number(found['low'])} to {number(found['high'])}"


def basis(values: Mapping[str, Any], key: str) -> str:
    """How the interval came about, such as "BCa bootstrap, n = 40"; empty without one."""
    found = values["intervals"].get(key)
    if found is None or found["low"] is None:
        return ""
    text = f"{METHODS.get(found['method'], found['method'])}, n = {found['n']}"
    return f"{text} ({found['note']})" if found.get("note") else text


def with_interval(values: Mapping[str, Any], key: str) -> str:
    """One source's figure with its 95 % interval and counts, as one text.

    ``key`` is the dotted key of ``metrics.json``, such as ``classification.sensitivity``:
    "0.912 (0.861 to 0.948), 136/149". Without an interval the brackets say why.
    """
    return described(values, key, lookup(values, key), counts_of(values, key))


def described(
    values: Mapping[str, Any], key: str, value: float | None, counts: Sequence[int] | None = None
) -> str:
    """As :func:`with_interval`, for a ``value`` that no dotted key leads to (an entry of a list);
    ``key`` is that of its interval."""
    if value is None:
        return NOT_DEFINED
    text = interval(values, key)
    reason = "interval not computed" if text == NO_INTERVAL else text
    shown = f"{number(value)} ({reason})"
    return f"{shown}, {fraction(counts)}" if counts else shown


def resampling(values: Mapping[str, Any], prefix: str) -> str:
    """A sentence on the bootstrap behind the intervals under ``prefix``; empty without one."""
    resamples = [
        found["resamples"]
        for key, found in values["intervals"].items()
        if key.startswith(f"{prefix}.") and found.get("resamples")
    ]
    if not resamples:
        return ""
    return (
        f"The bootstrap draws whole patients (or groups of duplicates), {max(resamples)} times; n is "
        "their number, for Wilson that of the trials."
    )
