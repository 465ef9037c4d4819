"""What a run asks of its options and data before anything trains, so that nothing fails after hours."""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate

from brainmtl.config import own_words
from brainmtl.data.loading.datamodule import MultiTaskDataModule
from brainmtl.data.manifest import Manifest
from brainmtl.data.preprocessing.preprocess import PREPROCESSING_VERSION
from brainmtl.data.samples import first_samples
from brainmtl.errors import ConfigError, DataError, check_count
from brainmtl.training.build import make_datamodule, make_module
from brainmtl.training.continuation.checkpoints import check_fit, read_checkpoint
from brainmtl.training.runner import Options
from brainmtl.training.stages import StageConfig
from brainmtl.words import quantity

log = logging.getLogger(__name__)

# Of Lightning's Trainer: they would end a stage behind the back of its learning rates, or leave a
# checkpoint of one batch that looks like any other.
OWN_LENGTH = (
    *("max_epochs", "min_epochs", "max_steps", "min_steps", "max_time"),
    *("fast_dev_run", "overfit_batches"),
)

# Of the Trainer too: given in make_trainer, whatever conf/trainer says.
OF_THE_STAGE = {
    "precision": "choose precision=bf16, fp16, fp32 or auto",
    "logger": "choose logger=csv or tensorboard",
    "callbacks": "they are in the group callbacks",
    "enable_progress_bar": "callbacks=quiet has no bars",
    "default_root_dir": "hydra.run.dir=... is the folder of a run",
    "plugins": "leave it out",
}


def check_start(options: Options, init_from: Path | None) -> None:
    """Refuse options that no stage can be trained with, and an ``init_from`` that is missing, foreign, damaged
    or of another architecture.

    Raises:
        ConfigError, DataError: names the option, the file, or the tensors that do not fit.
    """
    for name in ("resume", "from_run"):
        if options[name]:
            raise ConfigError(f"{name}=... is for the command line of train.py alone")
    check_count("seed", options["seed"], 0)
    check_names(options["trainer"])
    for name, only, what in (
        ("out_channels", 1, "one mask"),
        ("num_classes", 2, "no tumour and tumour"),
    ):
        if (asked := options["model"][name]) != only:
            raise ConfigError(
                f"model.{name}={asked} cannot be trained: the losses know {what} ({only})"
            )
    if len(options["combined_weights"]) != 2:
        raise ConfigError(
            f"combined_weights={options['combined_weights']}: give two, of Dice and of balanced accuracy"
        )
    with own_words():
        if init_from is not None:
            start = read_checkpoint(init_from)
            with torch.device("meta"):  # shapes are all that is asked for
                model = instantiate(options["model"])
            check_fit(model, start["state_dict"], f"init_from={init_from}")


def check_members(options: Options, stages: Sequence[StageConfig], init_from: Path | None) -> None:
    """Refuse a mean of trainings that would be worth nothing, before they take their hours.

    Raises:
        ConfigError: batch norm, or members without weights to begin with in common.
    """
    for stage in stages:
        if stage.mean_of and options["model"]["norm"] == "batch":
            raise ConfigError(
                f"members={stage.trainings} with model.norm=batch: statistics of batch norm belong to the weights "
                "that they were taken with, not to a mean of weights; use model.norm=group, or members=1"
            )
    if stages[0].member_of is not None and init_from is None:
        raise ConfigError(
            f"members: those of {stages[0].member_of} would each begin with random weights of their own, and the mean "
            "of such trainings is worth nothing; train a stage before it, give init_from=..., or use members=1"
        )


def check_stage(options: Options, stage: StageConfig, manifest: Manifest) -> MultiTaskDataModule:
    """Build what a stage trains and trains with, so that no later stage fails after hours.

    Raises:
        ConfigError, DataError: whatever the stage would have failed of.
    """
    check_length(options["trainer"], stage)
    datamodule = make_datamodule(options, stage, manifest)
    check_samples(options["model"]["in_channels"], datamodule)
    check_monitor(stage, datamodule)
    check_batches(options["trainer"], stage, datamodule)
    module = make_module(options, stage, datamodule)
    with own_words():
        instantiate(options["optimizer"])(module.model, stage.learning_rates, stage.train)
    return datamodule


def check_names(trainer: Options) -> None:
    """Refuse what the Trainer does not know, and what it would not get because a stage gives it.

    Raises:
        ConfigError: names the option, and what is meant or sets it.
    """
    known = inspect.signature(pl.Trainer).parameters
    for name in trainer:
        if name in OF_THE_STAGE:
            raise ConfigError(
                f"trainer.{name} would be ignored, a stage sets it: {OF_THE_STAGE[name]}"
            )
        if name not in known and not name.startswith("_"):
            close = difflib.get_close_matches(name, known, n=3)
            remedy = (
                f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(known)}"
            )
            raise ConfigError(f"trainer.{name} is no option of Lightning's Trainer: {remedy}")


def check_length(trainer: Options, stage: StageConfig) -> None:
    """Refuse options of the Trainer that give a stage another length, or no step or validation.

    Raises:
        ConfigError: names the option, and what sets it here.
    """
    if foreign := [name for name in OWN_LENGTH if trainer.get(name)]:
        raise ConfigError(
            f"trainer.{foreign[0]} is not for brainmtl: a stage has epochs.<stage> epochs of "
            "data.images_per_epoch images (trainer=debug: three batches, for a try)"
        )
    check_count("trainer.accumulate_grad_batches", trainer["accumulate_grad_batches"], 1)
    every = trainer["check_val_every_n_epoch"]
    check_count("trainer.check_val_every_n_epoch", every, 1)
    if every > stage.max_epochs:
        raise ConfigError(
            f"trainer.check_val_every_n_epoch={every}: stage {stage.name} has {quantity(stage.max_epochs, 'epochs')} and "
            "would never be validated, so it would have no best checkpoint"
        )


