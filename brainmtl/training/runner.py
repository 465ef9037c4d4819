"""One stage: datamodule, model, callbacks, logger, trainer, fit; in that order."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from brainmtl.data.datamodule import MultiTaskDataModule
from brainmtl.data.manifest import source_hashes
from brainmtl.data.preprocess import PREPROCESSING_VERSION
from brainmtl.errors import BrainMTLError, ConfigError
from brainmtl.files import write_json
from brainmtl.models import create_multi_task_model
from brainmtl.training.checkpoints import load_weights, read_checkpoint
from brainmtl.training.module import MultiTaskModule
from brainmtl.training.precision import resolve_accelerator, resolve_precision
from brainmtl.training.stages import StageConfig

log = logging.getLogger(__name__)
Options = dict[str, Any]
RECORD = "stage.json"


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


def make_datamodule(options: Options, stage: StageConfig) -> MultiTaskDataModule:
    """The datamodule of a stage, checked: every role that the stage needs has training samples."""
    try:
        datamodule = instantiate(
            options["data"], **stage.loader, augmentation=_augmentation(options)
        )
    except InstantiationException as error:
        if isinstance(error.__cause__, BrainMTLError):  # our own words, without Hydra's around them
            raise error.__cause__ from None
        raise
    datamodule.setup("fit")
    if not datamodule.val_names:
        raise ConfigError(
            f"{datamodule.data_dir} has no validation samples: prepare with split.val > 0"
        )
    return datamodule


def run_stage(
    options: Options, stage: StageConfig, directory: Path, init_from: Path | None, key: str
) -> StageResult:
    """Train one stage into ``directory`` and write its ``stage.json``.

    Args:
        options: the resolved configuration of ``conf/train.yaml``.
        init_from: checkpoint that all weights start from, or None.
        key: hash of everything that decides the result, stored for reuse.

    Raises:
        ConfigError, DataError: before training; NonFiniteLossError: during it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _silence_lightning()
    with _text_log(directory / "train.log"):
        pl.seed_everything(options["seed"], workers=True, verbose=False)
        datamodule = make_datamodule(options, stage)
        start = read_checkpoint(init_from) if init_from else None
        module = make_module(options, stage, datamodule, start["brainmtl"] if start else None)
        if start is not None:
            found = load_weights(module.model, start["state_dict"], str(init_from))
            log.info("stage %s starts from %s", stage.name, found)
        trainer, checkpoint = make_trainer(options, stage, directory)
        log.info(
            "stage %s: train %s on %s batches",
            stage.name,
            ", ".join(stage.train),
            stage.loader["loader"],
        )
        started = time.perf_counter()
        trainer.fit(
            module, datamodule=datamodule, ckpt_path=options["ckpt_path"], weights_only=True
        )
        seconds = time.perf_counter() - started
        return _finish(module, stage, directory, checkpoint, seconds, key)


def make_module(
    options: Options,
    stage: StageConfig,
    datamodule: MultiTaskDataModule,
    start: dict[str, Any] | None = None,
) -> MultiTaskModule:
    """The LightningModule of a stage, with its class weights resolved from the manifest.

    ``start`` describes the checkpoint that the weights come from: what trained them counts too.
    """
    model_options = {name: value for name, value in options["model"].items() if name != "_target_"}
    loss = instantiate(options["loss"])
    if loss.needs_class_weights:
        loss.set_class_weights(datamodule.class_weights())
    start = start or {}
    rows = datamodule.manifest
    sources = sorted({*datamodule.train_dataset.source_names, *start.get("sources", [])})
    kinds = {int(kind) for kind in rows[rows["source"].isin(sources)]["synthetic"]}
    kinds |= {1} if start.get("synthetic_training") else set()
    if kinds == {0, 1}:
        log.warning("this run mixes real and synthetic data: %s", ", ".join(sources))
    metadata = {
        "config": options | {"model": model_options, "stage": _plain(stage)},
        "preprocessing_version": PREPROCESSING_VERSION,
        "manifest_sha256": datamodule.manifest_sha256,
        "source_sha256": source_hashes(rows[rows["source"].isin(sources)]),
        "stage": stage.name,
        "sources": sources,  # of this stage and of those that its weights come from
        "trained_parts": sorted({*stage.train, *start.get("trained_parts", [])}),
        "synthetic_training": 1 in kinds,
    }
    return MultiTaskModule(
        create_multi_task_model(**model_options),
        loss,
        stage,
        instantiate(options["optimizer"]),
        instantiate(options["scheduler"]),
        seg_sources=datamodule.seg_sources,
        cls_sources=datamodule.cls_sources,
        metadata=metadata,
        combined_weights=tuple(options["combined_weights"]),
        channels_last=options["channels_last"],
        seed=options["seed"],
    )


