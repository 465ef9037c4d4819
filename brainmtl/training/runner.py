"""One stage: datamodule, model, callbacks, logger, trainer, fit; in that order."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from brainmtl.data.datamodule import MultiTaskDataModule
from brainmtl.data.manifest import Manifest, source_hashes
from brainmtl.data.preprocess import PREPROCESSING_VERSION
from brainmtl.errors import BrainMTLError, ConfigError
from brainmtl.files import write_json
from brainmtl.models import create_multi_task_model
from brainmtl.models.multitask import MultiTaskModel
from brainmtl.training.adversary import SourceAdversary
from brainmtl.training.checkpoint_io import StageCheckpoint, previous
from brainmtl.training.checkpoints import load_weights, read_checkpoint
from brainmtl.training.module import MultiTaskModule
from brainmtl.training.records import RECORD
from brainmtl.training.resume import State, find_state
from brainmtl.training.stages import StageConfig
from brainmtl.training.team import share
from brainmtl.training.trainer import make_trainer, silence_lightning

log = logging.getLogger(__name__)
Options = dict[str, Any]


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


def make_datamodule(
    options: Options, stage: StageConfig, manifest: Manifest | None = None
) -> MultiTaskDataModule:
    """The datamodule of a stage, checked: every role that the stage needs has training samples.

    ``manifest``: of the data folder, where it was loaded already.
    """
    with own_words():
        make = instantiate(
            options["data"], **stage.loader, augmentation=_augmentation(options), _partial_=True
        )
    # Not through Hydra, which would copy every row.
    datamodule = make(manifest=manifest)
    datamodule.setup("fit")
    if not datamodule.val_names:
        raise ConfigError(
            f"{datamodule.data_dir} has no validation samples: prepare with split.val > 0"
        )
    return datamodule


@contextmanager
def own_words() -> Iterator[None]:
    """Errors of ours that Hydra has wrapped, without its words around them."""
    try:
        yield
    except InstantiationException as error:
        if isinstance(error.__cause__, BrainMTLError):
            raise error.__cause__ from None
        raise


def run_stage(
    options: Options,
    stage: StageConfig,
    directory: Path,
    init_from: Path | None,
    key: str,
    go_on: bool = False,
    datamodule: MultiTaskDataModule | None = None,
) -> StageResult:
    """Train one stage into ``directory`` and write its ``stage.json``.

    Args:
        options: the resolved configuration of ``conf/train.yaml``.
        init_from: checkpoint that all weights start from, or None.
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
    init_from: Path | None,
    state: State | None,
    datamodule: MultiTaskDataModule | None = None,
) -> tuple[MultiTaskModule, StageCheckpoint]:
    """Train one stage, in every process of a run alike; only the leading one writes."""
    silence_lightning()
    pl.seed_everything(options["seed"], workers=True, verbose=False)
    datamodule = datamodule or make_datamodule(options, stage)
    start = read_checkpoint(init_from) if init_from else None
    module = make_module(options, stage, datamodule, start["brainmtl"] if start else None)
    found = "random weights"
    if start is not None:
        found = load_weights(module.model, start["state_dict"], str(init_from))
    log.info("stage %s starts from %s", stage.name, found)
    trainer, checkpoint = make_trainer(
        options, stage, directory, state, bool(module.metadata["pretrained"])
    )
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
    with own_words():
        loss, balance = instantiate(options["loss"]), instantiate(options["balance"])
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
        "pretrained": start.get(
            "pretrained"
        ),  # what made the built-in weights, if it began with them
    }
    model = create_multi_task_model(**model_options)
    return MultiTaskModule(
        model,
        loss,
        stage,
        instantiate(options["optimizer"]),
        instantiate(options["scheduler"]),
        seg_sources=datamodule.seg_sources,
        cls_sources=datamodule.cls_sources,
        metadata=metadata,
        balance=balance,
        adversary=_adversary(options, stage, model, datamodule),
        combined_weights=tuple(options["combined_weights"]),
        channels_last=options["channels_last"],
        seed=options["seed"],
    )


def _adversary(
    options: Options, stage: StageConfig, model: MultiTaskModel, datamodule: MultiTaskDataModule
) -> SourceAdversary | None:
    """Of the stages that train the encoder for both tasks; a frozen one cannot listen to it."""
    if not options["adversary"] or len(stage.tasks) < 2 or "encoder" not in stage.train:
        return None
    with own_words():
        return instantiate(
            options["adversary"],
            in_features=model.encoder.feature_channels[-1],
            sources=datamodule.train_dataset.source_names,
        )


def _augmentation(options: Options) -> Any:
    return instantiate(options["augmentation"]) if options["augmentation"] else None


def _finish(
    module: MultiTaskModule,
    stage: StageConfig,
    directory: Path,
    checkpoint: StageCheckpoint,
    key: str,
) -> StageResult:
    if checkpoint.score is None:
        raise ConfigError(
            f"stage {stage.name} never saw its monitor {stage.monitor}: no epoch's validation gives a figure of "
            f"that name. Those of the last epoch: {_figures(module.history)}"
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
    write_json(directory / RECORD, record | {"stage": _plain(stage), "history": module.history})
    for path in (result.best, result.last):
        previous(path).unlink(missing_ok=True)
    log.info(
        "stage %s: best %s %.4f in %.0f s: %s",
        stage.name,
        stage.monitor,
        result.score,
        seconds,
        result.best,
    )
    return result


def _figures(history: Sequence[Mapping[str, Any]]) -> str:
    names = sorted(name for name in (history[-1] if history else {}) if name.startswith("val/"))
    return ", ".join(names) or "none"


def _plain(stage: StageConfig) -> dict[str, Any]:
    values = vars(stage)
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
    }


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