def check_batches(trainer: Options, stage: StageConfig, datamodule: MultiTaskDataModule) -> None:
    """Refuse options of the Trainer that leave an epoch without a batch to train or to validate on.

    Raises:
        ConfigError: names the option, the stage and how many batches it has.
    """
    train = len(datamodule.train_batches)
    validation = [len(loader) for loader in datamodule.val_dataloader()]
    for name, batches in (
        ("limit_val_batches", min(validation)),
        ("limit_train_batches", train),  # last: what it keeps is the epoch below
    ):
        limit = trainer[name]
        # As the Trainer counts: a fraction is of the batches, None is all of them.
        kept = int(limit * batches) if isinstance(limit, float) else limit
        if kept is not None and kept < 1:
            raise ConfigError(
                f"trainer.{name}={limit} leaves stage {stage.name} without a batch: it has {batches}"
                f"{' of one source' if name == 'limit_val_batches' else ''}; 1.0 takes all"
            )
    _check_interval(trainer.get("val_check_interval"), stage, min(train, kept or train))


def _check_interval(every: Any, stage: StageConfig, batches: int) -> None:
    """Lightning finds out when the stage has begun, and where it counts in time perhaps never validates."""
    if every is None:
        return
    most = batches if isinstance(every, int) else 1.0
    if isinstance(every, bool | str) or not isinstance(every, int | float) or not 0 < every <= most:
        raise ConfigError(
            f"trainer.val_check_interval={every}: an epoch of stage {stage.name} has "
            f"{quantity(batches, 'batches')}; give a whole number of them, or a share up to 1.0"
        )


def check_samples(expected: int, datamodule: MultiTaskDataModule) -> None:
    """Refuse a source that was prepared by another version of the preprocessing, or whose images have
    other channels than the model takes, by its first sample.

    Raises:
        DataError: another version.
        ConfigError: names the source and what would fit it.
    """
    frame = datamodule.manifest
    sources = dict.fromkeys([*datamodule.seg_sources, *datamodule.cls_sources])
    held = {}
    own = frame[frame["source"].isin(list(sources))]
    for source, (path, sample) in first_samples(own, datamodule.data_dir).items():
        version = sample.metadata.get("preprocessing_version")
        if version != PREPROCESSING_VERSION:
            raise DataError(
                f"{datamodule.data_dir / path} was prepared with preprocessing version {version}, and images "
                f"are served with {PREPROCESSING_VERSION}: prepare {source} again (the same command)"
            )
        held[source] = len(sample.image)
    if set(held.values()) - {expected}:
        listed = ", ".join(f"{source} {count}" for source, count in held.items())
        remedy = (
            f"set model.in_channels={min(held.values())}"
            if len(set(held.values())) == 1
            else "train on sources of one number (data.seg_sources, data.cls_sources), or prepare all with as many modalities"
        )
        raise ConfigError(
            f"model.in_channels={expected}, and channels by source in {datamodule.data_dir} are: {listed}; {remedy}"
        )


def check_monitor(stage: StageConfig, datamodule: MultiTaskDataModule) -> None:
    """Refuse a stage whose monitor the validation split cannot give, before hours of training.

    Raises:
        ConfigError: no mask with tumour in the segmentation sources, or no source of the classification
            role with both labels.
    """
    seg, cls = (
        [datamodule.val_datasets[name] for name in names if name in datamodule.val_datasets]
        for names in (datamodule.seg_sources, datamodule.cls_sources)
    )
    masked = any((d.has_mask & (d.labels != 0)).any() for d in seg)
    labelled = any({0, 1} <= set(d.labels.tolist()) for d in cls)
    masks = [] if masked else ["a mask with tumour in a segmentation source"]
    labels = [] if labelled else ["both labels in a classification source"]
    lacking = {
        "seg_dice": masks,
        "cls_balanced_accuracy": labels,
        "cls_roc_auc": labels,
        "combined": [*masks, *labels],
    }
    missing = lacking.get(stage.monitor.removeprefix("val/"))
    if missing:
        raise ConfigError(
            f"stage {stage.name} has the monitor {stage.monitor}, and the validation split of "
            f"{datamodule.data_dir} lacks {' and '.join(missing)}. Prepare more validation groups "
            "(split.val), name other sources, or choose another stage or monitor"
        )


def warn_of_few_draws(stage: StageConfig, datamodule: MultiTaskDataModule) -> None:
    """Name the pools of the last stage that hold more samples than all of its epochs draw."""
    batches = datamodule.train_batches
    for pool, images in zip(batches.pools, batches.images, strict=True):
        per_epoch = stage.trainings * images
        draws = stage.max_epochs * per_epoch
        if draws < len(pool):
            log.warning(
                "stage %s draws %d images of %s, and there are %d: so many deserve a longer training; "
                "%d epochs instead of %d would draw as many (epochs.<stage>, docs/training.md)",
                stage.name,
                draws,
                pool.name,
                len(pool),
                -(-len(pool) // per_epoch),
                stage.max_epochs,
            )