def make_trainer(
    options: Options, stage: StageConfig, directory: Path
) -> tuple[pl.Trainer, ModelCheckpoint]:
    """The Trainer of a stage and the callback that keeps its best and last checkpoint."""
    checkpoint = ModelCheckpoint(
        directory / "checkpoints",
        filename="best",  # no metric in the name: Hydra takes no '=' in ckpt=
        monitor=stage.monitor,
        mode=stage.mode,
        save_last=True,
        enable_version_counter=False,
    )
    stop = EarlyStopping(stage.monitor, mode=stage.mode, patience=stage.patience, check_finite=True)
    accelerator = resolve_accelerator(options["trainer"]["accelerator"])
    trainer = instantiate(
        options["trainer"] | {"accelerator": accelerator},
        precision=resolve_precision(options["precision"]["value"], accelerator),
        max_epochs=stage.max_epochs,
        callbacks=[
            checkpoint,
            stop,
            *(instantiate(value) for value in options["callbacks"].values()),
        ],
        logger=instantiate(options["logger"])(save_dir=str(directory)),
        enable_progress_bar="progress" in options["callbacks"],
        default_root_dir=str(directory),
        _convert_="all",
    )
    trainer.stage_dir = directory
    return trainer, checkpoint


def _augmentation(options: Options) -> Any:
    return instantiate(options["augmentation"]) if options["augmentation"] else None


def _finish(
    module: MultiTaskModule,
    stage: StageConfig,
    directory: Path,
    checkpoint: ModelCheckpoint,
    seconds: float,
    key: str,
) -> StageResult:
    if checkpoint.best_model_score is None:
        raise ConfigError(
            f"stage {stage.name} never saw its monitor {stage.monitor}: the validation split lacks what it needs "
            "(masks for Dice, both labels for ROC-AUC and balanced accuracy). Prepare more validation groups. "
            f"With ckpt_path=... it may also be that no epoch was left: raise epochs.{stage.name}"
        )
    result = StageResult(
        stage.name,
        directory,
        Path(checkpoint.best_model_path),
        Path(checkpoint.last_model_path),
        stage.monitor,
        float(checkpoint.best_model_score),
        seconds,
    )
    record = {"key": key, "monitor": stage.monitor, "score": result.score, "seconds": seconds}
    write_json(directory / RECORD, record | {"stage": _plain(stage), "history": module.history})
    log.info(
        "stage %s: best %s %.4f in %.0f s: %s",
        stage.name,
        stage.monitor,
        result.score,
        seconds,
        result.best,
    )
    return result


def _plain(stage: StageConfig) -> dict[str, Any]:
    values = vars(stage)
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
    }


def _silence_lightning() -> None:
    # Lightning's notes on accelerators and estimates, and advertisements, hide what matters.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
    # Frozen parts are in eval mode on purpose.
    warnings.filterwarnings("ignore", message="Found .* module.* in eval mode")
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    warnings.filterwarnings("ignore", message="The number of training batches .* is smaller than")


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
