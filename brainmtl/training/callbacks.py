"""Small observers of training: learning rates and gradient norms in the logs."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch.optim import Optimizer

from brainmtl.training.optim import learning_rates_by_group


class LearningRates(pl.Callback):
    """Logs ``lr/<group>`` of every parameter group, every ``log_every_n_steps``."""

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Log the rates that this step uses."""
        if trainer.logger and trainer.global_step % trainer.log_every_n_steps == 0:
            rates = learning_rates_by_group(trainer.optimizers[0])
            values = {f"lr/{name}": rate for name, rate in rates.items()}
            trainer.logger.log_metrics(values, step=trainer.global_step)


class GradientNorm(pl.Callback):
    """Logs ``grad_norm/<part>``, the 2-norm before clipping, every ``log_every_n_steps``."""

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Log before the gradients are clipped."""
        if not trainer.logger or trainer.global_step % trainer.log_every_n_steps:
            return
        norms: dict[str, list[torch.Tensor]] = {}
        for group in optimizer.param_groups:
            part = group["name"].split("_")[0]
            grads = [p.grad.float().norm() for p in group["params"] if p.grad is not None]
            norms.setdefault(part, []).extend(grads)
        values = {
            f"grad_norm/{part}": float(torch.stack(found).norm())
            for part, found in norms.items()
            if found
        }
        trainer.logger.log_metrics(values, step=trainer.global_step)
