"""Whether the runs of an arm are what they are taken for: one recipe, trained with other seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brainmtl.evaluation.comparison.arms import Arm
from brainmtl.evaluation.comparison.folders import Evaluation
from brainmtl.training.run_folder.recipe import SEEDS, recipe_differences
from brainmtl.training.run_folder.run_record import find_record, hash_differences, show


def seed_warnings(recipes: Sequence[Sequence[Arm]]) -> list[str]:
    """Per recipe of several runs: options in which they differ, a seed twice, unknown options.

    Compared is what ``run.json`` in the folders of the runs says of their training.
    """
    arms = [arms[-1] for arms in recipes if len(arms[-1].seeds) > 1]
    return [warning for arm in arms for warning in _arm_warnings(arm)]


def _arm_warnings(arm: Arm) -> list[str]:
    records = [(evaluation, _record(evaluation)) for evaluation in arm.seeds]
    unknown = [str(evaluation.root) for evaluation, record in records if record is None]
    warnings = []
    if unknown:
        warnings.append(
            f"{arm.name}: the training of {', '.join(unknown)} is not known (no run.json of a training "
            "run), so it was not checked that the runs are one recipe with other seeds."
        )
    known = [(evaluation, record) for evaluation, record in records if record is not None]
    for evaluation, record in known[1:]:
        found = _differences(known[0][1], record)
        if found:
            warnings.append(
                f"{arm.name}: {evaluation.root} is of another recipe than {known[0][0].root} "
                f"({show(found)}); the SD is over more than seeds."
            )
    numbers = Counter(record["config"]["seed"] for _, record in known)
    again = [f"{seed}" for seed, times in numbers.items() if times > 1]
    if again:
        warnings.append(
            f"{arm.name}: several runs have the seed {', '.join(again)}; the SD understates how "
            "far another seed moves a figure."
        )
    return warnings


def _record(evaluation: Evaluation) -> dict[str, Any] | None:
    """run.json of the training run behind an evaluation; of merged folds, that of the first."""
    if evaluation.run["folds"] is None:
        # An evaluation may lie elsewhere than its run: RUN/STAGE/checkpoints/best.ckpt.
        places = [evaluation.root, *Path(evaluation.run["checkpoint"]).absolute().parents[2:3]]
    else:
        places = sorted(path for path in evaluation.root.iterdir() if path.name.isdigit())
    for folder in places:
        record = find_record(folder)
        if record is not None:
            return record
    return None


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    found = recipe_differences(first["config"], second["config"], SEEDS)
    return found | hash_differences(first, second)
