"""One stage: datamodule, model, callbacks, logger, trainer, fit; in that order."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from brainmtl.data.loading.datamodule import MultiTaskDataModule
from brainmtl.errors import ConfigError
from brainmtl.files import write_json
from brainmtl.training.build import make_datamodule, make_module
from brainmtl.training.continuation.checkpoint_io import StageCheckpoint, previous
from brainmtl.training.continuation.checkpoints import (
    load_weights,
    mean_checkpoint,
    read_checkpoint,
)
from brainmtl.training.continuation.resume import State, find_state
from brainmtl.training.module import MultiTaskModule
from brainmtl.training.run_folder.pace import PROGRESS
from brainmtl.training.run_folder.records import RECORD
from brainmtl.training.stages import StageConfig
from brainmtl.training.team import share
from brainmtl.training.trainer import make_trainer, silence_lightning

log = logging.getLogger(__name__)
Options = dict[str, Any]
Start = Path | tuple[Path, ...] | None  # a checkpoint, those whose mean is meant, or random weights


@dataclass(frozen=True)
class StageResult:
    """``best`` and ``last`` checkpoint, the best value of the monitor, seconds of training."""

    name: str
    directory: Path
    best: Path
    last: Path
    monitor: str
    score: float
    seconds: float
    reused_from: str | None = None


def run_stage(
    options: Options,
    stage: StageConfig,
    directory: Path,
    init_from: Start,
    key: str,
    go_on: bool = False,
    datamodule: MultiTaskDataModule | None = None,
) -> StageResult:
    """Train one stage into ``directory`` and write its ``stage.json``.

    Args:
        options: the resolved configuration of ``conf/train.yaml``.
        init_from: checkpoint that all weights start from; the members of a mean; or None.
        key: hash of everything that decides the result, stored for reuse.
        go_on: from the newest checkpoint in ``directory``, if it has one.
        datamodule: of :func:`make_datamodule`, where the stage was checked with it.

    Raises:
        ConfigError, DataError: before training; NonFiniteLossError: during it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with _text_log(directory / "train.log"):
        state = find_state(directory / "checkpoints") if go_on else None
        job = (options, stage, directory, init_from, state)
        share(job)  # without the datamodule: other processes, on other machines too, read their own
        module, checkpoint = fit_stage(*job, datamodule)
        return _finish(module, stage, directory, checkpoint, key)


def fit_stage(
    options: Options,
    stage: StageConfig,
    directory: Path,
    init_from: Start,
    state: State | None,
    datamodule: MultiTaskDataModule | None = None,
) -> tuple[MultiTaskModule, StageCheckpoint]:
    """Train one stage, or validate a mean, in every process of a run alike; only the leading one writes."""
    silence_lightning()
    pl.seed_everything(options["seed"], workers=True, verbose=False)
    datamodule = datamodule or make_datamodule(options, stage)
    start = _read_start(init_from)
    module = make_module(options, stage, datamodule, start["brainmtl"] if start else None)
    found = "random weights"
    if start is not None:
        found = load_weights(module.model, start["state_dict"], str(init_from))
    trainer, checkpoint = make_trainer(
        options, stage, directory, state, bool(module.metadata["pretrained"])
    )
    if stage.mean_of:
        log.info("stage %s: the mean of the weights of %s", stage.name, ", ".join(stage.mean_of))
        trainer.validate(module, datamodule=datamodule, verbose=False)
        checkpoint.keep(trainer)
        return module, checkpoint
    log.info("stage %s starts from %s", stage.name, found)
    log.info(
        "stage %s: train %s on %s batches, %d x %d images%s",
        stage.name,
        ", ".join(stage.train),
        stage.loader["loader"],
        stage.max_epochs,
        sum(datamodule.train_batches.images),
        f", going on in epoch {state.epoch + 1} after {state.batch} batches" if state else "",
    )
    path = str(state.path) if state else None
    trainer.fit(module, datamodule=datamodule, ckpt_path=path, weights_only=True)
    return module, checkpoint


def _read_start(init_from: Start) -> dict[str, Any] | None:
    if isinstance(init_from, tuple):
        return mean_checkpoint(init_from)
    return read_checkpoint(init_from) if init_from else None


def _finish(
    module: MultiTaskModule,
    stage: StageConfig,
    directory: Path,
    checkpoint: StageCheckpoint,
    key: str,
) -> StageResult:
    if checkpoint.score is None:
        raise ConfigError(
            f"stage {stage.name} never saw a finite value of its monitor {stage.monitor}: choose another one"
        )
    seconds = checkpoint.seconds
    result = StageResult(
        stage.name,
        directory,
        checkpoint.best,
        checkpoint.last,
        stage.monitor,
        checkpoint.score,
        seconds,
    )
    record = {"key": key, "monitor": stage.monitor, "score": result.score, "seconds": seconds}
    write_json(directory / RECORD, record | {"stage": stage.plain(), "history": module.history})
    for path in (result.best, result.last):
        previous(path).unlink(missing_ok=True)
    (directory / PROGRESS).unlink(missing_ok=True)
    log.info(
        "stage %s: best %s %.4f in %.0f s: %s",
        stage.name,
        stage.monitor,
        result.score,
        seconds,
        result.best,
    )
    return result


@contextmanager
def _text_log(path: Path) -> Iterator[None]:
    """Everything that this package logs, in the stage's folder too."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("brainmtl")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
