"""Values of answers in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def percent(probability: float | None) -> str:
    """ "93.2 %"; a dash where there is none."""
    return "–" if probability is None else f"{100 * probability:.1f} %"


def area_words(segmentation: Mapping[str, Any]) -> tuple[str, str | None]:
    """("1,630 px", "412 mm²" where it is known), or ("not segmented", None)."""
    if not segmentation["performed"]:
        return "not segmented", None
    mm2 = segmentation["area_mm2"]
    return f"{segmentation['area_px']:,} px", None if mm2 is None else f"{mm2:,.0f} mm²"


def bands_of(model: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The bands of the model's card, the highest probabilities first."""
    return list(reversed(model["card"].get("bands") or []))
