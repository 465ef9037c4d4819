"""From prepared cases to a prepared folder: duplicate groups, splits, folders, manifest, summary."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmtl.data.manifest import (
    FILE_NAME,
    MANIFEST_COLUMNS,
    SPLITS,
    read_manifest,
    write_manifest,
)
from brainmtl.data.preparation.grouping import join_groups
from brainmtl.data.preparation.housekeeping import PENDING, find_sample, sweep
from brainmtl.data.preparation.splits import (
    assign_folds,
    assign_splits,
    matching_groups,
    names_of_groups,
)
from brainmtl.data.records import Problem
from brainmtl.errors import ConfigError, DataError, check_count
from brainmtl.files import write_json

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SplitOptions:
    """``mode`` "random", or "all_train", "all_val", "all_test"; see :mod:`brainmtl.data.preparation.splits`."""

    mode: str = "random"
    train: float = 0.70
    val: float = 0.15
    test: float = 0.15
    seed: int = 0
    folds: int = 0
    train_groups: tuple[str, ...] = ()
    test_groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_count("split.seed", self.seed, 0)


def assemble_source(
    name: str,
    ledgers: list[dict[str, Any]],
    out_dir: Path,
    options: SplitOptions,
    problems: list[Problem],
) -> pd.DataFrame:
    """Group, split and move the samples of source ``name``; write the manifest and the summary.

    Returns the source's manifest rows. Images whose near-duplicates already lie in two different
    splits of other sources can go nowhere without a leak: they are left out and added to ``problems``.
    """
    import pandas as pd

    others = _other_sources(out_dir, name)
    frame = _frame(name, ledgers)
    frame, left_out = _without_conflicts(frame, others, problems, folds=options.folds > 0)
    groups, labels = frame["group"].tolist(), frame["label"].tolist()
    splits = assign_splits(
        groups,
        labels,
        mode=options.mode,
        train=options.train,
        val=options.val,
        test=options.test,
        seed=options.seed,
        pinned=_pinned(frame, others, "split"),
        train_groups=options.train_groups,
        test_groups=options.test_groups,
        sites=frame["site"].tolist(),
    )
    frame["split"] = [splits[group] for group in groups]
    frame["fold"] = _folds(frame, others, options)
    frame["path"] = [f"{name}/{row.split}/{row.image_id}.npz" for row in frame.itertuples()]
    _move(frame, left_out, out_dir / name, out_dir)
    whole = pd.concat([others, frame.astype(MANIFEST_COLUMNS)], ignore_index=True)
    write_manifest(out_dir, whole.astype(MANIFEST_COLUMNS))
    slices_left_out = sum(ledger["slices_left_out"] for ledger in ledgers)
    _write_summary(out_dir, whole, name, slices_left_out, problems)
    return frame


def _other_sources(out_dir: Path, name: str) -> pd.DataFrame:
    import pandas as pd

    if not (out_dir / FILE_NAME).is_file():
        return pd.DataFrame({column: [] for column in MANIFEST_COLUMNS}).astype(MANIFEST_COLUMNS)
    frame = read_manifest(out_dir)
    return frame[frame["source"] != name]


def _frame(name: str, ledgers: Iterable[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    rows = [
        row
        | {key: ledger[key] for key in ("case_id", "group", "site", "kind", "raw_sha256")}
        | {
            # A ledger of before does not say it, and was then of a picture without a patient.
            "anonymous": ledger.get(
                "anonymous", ledger["kind"] == "image" and ledger["group"] == ledger["case_id"]
            ),
            "source": name,
            "synthetic": int(ledger["synthetic"]),
            "has_label": int(row["label"] >= 0),
        }
        for ledger in ledgers
        for row in ledger["rows"]
    ]
    return pd.DataFrame(rows)


def _without_conflicts(
    frame: pd.DataFrame, others: pd.DataFrame, problems: list[Problem], *, folds: bool
) -> tuple[pd.DataFrame, list[str]]:
    """The rows with their joined groups, less those that fit no split (nor fold, where they are to get
    one); ids of what is left out."""
    grouping = join_groups(str(frame["source"].iloc[0]), frame, others)
    frame = frame.assign(group=grouping.groups).drop(columns="anonymous")
    torn = {"splits": grouping.conflicts, "folds": grouping.fold_conflicts if folds else set()}
    conflict = frame["group"].isin(set.union(*torn.values()))
    for row in frame[conflict].itertuples():
        what = next(name for name, groups in torn.items() if row.group in groups)
        reason = f"its group {row.group} (patient or copies) lies in two {what} of other sources"
        problems.append(Problem(row.image_id, reason))
    if conflict.all():
        raise DataError(
            "every sample belongs to a group that lies in two splits or folds of other sources already. "
            "Prepare this source into an out_dir of its own, or first, before the others"
        )
    return frame[~conflict].copy(), frame.loc[conflict, "image_id"].tolist()


def _pinned(frame: pd.DataFrame, others: pd.DataFrame, column: str) -> dict[str, Any]:
    """The ``column`` (split or fold) that other sources gave to groups that this one holds too."""
    shared = others[others["group"].isin(set(frame["group"]))]
    return dict(zip(shared["group"].astype(str), shared[column].tolist(), strict=True))


def _folds(frame: pd.DataFrame, others: pd.DataFrame, options: SplitOptions) -> list[int]:
    """The fold of each row; -1 for all without folds, and with them for groups that always train or test."""
    if not options.folds:
        return [-1] * len(frame)
    counts = others.groupby("source", observed=True)["fold"].max() + 1
    with_folds = others[others["source"].isin(counts.index[counts > 0])]
    pinned = _pinned(frame, with_folds, "fold")
    sharing = with_folds.loc[with_folds["group"].isin(list(pinned)), "source"].unique()
    for source in sharing:
        if counts[source] != options.folds:
            raise ConfigError(
                f"split.folds={options.folds}, but {source}, which shares groups with this source, has "
                f"{counts[source]}: prepare all of them with the same split.folds"
            )
    groups, labels = frame["group"].tolist(), frame["label"].tolist()
    apart = {group for group, fold in pinned.items() if fold < 0}
    names = names_of_groups(groups, frame["site"].tolist())
    for option in ("train_groups", "test_groups"):
        for group in matching_groups(names, getattr(options, option)):
            if pinned.get(group, -1) >= 0:
                raise ConfigError(
                    f"split.{option}: {group!r} lies in fold {pinned[group]} of another source that is "
                    "prepared already. Prepare that source again with the same pattern."
                )
            apart.add(group)
    dealt = [(g, label) for g, label in zip(groups, labels, strict=True) if g not in apart]
    folds = assign_folds(
        [group for group, _ in dealt],
        [label for _, label in dealt],
        options.folds,
        options.seed,
        {group: fold for group, fold in pinned.items() if fold >= 0},
    )
    return [folds.get(group, -1) for group in groups]


def _move(frame: pd.DataFrame, left_out: list[str], source_dir: Path, out_dir: Path) -> None:
    """Every sample to its split, what is left out back to pending, everything else away."""
    for folder in (PENDING, *SPLITS):
        (source_dir / folder).mkdir(parents=True, exist_ok=True)
    targets = {row.image_id: out_dir / row.path for row in frame.itertuples()}
    targets |= {image_id: source_dir / PENDING / f"{image_id}.npz" for image_id in left_out}
    for image_id, target in targets.items():
        current = find_sample(source_dir, image_id)
        if current is not None and current != target:
            os.replace(current, target)
    sweep(source_dir, targets.values())


def _write_summary(
    out_dir: Path, whole: pd.DataFrame, name: str, left_out: int, problems: list[Problem]
) -> None:
    import json

    path = out_dir / "summary.json"
    sources = json.loads(path.read_text(encoding="utf-8"))["sources"] if path.is_file() else {}
    notes = {"slices_left_out": left_out, "unusable": [vars(problem) for problem in problems]}
    counts = {source: _counts(rows) for source, rows in whole.groupby(whole["source"].astype(str))}
    for source, values in counts.items():
        values |= (
            notes if source == name else {key: sources.get(source, {}).get(key) for key in notes}
        )
    write_json(path, {"total_samples": len(whole), "sources": counts})


def _counts(rows: pd.DataFrame) -> dict[str, Any]:
    """Samples, groups and labels of one source, per split."""
    splits = {}
    for split, part in rows.groupby(rows["split"].astype(str)):
        labels = part["label"].value_counts()
        splits[split] = {
            "samples": len(part),
            "groups": int(part["group"].astype(str).nunique()),
            "tumour": int(labels.get(1, 0)),
            "no_tumour": int(labels.get(0, 0)),
            "unlabelled": int(labels.get(-1, 0)),
            "with_mask": int(part["has_mask"].sum()),
        }
    return {"samples": len(rows), "synthetic": bool(rows["synthetic"].any()), "splits": splits}
