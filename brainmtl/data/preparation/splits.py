"""Splits and folds by group: what belongs to one patient, or to one set of copies, stays together."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from brainmtl.errors import ConfigError, DataError
from brainmtl.words import quantity

SPLITS = ("train", "val", "test")
MODES = ("random", "all_train", "all_val", "all_test")


def assign_splits(
    groups: Sequence[str],
    labels: Sequence[int | None],
    *,
    mode: str = "random",
    train: float = 0.70,
    val: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    pinned: Mapping[str, str] | None = None,
    train_groups: Sequence[str] = (),
    test_groups: Sequence[str] = (),
    sites: Sequence[str] | None = None,
) -> dict[str, str]:
    """Give every group a split, "train", "val" or "test".

    ``groups`` and ``labels`` hold one entry per sample (label 1, 0, or -1/None for none). The
    shares are of samples, met as closely as whole groups allow, within each label: a group counts
    as tumour if any of its samples is labelled 1, as tumour-free if any is labelled 0, else as
    unlabelled. Every split with a share above 0 gets at least one group. The result depends on the
    groups, their sizes and labels, and ``seed``, not on the order of the samples.

    ``pinned`` groups keep their split, and groups that match a glob pattern of ``train_groups`` or
    ``test_groups`` by their name or by one of their ``sites`` (one per sample, "" for none) go to train or
    test; all of them count towards the shares. ``mode`` "all_train",
    "all_val" or "all_test" sends every other group into that split.

    Raises ConfigError for shares that are negative or do not sum to 1, an unknown mode, or a
    pattern that matches nothing or contradicts ``pinned`` or another pattern; DataError if there are
    fewer groups than splits.
    """
    table = _group_table(groups, labels)
    patterns = {"train": train_groups, "test": test_groups}
    fixed = _fixed_groups(names_of_groups(groups, sites), pinned or {}, patterns)
    if mode not in MODES:
        raise ConfigError(f"split.mode={mode} is unknown. Choose from {', '.join(MODES)}.")
    if mode != "random":
        return {group: fixed.get(group, mode.removeprefix("all_")) for group in table}
    shares = _checked_shares(train, val, test)
    wanted = [name for name, share in shares.items() if share > 0]
    if len(table) < len(wanted):
        raise DataError(
            f"{len(table)} group(s) (patients, or sets of duplicate images) cannot fill the splits "
            f"{', '.join(wanted)}, since a group is never divided. Use split=all_test or "
            "split=all_train, or set the share of a split to 0."
        )
    fixed_index = {group: SPLITS.index(split) for group, split in fixed.items()}
    chosen = _allocate(table, list(shares.values()), fixed_index, seed)
    return {group: SPLITS[index] for group, index in chosen.items()}


def assign_folds(
    groups: Sequence[str],
    labels: Sequence[int | None],
    folds: int,
    seed: int = 0,
    pinned: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Give every group a cross-validation fold, 0..folds-1, of equal numbers of samples.

    Grouped and stratified as :func:`assign_splits`; ``pinned`` groups keep their fold. Raises
    ConfigError if ``folds`` is below 2 or a pinned fold is not among them, and DataError if there
    are fewer groups than folds.
    """
    if folds < 2:
        raise ConfigError(
            f"split.folds={folds}: cross-validation needs at least 2 folds (0: none)."
        )
    table = _group_table(groups, labels)
    if len(table) < folds:
        raise DataError(
            f"split.folds={folds} needs as many groups (patients, or sets of duplicate images), "
            f"and there are {len(table)}. Use split.folds={max(len(table), 2)} or fewer."
        )
    fixed = {group: fold for group, fold in (pinned or {}).items() if group in table}
    if fixed and max(fixed.values()) >= folds:
        raise ConfigError(
            f"split.folds={folds}, but sources that share groups with this one have more folds. "
            "Prepare all of them with the same split.folds."
        )
    return _allocate(table, [1 / folds] * folds, fixed, seed)


@dataclass
class _Group:
    size: int = 0
    label: int = -1


def _group_table(groups: Sequence[str], labels: Sequence[int | None]) -> dict[str, _Group]:
    """Size and label of each group, in the order of their names."""
    table = {group: _Group() for group in sorted(set(groups))}
    for group, label in zip(groups, labels, strict=True):
        table[group].size += 1
        table[group].label = max(table[group].label, -1 if label is None else int(label))
    return table


GroupNames = dict[str, set[str]]  # group -> what patterns may match: itself and its sites


