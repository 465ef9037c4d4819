"""One tree of figures out of one per fold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from brainmtl.errors import DataError
from brainmtl.evaluation.metrics import ratio

COUNT_KEYS = ("n", "counts")


def merge_lines(per_fold: Sequence[tuple[int, list[dict[str, Any]]]], key: str) -> list[dict]:
    """Lines of all folds with their fold; each ``(source, key)`` must come from one fold only.

    Raises:
        DataError: a sample or case that two folds predicted (a leak, or evaluations of two runs).
    """
    lines = [line | {"fold": fold} for fold, own in per_fold for line in own]
    times = Counter((line["source"], line[key]) for line in lines)
    twice = sorted(name for name, count in times.items() if count > 1)
    if twice:
        raise DataError(
            f"{len(twice)} of the {key}s were predicted by more than one fold, the first is "
            f"{'/'.join(twice[0])}: the folds overlap. Prepare the data again with split.folds=K and "
            "train all folds on it"
        )
    return lines


def mean_tree(trees: Sequence[Any], key: str = "") -> Any:
    """The mean over folds of nested figures of one structure, for what has no lines to merge.

    Numbers are averaged over the folds that define them; counts (keys ``n``, ``n_...`` and ``counts``)
    are summed, and a ``rate`` is that of the ``counts`` beside it; other values stand where all folds
    agree and are None where they do not.
    """
    present = [tree for tree in trees if tree is not None]
    if not present:
        return None
    first = present[0]
    if all(isinstance(tree, dict) for tree in present):
        keys = dict.fromkeys(name for tree in present for name in tree)
        merged = {name: mean_tree([tree.get(name) for tree in present], name) for name in keys}
        if "rate" in merged and merged.get("counts"):
            merged["rate"] = ratio(*merged["counts"])
        return merged
    if all(isinstance(tree, list) for tree in present):
        if len({len(tree) for tree in present}) > 1:
            return None
        return [mean_tree(list(parts), key) for parts in zip(*present, strict=True)]
    numbers = all(isinstance(tree, int | float) and not isinstance(tree, bool) for tree in present)
    if numbers:
        if key in COUNT_KEYS or key.startswith("n_"):
            return sum(present)
        return float(np.mean(present)) if any(tree != first for tree in present) else first
    return first if all(tree == first for tree in present) else None
