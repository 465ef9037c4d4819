"""Which samples must share a split: one patient, and copies of one picture in whatever source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from brainmtl.data.preparation.duplicates import connected_labels, group_duplicates

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Grouping:
    """``groups``: one name per row; ``conflicts``: those that lie in two splits elsewhere already, and
    ``fold_conflicts``: in two folds, or in one and among those that always train."""

    groups: list[str]
    conflicts: set[str]
    fold_conflicts: set[str]


def join_groups(name: str, frame: pd.DataFrame, others: pd.DataFrame) -> Grouping:
    """Groups of the rows of source ``name``, joined by patient and by duplicate picture.

    Joining is transitive: if one picture of a patient is a copy of another patient's picture, all
    pictures of both share a group; so do cases of the same raw files, whatever they are called. Groups
    that touch ``others`` (the manifest rows of the other sources) take the name used there. An ``anonymous``
    picture has its case id for a group, and since two sources may both hold a ``yes_1``, such a name is
    prefixed with the source where the other ``yes_1`` is another picture.
    """
    own = frame["group"].astype(str).tolist()
    known_groups = others["group"].astype(str).tolist()
    taken = set(known_groups)
    nodes = [("group", group) for group in known_groups]
    nodes += [
        ("picture" if alone else "group", group)
        for group, alone in zip(own, frame["anonymous"], strict=True)
    ]
    raw, looks = (
        others[column].tolist() + frame[column].tolist()
        for column in ("raw_sha256", "duplicate_hash")
    )
    joined = _join_copies(nodes, raw, looks)
    names: dict[int, str] = {}
    splits: dict[int, set[str]] = {}
    folds: dict[int, set[int]] = {}
    has_folds = others.groupby("source", observed=True)["fold"].transform("max") >= 0
    for number, group, split, fold, one_of_some in zip(
        joined, known_groups, others["split"].astype(str), others["fold"], has_folds, strict=False
    ):
        names.setdefault(number, group)
        splits.setdefault(number, set()).add(split)
        if one_of_some:
            folds.setdefault(number, set()).add(int(fold))
    groups = [
        names.setdefault(number, f"{name}:{group}" if group in taken else group)
        for number, group in zip(joined[len(known_groups) :], own, strict=True)
    ]

    def torn(places: dict[int, set[str]] | dict[int, set[int]]) -> set[str]:
        return {names[number] for number, where in places.items() if len(where) > 1}

    return Grouping(groups, torn(splits), torn(folds))


def _join_copies(nodes: list[tuple[str, str]], raw: list[str], looks: list[str]) -> list[int]:
    """Component of each row: rows of one node, of the same raw files, or whose pictures are copies."""
    numbers: dict[tuple[str, str], int] = {}
    rows = [numbers.setdefault(node, len(numbers)) for node in nodes]
    pictures = [(row, digest) for row, digest in zip(rows, looks, strict=True) if digest]
    copies = group_duplicates([digest for _, digest in pictures])
    # What makes copies of rows is a node of its own, behind those of the rows.
    ties = [("copies", str(copy)) for copy in copies] + [("raw", digest) for digest in raw]
    tied = [row for row, _ in pictures] + rows
    pairs = [
        (row, numbers.setdefault(tie, len(numbers))) for row, tie in zip(tied, ties, strict=True)
    ]
    labels = connected_labels(len(numbers), np.array(pairs))
    return labels[rows].tolist()
