"""``train``: one stage, or several in a row, each from the best checkpoint of the one before."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

from brainmtl import __version__
from brainmtl.config import PROJECT_ROOT
from brainmtl.data.manifest import manifest_hash
from brainmtl.data.preprocess import PREPROCESSING_VERSION
from brainmtl.errors import ConfigError
from brainmtl.files import sha256, write_json
from brainmtl.training.checkpoints import read_checkpoint
from brainmtl.training.runner import RECORD, Options, StageResult, make_datamodule, run_stage
from brainmtl.training.stages import StageConfig, stage_configs

log = logging.getLogger(__name__)
# What decides the weights of a stage, beside the stage itself, its data and where it started.
DECIDING = (
    "data",
    "augmentation",
    "model",
    "loss",
    "optimizer",
    "scheduler",
    "precision",
    "trainer",
    "seed",
    "channels_last",
    "combined_weights",
)


def train(options: Options) -> list[StageResult]:
    """Run the stages of ``options`` (the resolved ``conf/train.yaml``).

    All stages are checked against the data before the first one trains. A finished stage with the
    same key is reused, so a sweep over ``loss.lambda_cls`` trains the one-task stages once.

    Raises:
        ConfigError, DataError: bad options or data.
    """
    stages = stage_configs(options["stage"], options["loader"])
    if options["ckpt_path"] and len(stages) > 1:
        raise ConfigError("ckpt_path=... goes on with one stage: name it with stage=... too")
    run_dir = Path(options["run_dir"])
    init_from = Path(options["init_from"]) if options["init_from"] else None
    for path in (init_from, options["ckpt_path"]):
        if path:
            read_checkpoint(path)  # a missing or foreign file is refused before anything trains
    for stage in stages:
        make_datamodule(options, stage)
    _point_latest(run_dir)
    origin = sha256(init_from) if init_from else "scratch"
    # What a stage resumed from ckpt_path becomes depends on that file, which its key does not name.
    reusable = options["reuse_stages"] and not options["ckpt_path"]
    results: list[StageResult] = []
    for stage in stages:
        key = stage_key(options, stage, origin)
        directory = run_dir / stage.name
        result = _reuse(key, stage, directory, run_dir) if reusable else None
        if result is None:
            result = run_stage(options, stage, directory, init_from, key)
            if not options["ckpt_path"]:
                _remember(key, directory, run_dir)
        results.append(result)
        init_from, origin = result.best, key
    return results


def stage_key(options: Options, stage: StageConfig, origin: str) -> str:
    """SHA-256 over all that decides a stage's weights; ``origin`` stands for its initial weights."""
    deciding = {name: options[name] for name in DECIDING}
    # lambda_cls weighs two tasks against each other: one task has no use for it.
    if len(stage.tasks) == 1:
        deciding["loss"] = {
            name: value for name, value in options["loss"].items() if name != "lambda_cls"
        }
    deciding |= {
        "stage": vars(stage),
        "origin": origin,
        "manifest": manifest_hash(options["data"]["data_dir"]),
        "versions": [__version__, PREPROCESSING_VERSION],
    }
    return hashlib.sha256(json.dumps(deciding, sort_keys=True, default=list).encode()).hexdigest()


def _index(key: str, run_dir: Path) -> Path:
    """Where a finished stage is remembered: beside the experiments, in ``outputs/.stages``."""
    outputs = PROJECT_ROOT / "outputs"
    root = outputs if run_dir.is_relative_to(outputs) else run_dir.parent
    return root / ".stages" / f"{key}.json"


def _remember(key: str, directory: Path, run_dir: Path) -> None:
    write_json(_index(key, run_dir), {"directory": str(directory)})


def _reuse(key: str, stage: StageConfig, directory: Path, run_dir: Path) -> StageResult | None:
    """The finished stage with this key, linked into ``directory``; None where there is none."""
    index = _index(key, run_dir)
    if not index.is_file():
        return None
    origin = Path(json.loads(index.read_text(encoding="utf-8"))["directory"])
    record, names = origin / RECORD, ("best.ckpt", "last.ckpt")
    if not record.is_file() or not all((origin / "checkpoints" / name).is_file() for name in names):
        return None  # the run was deleted: train again
    values = json.loads(record.read_text(encoding="utf-8"))
    if origin != directory:
        for name in names:
            _link(origin / "checkpoints" / name, directory / "checkpoints" / name)
        write_json(directory / RECORD, values | {"reused_from": str(origin)})
    log.info("stage %s: same config and data as %s, reused", stage.name, origin)
    best, last = (directory / "checkpoints" / name for name in names)
    score, seconds = values["score"], values["seconds"]
    return StageResult(
        stage.name, directory, best, last, values["monitor"], score, seconds, str(origin)
    )


def _link(origin: Path, target: Path) -> None:
    """A hard link costs no space and outlives the older run; a copy where links are not possible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(origin, target)
    except OSError:
        shutil.copy2(origin, target)


def _point_latest(run_dir: Path) -> None:
    """``outputs/latest`` -> the newest run."""
    outputs = PROJECT_ROOT / "outputs"
    if not run_dir.is_relative_to(outputs):
        return
    temporary = outputs / f".latest-{os.getpid()}"
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(run_dir.relative_to(outputs))
        os.replace(temporary, outputs / "latest")
    except OSError as error:  # a file system without symbolic links
        log.warning("outputs/latest cannot point at %s: %s", run_dir, error)
