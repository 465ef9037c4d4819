"""The fold models of one cross-validation: found, and checked to belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainmtl.data.manifest import read_manifest
from brainmtl.errors import ConfigError
from brainmtl.training.run_folder.recipe import FOLD, recipe_differences
from brainmtl.training.run_folder.run_record import differences, show


@dataclass(frozen=True)
class FoldModel:
    """Checkpoint of one fold, its stage folder and the description that the checkpoint carries."""

    fold: int
    directory: Path
    checkpoint: Path
    meta: dict[str, Any]


def find_folds(folder: Path, stage: str) -> list[FoldModel]:
    """The finished models of ``stage`` in the jobs of a multirun over ``fold``, by fold.

    Raises:
        ConfigError: none there, a job without fold, a fold twice, or jobs whose options differ.
    """
    from brainmtl.training.continuation.checkpoints import read_checkpoint

    if not folder.is_dir():
        raise ConfigError(
            f"dir={folder} does not exist: give the folder of `python train.py -m fold=0,1,2,3,4`"
        )
    found: dict[int, FoldModel] = {}
    for path in sorted(folder.glob(f"*/{stage}/checkpoints/best.ckpt")):
        directory = path.parent.parent
        if not (directory / "stage.json").is_file():
            continue  # still in training, or interrupted: its best.ckpt is not final
        meta = read_checkpoint(path)["brainmtl"]
        fold = meta["config"]["data"].get("fold")
        if fold is None:
            raise ConfigError(
                f"{path} was trained without fold=k: dir={folder} is no multirun over fold"
            )
        if fold in found:
            raise ConfigError(
                f"{path} and {found[fold].checkpoint} are both of fold {fold}: give one "
                "cross-validation at a time, or a list of them in dir=[A,B] as repeats"
            )
        found[fold] = FoldModel(fold, directory, path, meta)
    if not found:
        raise ConfigError(
            f"dir={folder} holds no finished stage {stage} (looked for */{stage}/stage.json): train "
            "with `python train.py -m fold=0,1,2,3,4`, or name another stage_name=..."
        )
    models = [found[fold] for fold in sorted(found)]
    _check_alike(models)
    return models


def missing_folds(models: Sequence[FoldModel], data_dir: Path) -> list[int]:
    """Folds that the prepared folder has and ``models`` lack."""
    frame = read_manifest(data_dir)
    present = {int(fold) for fold in frame["fold"].unique() if fold >= 0}
    return sorted(present - {model.fold for model in models})


def _check_alike(models: Sequence[FoldModel]) -> None:
    """Folds may differ in the fold and in nothing else of their recipe."""
    first = models[0]
    for model in models[1:]:
        if model.meta["manifest_sha256"] != first.meta["manifest_sha256"]:
            raise ConfigError(
                f"{model.checkpoint} was trained on another state of the data than {first.checkpoint}: "
                "train all folds on one prepared folder"
            )
        found = recipe_differences(first.meta["config"], model.meta["config"], FOLD)
        others = _beside_options(first), _beside_options(model)
        both = others[0].keys() & others[1].keys()
        found |= differences(*({name: values[name] for name in both} for values in others))
        if found:
            raise ConfigError(
                f"folds {first.fold} and {model.fold} were trained with different options "
                f"({show(found)}): one cross-validation needs one recipe, so train the folds that "
                "differ again"
            )


def _beside_options(model: FoldModel) -> dict[str, Any]:
    """What decides a model and is no option: preprocessing, and what the first weights were trained on."""
    # No hash of the initial weights: a fold may begin with what an earlier stage has made of that fold.
    kept = ("preprocessing_version", "pretrained")
    return {name: model.meta[name] for name in kept if name in model.meta}