def names_of_groups(groups: Sequence[str], sites: Sequence[str] | None) -> GroupNames:
    """Each group, sorted, with its own name and those of the sites that its samples come from."""
    names = {group: {group} for group in sorted(set(groups))}
    for group, site in zip(groups, sites or (), strict=sites is not None):
        if site:
            names[group].add(site)
    return names


def matching_groups(names: Mapping[str, Iterable[str]], patterns: Sequence[str]) -> list[str]:
    """The groups of which one name matches one of the glob patterns, sorted."""
    return sorted(
        group
        for group, own in names.items()
        if any(fnmatch.fnmatchcase(name, pattern) for name in own for pattern in patterns)
    )


def _fixed_groups(
    names: GroupNames,
    pinned: Mapping[str, str],
    patterns: Mapping[str, Sequence[str]],
) -> dict[str, str]:
    """Split of each group that is pinned or matches one of the ``patterns`` of a split."""
    before = {group: split for group, split in pinned.items() if group in names}
    fixed = dict(before)
    for split, wanted in patterns.items():
        for pattern in wanted:
            matches = matching_groups(names, [pattern])
            if not matches:
                raise ConfigError(_no_match(f"split.{split}_groups", pattern, names))
            for group in matches:
                if fixed.setdefault(group, split) == split:
                    continue
                raise ConfigError(
                    f"split.{split}_groups: {group!r} lies in {fixed[group]} of another source that "
                    "prepared already. Prepare that source again with the same pattern."
                    if group in before
                    else f"split.{split}_groups: {group!r} is in split.{fixed[group]}_groups as well. "
                    "Let it match one of them only."
                )
    return fixed


def _no_match(option: str, pattern: str, names: GroupNames) -> str:
    sites = sorted({name for group, own in names.items() for name in own - {group}})
    known = f", nor one of the sites {', '.join(sites)}" if sites else ""
    return (
        f"{option}: {pattern!r} matches none of the {quantity(len(names), 'groups')} "
        f"(for example {next(iter(names), 'none')!r}){known}. Remove or correct it."
    )


def _checked_shares(train: float, val: float, test: float) -> dict[str, float]:
    shares = dict(zip(SPLITS, (float(train), float(val), float(test)), strict=True))
    total = sum(shares.values())
    if not all(0 <= share <= 1 for share in shares.values()) or not math.isclose(
        total, 1, abs_tol=1e-6
    ):
        text = " ".join(f"split.{name}={share:g}" for name, share in shares.items())
        raise ConfigError(
            f"{text}: each must lie in 0..1 and together they must be 1, not {total:g}."
        )
    return shares


def _allocate(
    table: Mapping[str, _Group],
    shares: Sequence[float],
    fixed: Mapping[str, int],
    seed: int,
) -> dict[str, int]:
    """Part of each group, so that the parts hold ``shares`` of the samples of every label.

    Groups are drawn in random order, large ones first (by powers of 2, so that the many single
    samples at the end even out what large groups left). Each goes to the part that is furthest
    behind its share, within its label and overall, as seats are given to parties by Sainte-Lague.
    """
    chosen = dict(fixed)
    free = [group for group in table if group not in fixed]
    rng = np.random.default_rng(seed)
    order = [free[i] for i in rng.permutation(len(free))]
    order.sort(key=lambda group: (-table[group].label, -int(math.log2(table[group].size))))
    goal = np.array(shares, dtype=float)
    filled = {label: np.zeros(len(shares)) for label in (-1, 0, 1)}
    size = {label: sum(g.size for g in table.values() if g.label == label) for label in filled}
    total = sum(size.values())
    for group, part in fixed.items():
        filled[table[group].label][part] += table[group].size
    for group in order:
        entry = table[group]
        overall = sum(filled.values())
        within = (filled[entry.label] + entry.size / 2) / size[entry.label]
        score = within + (overall + entry.size / 2) / total
        behind = np.divide(score, goal, out=np.full(len(goal), np.inf), where=goal > 0)
        chosen[group] = int(np.argmin(behind))
        filled[entry.label][chosen[group]] += entry.size
    _fill_empty(chosen, order, table, goal)
    return {group: chosen[group] for group in table}


def _fill_empty(
    chosen: dict[str, int],
    free: list[str],
    table: Mapping[str, _Group],
    goal: np.ndarray,
) -> None:
    """Give every part with a share one group, taken from the part that has most groups."""
    for part in np.flatnonzero(goal > 0):
        counts = np.bincount(list(chosen.values()), minlength=len(goal))
        if counts[part]:
            continue
        donors = [group for group in free if counts[chosen[group]] > 1]
        if donors:  # none left only where pinned groups decide everything
            donor = max(donors, key=lambda g: (counts[chosen[g]], -table[g].size))
            chosen[donor] = int(part)
