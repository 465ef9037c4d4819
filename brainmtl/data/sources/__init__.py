"""The registry of source adapters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from brainmtl.data.manifest import SYNTHETIC_PREFIX
from brainmtl.data.records import Source, safe_id
from brainmtl.data.selection import name_list
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
    unknown adapter, a name that can be no folder's, or modalities that the source does not have.
    """
    common = {
        "modalities": tuple(name_list(modalities)),
        "name": _source_name(adapter if name is None else str(name), synthetic),
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

        return KaggleSource(positive=positive, negative=negative, **common)
    if adapter == "table":
        from brainmtl.data.sources.table import TableSource

        return TableSource(table=None if table is None else Path(table), **common)
    raise ConfigError(f"source={adapter} is unknown. Choose from {', '.join(SOURCE_NAMES)}.")


def _source_name(name: str, synthetic: bool) -> str:
    if safe_id(name) != name:
        raise ConfigError(
            f"name={name}: a source has a folder of its name, so it may hold letters of a-z and A-Z, digits, dots, "
            f"hyphens and underscores, for example name={safe_id(name)}"
        )
    if name.startswith(SYNTHETIC_PREFIX) and not synthetic:
        raise ConfigError(
            f"name={name}: names that begin with {SYNTHETIC_PREFIX} are those of synthetic data; choose another"
        )
    return name
