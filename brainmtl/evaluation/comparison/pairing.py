"""The cases that all evaluations share, as arrays per arm, source by source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainmtl.errors import DataError
from brainmtl.evaluation.comparison.arms import Arm
from brainmtl.evaluation.comparison.folders import Evaluation
from brainmtl.evaluation.statistics.intervals import group_means, group_numbers, numbers

Lines = list[dict[str, Any]]


@dataclass(frozen=True)
class SharedCases:
    """One source's common cases under A arms, of S seeds each (S may differ between arms).

    Labelled images: ``labels`` (N,) and ``groups`` (N,) in 0..n_groups-1; per arm ``scores``
    (calibrated probabilities) and ``calls``, (S, N) each. Patients with reference tumour: per arm
    ``dice`` (S, P). ``masks``, per arm (S, 2, C): predicted size and Dice per volume, to tell whether
    predictions differ at all. ``counts``: images and volumes that each evaluation has, and that all
    share.
    """

    labels: np.ndarray
    groups: np.ndarray
    scores: list[np.ndarray]
    calls: list[np.ndarray]
    dice: list[np.ndarray]
    masks: list[np.ndarray]
    counts: dict[str, Any]

    @property
    def n_groups(self) -> int:
        """Patients, or groups of duplicate pictures, with a labelled image."""
        return len(np.unique(self.groups))

    @property
    def n_patients(self) -> int:
        """Patients with reference tumour."""
        return self.dice[0].shape[1]

    def n_seeds(self, arm: int) -> int:
        """Evaluations that an arm holds."""
        return len(self.scores[arm])

    @property
    def independent(self) -> bool:
        """Whether every group holds one labelled image."""
        return self.n_groups == len(self.groups)


def shared_cases(arms: Sequence[Arm]) -> tuple[dict[str, SharedCases], list[str]]:
    """Cases per source that all evaluations of all arms have, and warnings where some have others too.

    Raises:
        DataError: no source or no case is common to all, or the same image has another label or group.
    """
    evaluations = [evaluation for arm in arms for evaluation in arm.seeds]
    present = [{row["source"] for row in evaluation.rows} for evaluation in evaluations]
    common, everything = set.intersection(*present), set.union(*present)
    if not common:
        names = "; ".join(
            f"{e.name}: {', '.join(sorted(own))}"
            for e, own in zip(evaluations, present, strict=True)
        )
        raise DataError(f"the evaluations have no source in common ({names}): nothing to compare")
    titles = {k: title for e in evaluations for k, title in e.run["display_names"].items()}
    warnings = []
    for source in sorted(everything - common):
        without = [e.name for e, own in zip(evaluations, present, strict=True) if source not in own]
        warnings.append(f"{titles[source]} was not evaluated in {', '.join(without)}: left out.")
    found = {}
    for source in sorted(common):
        found[source] = _share(source, evaluations, [len(arm.seeds) for arm in arms])
        warnings += _count_warnings(found[source], titles[source], evaluations)
    if not any(len(cases.labels) or cases.n_patients for cases in found.values()):
        raise DataError(
            f"the evaluations {', '.join(e.name for e in evaluations)} have no case in common: nothing to compare. "
            "The folds of one cross-validation have different test cases: merge them with `python -m brainmtl.crossval`"
        )
    return found, warnings


def _share(source: str, evaluations: Sequence[Evaluation], n_seeds: Sequence[int]) -> SharedCases:
    rows, images = _common([e.rows for e in evaluations], source, "image_id")
    cases, volumes = _common([e.cases for e in evaluations], source, "case_id")
    for own, e in zip(rows, evaluations, strict=True):
        _check_alike(rows[0], own, ("cls", "group"), "image_id", evaluations[0], e)
    for own, e in zip(cases, evaluations, strict=True):
        _check_alike(cases[0], own, ("reference_voxels", "group"), "case_id", evaluations[0], e)
    labelled = [[row for row in own if row["cls"] >= 0] for own in rows]

    def by_arm(arrays: Iterable[np.ndarray]) -> list[np.ndarray]:
        return np.split(np.stack(list(arrays)), np.cumsum(n_seeds)[:-1])

    groups = group_numbers(cases[0]) if cases[0] else np.zeros(0, dtype=int)
    sizes = [np.stack([numbers(own, key) for key in ("predicted_voxels", "dice")]) for own in cases]
    return SharedCases(
        numbers(labelled[0], "cls"),
        group_numbers(labelled[0]) if labelled[0] else np.zeros(0, dtype=int),
        by_arm(numbers(own, "calibrated") for own in labelled),
        by_arm(numbers(own, "call") for own in labelled),
        by_arm(group_means(numbers(own, "dice"), groups) for own in cases),
        by_arm(sizes),
        {"images": images, "volumes": volumes},
    )


def _common(parts: Sequence[Lines], source: str, key: str) -> tuple[list[Lines], dict[str, Any]]:
    """Lines whose ``key`` every part has, in one order, and how many there were."""
    own = [{line[key]: line for line in lines if line["source"] == source} for lines in parts]
    shared = sorted(set.intersection(*(set(lines) for lines in own)))
    counts = {"each": [len(lines) for lines in own], "common": len(shared)}
    return [[lines[name] for name in shared] for lines in own], counts


def _check_alike(
    first: Lines,
    second: Lines,
    keys: Sequence[str],
    name: str,
    one: Evaluation,
    other: Evaluation,
) -> None:
    for a, b in zip(first, second, strict=True):
        for key in keys:
            if a[key] != b[key]:
                raise DataError(
                    f"{a['source']}/{a[name]} has {key} {a[key]} in {one.folder} and {b[key]} in "
                    f"{other.folder}: evaluate both on the same prepared folder"
                )


def _count_warnings(cases: SharedCases, title: str, evaluations: Sequence[Evaluation]) -> list[str]:
    found = []
    for kind, counts in cases.counts.items():
        if any(n != counts["common"] for n in counts["each"]):
            each = ", ".join(
                f"{e.name} {n}" for e, n in zip(evaluations, counts["each"], strict=True)
            )
            found.append(
                f"{title}: the evaluations differ in their {kind} ({each}); only the "
                f"{counts['common']} that all have are compared."
            )
    return found
