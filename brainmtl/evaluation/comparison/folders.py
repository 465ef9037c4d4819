"""What ``runs=[...]`` names: runs, stages or evaluations, resolved to chains of evaluations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainmtl.errors import ConfigError, DataError
from brainmtl.evaluation.lines import CASES, PREDICTIONS, Lines, read_lines

STAGES = ("seg_warmup", "cls_head", "heads", "joint")  # in the order of training
PARTS = {"dice": "decoder", "balanced_accuracy": "head", "roc_auc": "head", "accuracy": "head"}
NEEDED = {
    PREDICTIONS: ("image_id", "source", "group", "cls", "calibrated", "call"),
    CASES: ("source", "group", "case_id", "dice", "predicted_voxels", "reference_voxels"),
}


@dataclass(frozen=True)
class Evaluation:
    """One evaluation folder: its lines and run.json; ``name`` is unique within a comparison."""

    name: str
    folder: Path
    run: dict[str, Any]
    rows: Lines
    cases: Lines

    def untrained(self, figure: str) -> bool:
        """Whether the part behind a figure still has random weights, as the remarks say."""
        words = f"has trained the {PARTS[figure]}:"
        return any(words in remark for remark in self.run["remarks"])


@dataclass(frozen=True)
class _Chain:
    """Evaluation folders in the order of training, and the folder that they are called after."""

    root: Path
    folders: list[Path]


def load_chains(runs: Sequence[str | Path], split: str) -> list[list[Evaluation]]:
    """The evaluations of each entry of ``runs``, those of a run in the order of its stages.

    An entry is the folder of a run (its stages, or the merged folds of a cross-validation), of one
    stage, or of one evaluation; stages of one run belong together however they are named. ``split``
    says which evaluation of a run or stage is meant.

    Raises:
        ConfigError: nothing to compare, a folder without evaluations (names the command that makes
            them), the same folder twice, or evaluations of different splits.
        DataError: a file of an evaluation is missing, broken or of an older version.
    """
    chains = _merged([_resolve(Path(run), split) for run in runs])
    folders = [folder.resolve() for chain in chains for folder in chain.folders]
    twice = [str(folder) for folder, times in Counter(folders).items() if times > 1]
    if twice:
        raise ConfigError(f"runs names {', '.join(twice)} twice: name every evaluation once")
    if len(folders) < 2:
        raise ConfigError(
            f"runs={[str(run) for run in runs]} holds {len(folders)} evaluation: name at least two, "
            "or a run with several evaluated stages"
        )
    loaded = [[_load(folder) for folder in chain.folders] for chain in chains]
    splits = sorted({evaluation.run["split"] for chain in loaded for evaluation in chain})
    if len(splits) > 1:
        raise ConfigError(f"runs holds evaluations of the splits {splits}: compare within one")
    return _named(loaded, [chain.root for chain in chains])


def _resolve(folder: Path, split: str) -> _Chain:
    if not folder.is_dir():
        raise ConfigError(f"runs: {folder} does not exist: give a run, stage or evaluation folder")
    if (folder / PREDICTIONS).is_file() or (folder / "run.json").is_file():
        stage = folder.parent
        if folder.name.startswith("crossval_"):
            return _Chain(stage, [folder])
        return _Chain(stage.parent if _is_stage(stage, split) else folder, [folder])
    if _is_stage(folder, split):
        return _Chain(folder.parent, _evaluations([folder], split))
    merged = sorted(path for path in folder.glob("crossval_*") if path.is_dir())
    if merged:
        return _Chain(folder, merged)
    stages = sorted(path for path in folder.iterdir() if _is_stage(path, split))
    if stages:
        return _Chain(folder, _evaluations(stages, split))
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


def _merged(chains: Sequence[_Chain]) -> list[_Chain]:
    """One chain per root, its folders in the order of training."""
    by_root: dict[Path, list[Path]] = {}
    for chain in chains:
        by_root.setdefault(chain.root.resolve(), []).extend(chain.folders)
    found = []
    for root, folders in by_root.items():
        order = _in_order(root, [_stage_name(folder) for folder in folders])
        found.append(_Chain(root, sorted(folders, key=lambda f: order.index(_stage_name(f)))))
    return found


def _stage_name(folder: Path) -> str:
    """Stage of an evaluation folder in its usual place: crossval_<stage>, <stage>/evaluation_..."""
    name = folder.name.removeprefix("crossval_")
    return name if name != folder.name else folder.parent.name


def _is_stage(folder: Path, split: str) -> bool:
    marks = ("stage.json", "checkpoints", f"evaluation_{split}")
    return folder.is_dir() and any((folder / mark).exists() for mark in marks)


def _in_order(run: Path, names: list[str]) -> list[str]:
    """Stage names as the run's own configuration orders them, else as :data:`STAGES` does."""
    from omegaconf import OmegaConf

    order = list(STAGES)
    config = run / ".hydra" / "config.yaml"
    if config.is_file():
        own = OmegaConf.select(OmegaConf.load(config), "stage.order")
        order = list(own) if own else order
    known = [name for name in order if name in names]
    return known + sorted(set(names) - set(known))


def _evaluations(stages: Sequence[Path], split: str) -> list[Path]:
    found = [stage / f"evaluation_{split}" for stage in stages]
    missing = [path.parent for path in found if not (path / "run.json").is_file()]
    if missing:
        commands = "; ".join(
            f"`python evaluate.py ckpt={stage / 'checkpoints' / 'best.ckpt'} split={split}`"
            for stage in missing
        )
        names = ", ".join(stage.name for stage in missing)
        raise ConfigError(f"no evaluation on split {split} of {names}: run {commands} first")
    return found


def _load(folder: Path) -> Evaluation:
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
    return Evaluation(str(run["stage"]), folder, run, rows, cases)


def _named(chains: list[list[Evaluation]], roots: list[Path]) -> list[list[Evaluation]]:
    """Stage names where they are unique, else with as much of the run's path as it takes."""
    names = [evaluation.name for chain in chains for evaluation in chain]
    if len(set(names)) == len(names):
        return chains
    parts = [root.resolve().parts for root in roots]
    for depth in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(part[-depth:]) for part in parts]
        full = [f"{labels[k]}/{e.name}" for k, chain in enumerate(chains) for e in chain]
        if len(set(full)) == len(full):
            break
    else:  # several evaluations of one stage
        full = [str(evaluation.folder) for chain in chains for evaluation in chain]
    own = iter(full)
    return [[Evaluation(**{**vars(e), "name": next(own)}) for e in chain] for chain in chains]
