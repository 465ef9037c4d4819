"""The Trainer of a stage: callbacks, logger, checkpoints."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch.distributed as dist
from hydra.utils import instantiate
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment

from brainmtl.training.continuation.checkpoint_io import SafeCheckpointIO, StageCheckpoint
from brainmtl.training.continuation.resume import State
from brainmtl.training.ema import WeightEMA, resolve_decay
from brainmtl.training.precision import resolve_accelerator, resolve_precision
from brainmtl.training.run_folder.history import EpochHistory
from brainmtl.training.stages import StageConfig

Options = dict[str, Any]


def make_trainer(
    options: Options,
    stage: StageConfig,
    directory: Path,
    state: State | None,
    pretrained: bool,
) -> tuple[pl.Trainer, StageCheckpoint]:
    """The Trainer of a stage and the callback that keeps its best and last checkpoint.

    ``state``: what the stage goes on from, so that the curves go on too. ``pretrained``: whether the
    run began with the built-in weights.
    """
    checkpoint = StageCheckpoint(
        directory / "checkpoints", stage.monitor, stage.mode, options["checkpoint_every"]
    )
    # A monitor that validation does not give is refused by the checkpoint, which says what it gives.
    stop = EarlyStopping(
        stage.monitor, mode=stage.mode, patience=stage.patience, check_finite=True, strict=False
    )
    chosen = {name: value for name, value in options["callbacks"].items() if value}
    accelerator = resolve_accelerator(options["trainer"]["accelerator"])
    trainer = instantiate(
        options["trainer"] | {"accelerator": accelerator},
        precision=resolve_precision(options["precision"]["value"], accelerator),
        max_epochs=stage.max_epochs,
        callbacks=[
            # First: it puts the averaged weights in place for validation.
            *([] if stage.mean_of else _averaging(options["ema_decay"], pretrained)),
            EpochHistory(),
            checkpoint,
            stop,
            *(instantiate(value) for value in chosen.values()),
        ],
        logger=_logger(options, directory, state) if _leads() else False,
        plugins=[SafeCheckpointIO(), *_environment()],
        enable_progress_bar="progress" in chosen,
        default_root_dir=str(directory),
        _convert_="all",
    )
    trainer.stage_dir = directory
    return trainer, checkpoint


def silence_lightning() -> None:
    """Lightning's notes on accelerators and estimates, and advertisements, hide what matters."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
    # Each process evaluates everything, and train/... means are gathered before they are logged.
    warnings.filterwarnings("ignore", message="It is recommended to use .* sync_dist=True")
    # Frozen parts are in eval mode on purpose.
    warnings.filterwarnings("ignore", message="Found .* module.* in eval mode")
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    warnings.filterwarnings("ignore", message="The number of training batches .* is smaller than")
    # What lies there is renamed before.
    warnings.filterwarnings(
        "ignore", message="Experiment logs directory .* exists and is not empty"
    )
    # Our batch sampler is told where to go on, which Lightning cannot see.
    warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before")


def _logger(options: Options, directory: Path, state: State | None) -> Logger:
    make = instantiate(options["logger"])
    if state is None:
        return make(save_dir=str(directory))
    if issubclass(make.func, TensorBoardLogger):
        # What came after the checkpoint comes again: TensorBoard shall not show it twice. At the end
        # of an epoch, the picture of its validation stands at the step that comes next.
        return make(save_dir=str(directory), purge_step=state.step + (state.batch == 0))
    logger = make(save_dir=str(directory))
    if isinstance(logger, CSVLogger):  # it deletes the file that it finds
        for path in Path(logger.log_dir).glob("metrics.csv"):
            path.rename(path.with_name(f"metrics_before_step_{state.step}.csv"))
    return logger


def _leads() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0


def _environment() -> list[LightningEnvironment | TorchElasticEnvironment]:
    """Who has started the processes of a team; Lightning would take a Slurm allocation for it."""
    if not dist.is_initialized():
        return []
    elastic = dist.is_torchelastic_launched()
    return [TorchElasticEnvironment() if elastic else LightningEnvironment()]


def _averaging(given: float | str, pretrained: bool) -> list[WeightEMA]:
    decay = resolve_decay(given, pretrained)
    return [WeightEMA(decay)] if decay else []
