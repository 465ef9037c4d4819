"""Folders of runs, stages or evaluations: which evaluations they hold, and those read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainmtl.errors import ConfigError, DataError
from brainmtl.evaluation.lines import CASES, PREDICTIONS, Lines, read_lines
from brainmtl.training.continuation.command_line import word
from brainmtl.training.run_folder.records import read_run
from brainmtl.training.run_folder.status import read_status

STAGES = ("seg_warmup", "cls_head", "heads", "joint")  # in the order of training
PARTS = {"dice": "decoder", "balanced_accuracy": "head", "roc_auc": "head", "accuracy": "head"}
NEEDED = {
    PREDICTIONS: ("image_id", "source", "group", "cls", "calibrated", "call"),
    CASES: ("source", "group", "case_id", "dice", "predicted_voxels", "reference_voxels"),
}


@dataclass(frozen=True)
class Evaluation:
    """One evaluation folder: its lines and run.json; ``name`` is unique within a comparison.

    ``root`` is the folder of the run that it belongs to, or its own where it lies by itself.
    """

    name: str
    folder: Path
    root: Path
    run: dict[str, Any]
    rows: Lines
    cases: Lines

    def untrained(self, figure: str) -> bool:
        """Whether the part behind a figure still has random weights, as the remarks say."""
        words = f"has trained the {PARTS[figure]}:"
        return any(words in remark for remark in self.run["remarks"])


@dataclass(frozen=True)
class Chain:
    """Evaluation folders of one run in the order of training, and the run's folder."""

    root: Path
    folders: list[Path]


def resolve(folder: Path, split: str) -> Chain:
    """The evaluations in the folder of a run, of a stage or of one evaluation.

    A run has those of its stages, or the merged folds of a cross-validation; ``split`` says which
    evaluation of a stage is meant.

    Raises:
        ConfigError: no such folder, or none with an evaluation (names the command that makes one).
    """
    if not folder.is_dir():
        raise ConfigError(f"runs: {folder} does not exist: give a run, stage or evaluation folder")
    # Not run.json, which the folder of a training run has too.
    if any((folder / name).is_file() for name in (PREDICTIONS, "metrics.json")):
        stage = folder.parent
        if folder.name.startswith("crossval_"):
            return Chain(stage, [folder])
        return Chain(stage.parent if _is_stage(stage, split) else folder, [folder])
    if _is_stage(folder, split):
        return Chain(folder.parent, _evaluations([folder], split))
    merged = sorted(path for path in folder.glob("crossval_*") if path.is_dir())
    if merged:
        return Chain(folder, merged)
    members = _members(folder)
    stages = sorted(
        path
        for path in folder.iterdir()
        if _is_stage(path, split)
        # Nobody has to evaluate each training of a mean.
        and (path.name not in members or (path / f"evaluation_{split}").is_dir())
    )
    if stages:
        return Chain(folder, _evaluations(stages, split))
    jobs = sorted({path.parent.parent for path in folder.glob("*/*/stage.json")})
    if jobs:
        raise ConfigError(
            f"{folder} holds several runs: name them, runs=[{','.join(map(str, jobs))}], or, where "
            "they are folds, merge them first with "
            f"`python -m brainmtl.crossval dir={folder} stage_name=joint`"
        )
    raise ConfigError(
        f"{folder} holds no run, stage or evaluation: give a folder such as outputs/latest, "
        "outputs/latest/joint or outputs/latest/joint/evaluation_test"
    )


def in_order(root: Path, folders: Sequence[Path]) -> list[Path]:
    """Evaluation folders of one run in the order in which their stages are trained."""
    order = _order(root, [_stage_name(folder) for folder in folders])
    return sorted(folders, key=lambda folder: order.index(_stage_name(folder)))


def _stage_name(folder: Path) -> str:
    """Stage of an evaluation folder in its usual place: crossval_<stage>, <stage>/evaluation_..."""
    name = folder.name.removeprefix("crossval_")
    return name if name != folder.name else folder.parent.name


def _is_stage(folder: Path, split: str) -> bool:
    marks = ("stage.json", "checkpoints", f"evaluation_{split}")
    return folder.is_dir() and any((folder / mark).exists() for mark in marks)


def _members(run: Path) -> set[str]:
    """Names of the finished stages that are one training of a mean."""
    records = read_run(run).stages
    return {name for name, record in records.items() if record.get("stage", {}).get("member_of")}


def _order(run: Path, names: list[str]) -> list[str]:
    """Stage names as the run itself has them, else as :data:`STAGES` does."""
    order = read_status(run).get("stages") or STAGES
    known = [name for name in order if name in names]
    return known + sorted(set(names) - set(known))


def _evaluations(stages: Sequence[Path], split: str) -> list[Path]:
    found = [stage / f"evaluation_{split}" for stage in stages]
    missing = [path.parent for path in found if not (path / "run.json").is_file()]
    if missing:
        commands = "; ".join(
            f"`python evaluate.py {word('ckpt', stage / 'checkpoints' / 'best.ckpt')} split={split}`"
            for stage in missing
        )
        names = ", ".join(stage.name for stage in missing)
        raise ConfigError(f"no evaluation on split {split} of {names}: run {commands} first")
    return found


def load(folder: Path, root: Path) -> Evaluation:
    """Read an evaluation; it is called after its stage.

    Raises:
        DataError: a file is missing, broken or of an older version.
    """
    path = folder / "run.json"
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({error}): evaluate again with `python evaluate.py ckpt=...`"
        ) from error
    rows = read_lines(folder / PREDICTIONS)
    # Sources without reference masks alone leave no cases.csv.
    cases = read_lines(folder / CASES) if (folder / CASES).is_file() else []
    for name, lines in ((PREDICTIONS, rows), (CASES, cases)):
        lacking = [key for key in NEEDED[name] if lines and key not in lines[0]]
        if lacking:
            raise DataError(
                f"{folder / name} lacks {', '.join(lacking)}: it is of an older version, evaluate "
                "again with `python evaluate.py ckpt=...`"
            )
    return Evaluation(str(run["stage"]), folder, root, run, rows, cases)
