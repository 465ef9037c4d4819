"""The registry of source adapters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from brainmtl.data.records import Source
from brainmtl.errors import ConfigError

SOURCE_NAMES = ("brats", "lgg", "kaggle", "table")


def make_source(
    adapter: str,
    *,
    modalities: Sequence[str] = ("flair",),
    positive: Sequence[str] = ("yes",),
    negative: Sequence[str] = ("no",),
    table: str | Path | None = None,
    name: str | None = None,
    synthetic: bool = False,
) -> Source:
    """The adapter called ``adapter`` (brats, lgg, kaggle or table).

    ``name`` is the source name that the records carry, by default the adapter's own; ``positive``
    and ``negative`` are used by kaggle, ``table`` (a CSV) by table. Raises ConfigError for an
    unknown adapter or modalities that the source does not have.
    """
    common = {
        "modalities": tuple(modalities),
        "name": name or adapter,
        "synthetic": synthetic,
    }
    if adapter == "brats":
        from brainmtl.data.sources.brats import BratsSource

        return BratsSource(**common)
    if adapter == "lgg":
        from brainmtl.data.sources.lgg import LggSource

        return LggSource(**common)
    if adapter == "kaggle":
        from brainmtl.data.sources.kaggle import KaggleSource

        return KaggleSource(positive=tuple(positive), negative=tuple(negative), **common)
    if adapter == "table":
        from brainmtl.data.sources.table import TableSource

        return TableSource(table=None if table is None else Path(table), **common)
    raise ConfigError(f"source={adapter} is unknown. Choose from {', '.join(SOURCE_NAMES)}.")
