"""Bands of the calibrated probability, and the advice in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from brainmtl.config import CONF_DIR
from brainmtl.errors import ConfigError

DEFAULT = CONF_DIR / "bands" / "default.yaml"
REMEDY = "see conf/bands/default.yaml"


@dataclass(frozen=True)
class Band:
    """Calibrated probabilities with ``low <= P < high`` (the last band includes 1), and the advice."""

    name: str
    low: float
    high: float
    advice: str


def load_bands(path: str | Path = DEFAULT) -> tuple[Band, ...]:
    """Bands of a YAML file with the key ``bands``, checked by :func:`check_bands`.

    Raises:
        ConfigError: no such file, or bands that do not cover [0, 1].
    """
    from omegaconf import OmegaConf

    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"bands file {path} does not exist: {REMEDY}")
    content = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    if not isinstance(content, dict) or not isinstance(content.get("bands"), list):
        raise ConfigError(f"{path} must hold a list under the key `bands`: {REMEDY}")
    return check_bands(content["bands"])


def check_bands(entries: Sequence[Mapping[str, Any]]) -> tuple[Band, ...]:
    """Bands of entries with ``name, low, high, advice``.

    Raises:
        ConfigError: a key is missing or unknown, a limit is no number, a name is empty or given
            twice, or the bands leave a gap, overlap, or do not run from 0 to 1.
    """
    bands = tuple(_band(entry) for entry in entries)
    if not bands:
        raise ConfigError(f"bands is empty: it must cover [0, 1], {REMEDY}")
    names = [band.name for band in bands]
    if len(set(names)) < len(names):
        raise ConfigError(f"bands have the names {names}: each must have its own")
    for band in bands:
        if band.low >= band.high:
            raise ConfigError(
                f"band {band.name!r} runs from {band.low:g} to {band.high:g}: low < high"
            )
    if bands[0].low != 0 or bands[-1].high != 1:
        raise ConfigError(
            f"bands run from {bands[0].low:g} to {bands[-1].high:g}: they must cover [0, 1] in "
            f"ascending order, {REMEDY}"
        )
    for before, after in pairwise(bands):
        if before.high != after.low:
            what = "leave a gap" if before.high < after.low else "overlap"
            raise ConfigError(
                f"bands {before.name!r} and {after.name!r} {what} between {before.high:g} and "
                f"{after.low:g}: each must begin where the one before ends"
            )
    return bands


def band_range(low: float, high: float) -> str:
    """ "0.20 ≤ P < 0.80"; the last band, which ends at 1, includes it."""
    return f"{low:.2f} ≤ P {'≤' if high == 1 else '<'} {high:.2f}"


def band_of(bands: Sequence[Band], probability: float) -> Band:
    """The band of a calibrated probability in [0, 1]; ValueError outside of it."""
    if not 0 <= probability <= 1:
        raise ValueError(f"probability {probability} must lie in [0, 1]")
    return next((band for band in bands if probability < band.high), bands[-1])


def _band(entry: Mapping[str, Any]) -> Band:
    wanted = ("name", "low", "high", "advice")
    if not isinstance(entry, Mapping) or set(entry) != set(wanted):
        raise ConfigError(f"band {entry!r} must have exactly {', '.join(wanted)}: {REMEDY}")
    for key in ("low", "high"):
        if isinstance(entry[key], bool) or not isinstance(entry[key], int | float):
            raise ConfigError(
                f"band {entry['name']!r} has {key}={entry[key]!r}: a number in [0, 1]"
            )
    for key in ("name", "advice"):
        if not str(entry[key] or "").strip():
            raise ConfigError(f"band {entry!r} has an empty {key}: {REMEDY}")
    return Band(
        str(entry["name"]).strip(),
        float(entry["low"]),
        float(entry["high"]),
        str(entry["advice"]).strip(),
    )
