"""Which samples must share a split: one patient, and copies of one picture in whatever source."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brainmtl.data.duplicates import group_duplicates

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Grouping:
    """``groups``: one name per row; ``conflicts``: those that lie in two splits elsewhere already."""

    groups: list[str]
    conflicts: set[str]


class _Union:
    """Disjoint sets of hashable nodes."""

    def __init__(self) -> None:
        self.parent: dict[Hashable, Hashable] = {}

    def root(self, node: Hashable) -> Hashable:
        self.parent.setdefault(node, node)
        while self.parent[node] != node:
            self.parent[node] = self.parent[self.parent[node]]
            node = self.parent[node]
        return node

    def join(self, first: Hashable, second: Hashable) -> None:
        self.parent[self.root(second)] = self.root(first)


def join_groups(name: str, frame: pd.DataFrame, others: pd.DataFrame) -> Grouping:
    """Groups of the rows of source ``name``, joined by patient and by duplicate picture.

    Joining is transitive: if one picture of a patient is a copy of another patient's picture, all
    pictures of both share a group. Groups that touch ``others`` (the manifest rows of the other
    sources) take the name used there. A picture without a patient of its own has its case id for a
    group, and since two sources may both hold a ``yes_1``, such a name is prefixed with the source
    where the other ``yes_1`` is another picture.
    """
    own = frame["group"].astype(str).tolist()
    known_groups = others["group"].astype(str).tolist()
    taken = set(known_groups)
    anonymous = (frame["kind"] == "image") & (frame["group"] == frame["case_id"])
    nodes: list[Hashable] = [
        ("picture", group) if alone else ("group", group)
        for group, alone in zip(own, anonymous, strict=True)
    ]
    union = _Union()
    _join_copies(union, frame, others, nodes, [("group", group) for group in known_groups])
    names: dict[Hashable, str] = {}
    splits: dict[Hashable, set[str]] = {}
    for group, split in zip(known_groups, others["split"].astype(str), strict=True):
        root = union.root(("group", group))
        names.setdefault(root, group)
        splits.setdefault(root, set()).add(split)
    groups = []
    for node, group in zip(nodes, own, strict=True):
        root = union.root(node)
        groups.append(names.setdefault(root, f"{name}:{group}" if group in taken else group))
    return Grouping(groups, {names[root] for root, where in splits.items() if len(where) > 1})


def _join_copies(
    union: _Union,
    frame: pd.DataFrame,
    others: pd.DataFrame,
    nodes: list[Hashable],
    known_nodes: list[Hashable],
) -> None:
    pictures = [
        (known_nodes[k], digest)
        for k, digest in enumerate(others["duplicate_hash"])
        if digest  # volumes have none
    ] + [(nodes[k], digest) for k, digest in enumerate(frame["duplicate_hash"]) if digest]
    indices = group_duplicates([digest for _, digest in pictures])
    for (node, _), index in zip(pictures, indices, strict=True):
        union.join(("copies", index), node)
