"""Which rows of the manifest a dataset takes: sources by role, splits or folds, subsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

Sources = str | Sequence[str] | None
PREPARE_COMMAND = "python -m brainmtl.prepare source=... raw_dir=... out_dir=..."


def present_sources(frame: pd.DataFrame) -> list[str]:
    """Names of the sources that the manifest holds, sorted."""
    return sorted(str(name) for name in frame["source"].unique())


def name_list(sources: Sources) -> list[str]:
    """Plain list of names from a name, a sequence (also Hydra's ListConfig) or None."""
    if sources is None:
        return []
    return [str(sources)] if isinstance(sources, str | int) else [str(name) for name in sources]


def resolve_sources(
    frame: pd.DataFrame, seg_sources: Sources, cls_sources: Sources
) -> tuple[list[str], list[str]]:
    """Source names of the segmentation and of the classification role, "auto" filled in.

    "auto" takes the real sources, the synthetic ones only if there are no real ones at all: those
    with masks for segmentation, those without any mask but with labels for classification.
    """
    per_source = frame.groupby("source", observed=True)[
        ["synthetic", "has_mask", "has_label"]
    ].max()
    if not per_source["synthetic"].all():
        per_source = per_source[per_source["synthetic"] == 0]
    with_mask = per_source["has_mask"] > 0
    labelled_only = ~with_mask & (per_source["has_label"] > 0)
    auto = {"seg": with_mask, "cls": labelled_only}
    return tuple(  # type: ignore[return-value]
        sorted(str(name) for name in per_source.index[auto[role]]) if names == ["auto"] else names
        for role, names in (
            ("seg", name_list(seg_sources)),
            ("cls", name_list(cls_sources)),
        )
    )


def check_sources(frame: pd.DataFrame, option: str, names: Sequence[str], data_dir: Any) -> None:
    """Refuse names of sources that ``data_dir``, whose manifest is ``frame``, does not hold.

    Raises:
        ConfigError: naming them and ``option``, where they stand.
    """
    present = present_sources(frame)
    if unknown := sorted({*names} - {*present}):
        raise ConfigError(
            f"{option}={list(names)}: {data_dir} holds no {', '.join(unknown)}; its sources are {present}. "
            f"Prepare it (`{PREPARE_COMMAND}`), or name others"
        )


def known_sources(frame: pd.DataFrame, options: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """:func:`resolve_sources` of a command's ``seg_sources`` and ``cls_sources``, with
    :func:`check_sources` of both; ``data_dir`` is among its ``options`` too."""
    names = ("seg_sources", "cls_sources")
    found = resolve_sources(frame, *(options[name] for name in names))
    for name, sources in zip(names, found, strict=True):
        check_sources(frame, name, sources, options["data_dir"])
    return found


def assign_splits(frame: pd.DataFrame, fold: int | None = None) -> np.ndarray:
    """Split ("train", "val" or "test") of each row, as an object array.

    With ``fold`` = k of the K folds of a source: test = fold k, val = fold (k + 1) mod K, train =
    the other folds. Of the rows without a fold (-1), those that their source always trains on
    (``split.train_groups``) are "train" in a source that has folds; all others (``split.test_groups``, say)
    belong to no split ("").

    Raises:
        ConfigError: no folds were prepared, or ``fold`` is not one of them.
    """
    if fold is None:
        return frame["split"].to_numpy(dtype=object)
    folds = frame["fold"].to_numpy()
    count = frame.groupby("source", observed=True)["fold"].max() + 1
    usable = count[count > 0]
    known = isinstance(fold, int) and not usable.empty
    if not known or not 0 <= fold < usable.max() or usable.min() < 3:
        raise ConfigError(
            f"fold={fold} needs 3 or more prepared folds and must be one of them; this folder has "
            f"{usable.to_dict() or 'none'}: prepare with split.folds=K"
        )
    total = frame["source"].map(count).to_numpy(dtype=np.int64)
    splits = np.full(len(frame), "", dtype=object)
    with_fold = folds >= 0
    splits[with_fold] = "train"
    splits[with_fold & (folds == (fold + 1) % np.maximum(total, 1))] = "val"
    splits[with_fold & (folds == fold)] = "test"
    splits[(total > 0) & ~with_fold & (frame["split"] == "train").to_numpy()] = "train"
    return splits


def select_rows(
    frame: pd.DataFrame,
    sources: Sequence[str],
    splits: Sequence[str],
    fold: int | None = None,
    limit: int | None = None,
) -> np.ndarray:
    """Row numbers of ``frame`` in the given sources and splits, at most ``limit`` per source.

    The limited subset is the same every time: rows ordered by label, group and position are taken
    at even distances, so labels and patients keep their shares.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"a limit of {limit} samples must be 1 or more, or null for all")
    wanted = (
        np.isin(assign_splits(frame, fold), list(splits))
        & frame["source"].isin(list(sources)).to_numpy()
    )
    rows = np.flatnonzero(wanted)
    if limit is None:
        return rows
    source = frame["source"].to_numpy(dtype=object)[rows]
    return np.sort(
        np.concatenate(
            [_evenly(frame, rows[source == name], limit) for name in sorted(set(source))] or [rows]
        )
    )


def _evenly(frame: pd.DataFrame, rows: np.ndarray, limit: int) -> np.ndarray:
    if len(rows) <= limit:
        return rows
    part = frame.iloc[rows].reset_index(drop=True)
    part["group"] = part["group"].astype(str)
    order = part.sort_values(
        ["label", "group", "position", "image_id"], kind="stable"
    ).index.to_numpy()
    places = ((np.arange(limit) + 0.5) * len(rows) / limit).astype(np.int64)
    return rows[order[places]]
