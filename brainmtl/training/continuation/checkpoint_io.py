"""When and how the checkpoints of a stage are written: often enough, and never half."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint

from brainmtl.errors import ConfigError
from brainmtl.files import atomic_path

BEST, LAST = "best.ckpt", "last.ckpt"
PROGRESS = "progress"  # key of a checkpoint: what StageCheckpoint restores


def previous(path: Path) -> Path:
    """``last.prev.ckpt`` of ``last.ckpt``."""
    return path.with_suffix(f".prev{path.suffix}")


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, flushes to the disk and renames; keeps the file that was there.

    Whenever the process is killed, ``NAME.ckpt`` or ``NAME.prev.ckpt`` is whole.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write ``checkpoint`` to ``path``."""
        path = Path(path)
        with atomic_path(path) as temporary:
            torch.save(checkpoint, temporary)
            _flush(temporary)
            if path.is_file():
                os.replace(path, previous(path))
        _flush(path.parent)  # the names too


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class StageCheckpoint(Checkpoint):
    """``best.ckpt`` after an epoch with a better monitor; ``last.ckpt`` after every epoch and ``every`` steps.

    Each is a whole state of the training: weights, optimiser, schedule, counters of the loops, states
    of the callbacks, and what this class adds: the history of the epochs, the best score, whether
    early stopping has spoken, the seconds of training, and the epoch and batch to go on with. Random
    state need not be stored: what a step draws depends on the seed, the epoch and the step alone.

    Lightning's ModelCheckpoint with ``save_last`` does not write ``last.ckpt`` after an epoch without
    a better monitor, and a save in the last step of an epoch keeps it from looking at the monitor.

    Args:
        directory: of the two files.
        monitor, mode: logged metric, and whether "max" or "min" is better; the first of equals stays.
        every: steps of the optimiser between two writes within an epoch.
    """

    def __init__(self, directory: Path, monitor: str, mode: str, every: int) -> None:
        if every < 1:
            raise ConfigError(f"checkpoint_every={every} must be 1 or more steps, e.g. 200")
        self.best, self.last = directory / BEST, directory / LAST
        self.monitor, self.mode, self.every = monitor, mode, every
        self.score: float | None = None
        self._position = (0, 0)  # epoch and batch that a run resumed from now on begins with
        self._seconds, self._started = 0.0, time.perf_counter()
        self._step = 0
        self._ended = False

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those before an interruption included."""
        return self._seconds + time.perf_counter() - self._started

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; within an epoch, tell everybody of it as at its start."""
        self._started, self._step = time.perf_counter(), trainer.global_step
        if trainer.fit_loop.restarted_mid_epoch:  # Lightning leaves these hooks out
            for callback in trainer.callbacks:
                callback.on_train_epoch_start(trainer, pl_module)
            pl_module.on_train_epoch_start()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Means of the last epoch are logged after its checkpoint: bring them to the disk too."""
        _save_logs(trainer)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write ``last.ckpt`` every so many steps."""
        # Not between two batches of one step, whose gradients are in no checkpoint, and not before
        # a validation, which Lightning would leave out when it goes on.
        stepped = trainer.global_step != self._step
        self._step = trainer.global_step
        if stepped and self._step % self.every == 0 and not trainer.is_last_batch:
            self._position = (trainer.current_epoch, batch_idx + 1)
            self._save(trainer, self.last)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write both, the best one first: what ``last.ckpt`` says of it must be there already."""
        self._position = (trainer.current_epoch + 1, 0)
        self._require_monitor(trainer)
        if self._take_score(trainer):
            self._save(trainer, self.best)
        self._save(trainer, self.last)

    def keep(self, trainer: pl.Trainer) -> None:
        """Write both files of weights that were validated and not trained, with the score they had."""
        if self._take_score(trainer):
            for path in (self.best, self.last):
                trainer.save_checkpoint(path, weights_only=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember that the loop has come to its end."""
        self._ended = True

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Killed between its last checkpoint and its end, a run has no step left when it goes on."""
        if not self._ended:  # Lightning then skips the loop, and the end with it
            for callback in trainer.callbacks:
                callback.on_train_end(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what :meth:`on_load_checkpoint` restores."""
        epoch, batch = self._position
        checkpoint[PROGRESS] = {
            "epoch": epoch,
            "batch": batch,
            "score": self.score,
            "should_stop": trainer.should_stop,
            "seconds": self.seconds,
            "history": pl_module.history,
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore it; the loader goes on with the batch after the last one that counts."""
        state = checkpoint[PROGRESS]
        self._position = (state["epoch"], state["batch"])
        self.score, self._seconds = state["score"], state["seconds"]
        pl_module.history = state["history"]
        trainer.should_stop = state["should_stop"]
        trainer.datamodule.set_epoch(state["epoch"], first_batch=state["batch"])

    def _require_monitor(self, trainer: pl.Trainer) -> None:
        """What the first validation does not give, none will: not to be told after all epochs."""
        figures = sorted(name for name in trainer.callback_metrics if name.startswith("val/"))
        if figures and self.monitor not in trainer.callback_metrics:
            raise ConfigError(
                f"no validation of this stage gives its monitor {self.monitor}: choose another one (stage.monitor). "
                f"It gives {', '.join(figures)}"
            )

    def _take_score(self, trainer: pl.Trainer) -> bool:
        """Whether the monitor is better than ever before; then it is the score."""
        # The leader's value: saving takes all processes, and the last digits may differ between GPUs.
        value = trainer.strategy.broadcast(trainer.callback_metrics.get(self.monitor))
        if value is None or not self._is_better(float(value)):
            return False
        self.score = float(value)
        return True

    def _is_better(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if self.score is None:
            return True
        return value > self.score if self.mode == "max" else value < self.score

    def _save(self, trainer: pl.Trainer, path: Path) -> None:
        _save_logs(trainer)  # the curves must reach as far as the checkpoint
        trainer.save_checkpoint(path, weights_only=False)


def _save_logs(trainer: pl.Trainer) -> None:
    for logger in trainer.loggers:
        logger.save()
