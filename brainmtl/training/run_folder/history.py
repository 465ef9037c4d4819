"""What every epoch of a stage brought: figures, learning rates, seconds, images."""

from __future__ import annotations

import math
import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn

from brainmtl.training.optim import learning_rates_by_group
from brainmtl.training.run_folder.pace import pace_of


class EpochHistory(pl.Callback):
    """Completes the module's ``history``, which ends up in ``stage.json``, one entry per epoch; until
    then ``progress.json`` says how far the stage is.

    An entry holds ``epoch`` (from 0), every logged ``train/...`` and ``val/...`` figure,
    ``lr/<group>`` at the end of the epoch, which the step after it takes, ``seconds`` (training and
    validation), ``train_seconds`` and ``images`` (training alone). A figure that is not finite is None.
    """

    def __init__(self) -> None:
        self._started = 0.0
        self._images = 0
        self._train_seconds = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of the epoch."""
        self._started, self._images, self._train_seconds = time.perf_counter(), 0, 0.0

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
    ) -> None:
        """Count the images; the clock of training stops with its last batch."""
        self._images += len(batch["images"])
        self._train_seconds = time.perf_counter() - self._started

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Complete the entry that the validation has begun."""
        history, found = pl_module.history, _logged(trainer)
        if not history or history[-1]["epoch"] != trainer.current_epoch:
            history.append({"epoch": trainer.current_epoch})  # an epoch without validation
            # Lightning keeps the figures of the validation before, which are of other weights.
            found = {name: value for name, value in found.items() if not name.startswith("val/")}
        rates = learning_rates_by_group(trainer.optimizers[0])
        figures = {
            **found,
            **{f"lr/{name}": rate for name, rate in rates.items()},
            "seconds": time.perf_counter() - self._started,
            "train_seconds": self._train_seconds,
        }
        images = torch.tensor(self._images, device=pl_module.device)
        history[-1] |= {
            "images": int(trainer.strategy.reduce(images, reduce_op="sum")),  # of all processes
            **figures,
        }
        if trainer.is_global_zero and (pace := pace_of(history, trainer.max_epochs)):
            pace.write(trainer.stage_dir)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Complete the only entry of weights that are validated and not trained."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            pl_module.history[-1] |= _logged(trainer)


def _logged(trainer: pl.Trainer) -> dict[str, float | None]:
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return {name: value if math.isfinite(value) else None for name, value in found.items()}
