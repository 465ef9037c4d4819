"""From prepared cases to a prepared folder: duplicate groups, splits, folders, manifest, summary."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmtl.data.cases import find_sample
from brainmtl.data.duplicates import group_duplicates
from brainmtl.data.manifest import (
    FILE_NAME,
    MANIFEST_COLUMNS,
    SPLITS,
    read_manifest,
    write_manifest,
)
from brainmtl.data.records import Problem
from brainmtl.data.splits import assign_folds, assign_splits
from brainmtl.files import write_json

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SplitOptions:
    """``mode`` "random", or "all_train", "all_val", "all_test"; see :mod:`brainmtl.data.splits`."""

    mode: str = "random"
    train: float = 0.70
    val: float = 0.15
    test: float = 0.15
    seed: int = 0
    folds: int = 0
    train_groups: tuple[str, ...] = ()


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
    frame["group"], conflicts = _duplicate_groups(frame, others)
    for image_id, group in frame.loc[
        frame["group"].isin(conflicts), ["image_id", "group"]
    ].itertuples(index=False):
        problems.append(
            Problem(
                image_id, f"its duplicate group {group} lies in two splits of other sources already"
            )
        )
    frame = frame[~frame["group"].isin(conflicts)].copy()
    pinned = _pinned(frame, others)
    groups, labels = frame["group"].tolist(), frame["label"].tolist()
    splits = assign_splits(
        groups,
        labels,
        mode=options.mode,
        train=options.train,
        val=options.val,
        test=options.test,
        seed=options.seed,
        pinned=pinned,
        train_groups=options.train_groups,
    )
    frame["split"] = [splits[group] for group in groups]
    folds = assign_folds(groups, labels, options.folds, options.seed) if options.folds else {}
    frame["fold"] = [folds.get(group, -1) for group in groups]
    frame["path"] = [f"{name}/{row.split}/{row.image_id}.npz" for row in frame.itertuples()]
    _move(frame, out_dir / name, out_dir)
    whole = pd.concat([others, frame.astype(MANIFEST_COLUMNS)], ignore_index=True)
    write_manifest(out_dir, whole.astype(MANIFEST_COLUMNS))
    left_out = sum(ledger["slices_left_out"] for ledger in ledgers)
    _write_summary(out_dir, whole, name, left_out, problems)
    return frame


def remove_stale(source_dir: Path, case_ids: set[str]) -> int:
    """Delete what was prepared from cases that the raw folder no longer holds; returns their number."""
    import json

    stale = [path for path in (source_dir / "cases").glob("*.json") if path.stem not in case_ids]
    for path in stale:
        for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
            sample = find_sample(source_dir, row["image_id"])
            if sample is not None:
                sample.unlink()
        (source_dir / "references" / f"{path.stem}.npz").unlink(missing_ok=True)
        path.unlink()
    return len(stale)


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
        | {key: ledger[key] for key in ("case_id", "group", "kind", "raw_sha256")}
        | {
            "source": name,
            "synthetic": int(ledger["synthetic"]),
            "has_label": int(row["label"] >= 0),
        }
        for ledger in ledgers
        for row in ledger["rows"]
    ]
    return pd.DataFrame(rows)


def _duplicate_groups(frame: pd.DataFrame, others: pd.DataFrame) -> tuple[list[str], set[str]]:
    """Group name per row, duplicate images (here and in the other sources) under one; conflicts.

    A conflict is a group with members in two splits of the other sources already.
    """
    groups = frame["group"].astype(str).tolist()
    images = [k for k, kind in enumerate(frame["kind"]) if kind == "image"]
    known = others[others["kind"] == "image"]
    hashes = known["duplicate_hash"].tolist() + [frame["duplicate_hash"].iloc[k] for k in images]
    members = group_duplicates(hashes) if images else []
    # The other sources come first, so their group names stay as they are.
    name_of: dict[int, str] = {}
    splits_of: dict[int, set[str]] = {}
    for index, group, split in zip(
        members, known["group"].astype(str), known["split"].astype(str), strict=False
    ):
        name_of.setdefault(index, group)
        splits_of.setdefault(index, set()).add(split)
    for k, index in zip(images, members[len(known) :], strict=True):
        groups[k] = name_of.setdefault(index, groups[k])
    conflicts = {name_of[index] for index, splits in splits_of.items() if len(splits) > 1}
    return groups, conflicts


def _pinned(frame: pd.DataFrame, others: pd.DataFrame) -> dict[str, str]:
    """The split that other sources gave to groups that this one holds too."""
    shared = others[others["group"].isin(set(frame["group"]))]
    return dict(zip(shared["group"].astype(str), shared["split"].astype(str), strict=True))


def _move(frame: pd.DataFrame, source_dir: Path, out_dir: Path) -> None:
    for split in SPLITS:
        (source_dir / split).mkdir(parents=True, exist_ok=True)
    for row in frame.itertuples():
        target, current = out_dir / row.path, find_sample(source_dir, row.image_id)
        if current is not None and current != target:
            os.replace(current, target)


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
