"""The LightningModule of a stage: forward, loss by task and source, validation scores by source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from brainmtl.errors import BrainMTLError
from brainmtl.models.multitask import MultiTaskModel, MultiTaskOutput
from brainmtl.training.losses import LossParts, MultiTaskLoss
from brainmtl.training.scores import SourceScores, role_means
from brainmtl.training.stages import StageConfig

Batch = dict[str, Any]


class NonFiniteLossError(BrainMTLError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""


class MultiTaskModule(pl.LightningModule):
    """Trains ``stage.train`` of ``model`` on the losses of ``stage.tasks``.

    Args:
        optimizer: called with (model, learning_rates, parts).
        scheduler: called with (optimizer, total_steps); steps once per batch.
        seg_sources, cls_sources: whose scores make the monitors, see :func:`role_means`.
        metadata: plain containers, stored in every checkpoint under ``brainmtl``.
        combined_weights: of Dice and balanced accuracy in ``val/combined``.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        loss: MultiTaskLoss,
        stage: StageConfig,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler],
        *,
        seg_sources: Sequence[str],
        cls_sources: Sequence[str],
        metadata: Mapping[str, Any],
        combined_weights: tuple[float, float] = (0.5, 0.5),
        channels_last: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(memory_format=self.memory_format)
        self.loss = loss
        self.stage = stage
        self.metadata = dict(metadata)
        self.seed = seed
        self._optimizer, self._scheduler = optimizer, scheduler
        self._seg_sources, self._cls_sources = list(seg_sources), list(cls_sources)
        self._combined_weights = combined_weights
        self._scores = SourceScores()
        self.history: list[dict[str, float]] = []
        model.set_trainable(stage.train)

    def forward(self, images: Tensor) -> MultiTaskOutput:
        """Images (B, C, H, W) -> the outputs of the stage's tasks."""
        images = images.contiguous(memory_format=self.memory_format)
        return self.model(
            images, do_seg="seg" in self.stage.tasks, do_cls="cls" in self.stage.tasks
        )

    def on_train_epoch_start(self) -> None:
        """Lightning does not call ``train()`` for a stage that starts."""
        self.model.train()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Dropout is drawn from (seed, step) alone, so that a resumed run repeats it."""
        # Seeding once an epoch is not enough: Lightning opens the loader's iterator, which draws a
        # number, before this epoch's hook in a resumed run and after it in an uninterrupted one.
        torch.manual_seed(self.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a batch; raises :class:`NonFiniteLossError`."""
        output = self(batch["images"])
        parts: LossParts = self.loss(output, batch)
        if not torch.isfinite(parts.total):
            raise NonFiniteLossError(
                f"the loss became {float(parts.total)} in stage {self.stage.name}, epoch {self.current_epoch}, batch "
                f"{batch_idx} (first image {batch['image_ids'][0]}). The checkpoints of the epochs before are kept; try "
                "smaller learning rates, or precision=fp32"
            )
        self._log_epoch("train/loss", parts.total, len(batch["images"]), prog_bar=True)
        self._log_tasks("train", parts)
        self._log_by_source("train", output, batch)
        return parts.total

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Losses and scores of a batch, which holds one source."""
        output = self(batch["images"])
        self._scores.update(output, batch)
        self._log_by_source("val", output, batch)

    def on_validation_epoch_end(self) -> None:
        """Scores by source, and the monitors."""
        found = self._scores.compute()
        for source, figures in found.items():
            for name, value in figures.items():
                self.log(f"val/{name}/{source}", value)
        means = role_means(found, self._seg_sources, self._cls_sources, self._combined_weights)
        for name, value in means.items():
            self.log(f"val/{name}", value, prog_bar=f"val/{name}" == self.stage.monitor)
        if self.trainer.sanity_checking:
            return
        self.history.append(
            {"epoch": self.current_epoch, **{f"val/{k}": v for k, v in means.items()}}
        )

    def configure_optimizers(self) -> dict[str, Any]:
        """All parameter groups from the start; one schedule factor per batch for all of them."""
        optimizer = self._optimizer(self.model, self.stage.learning_rates, self.stage.train)
        total = int(self.trainer.estimated_stepping_batches)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self._scheduler(optimizer, total), "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What an evaluation must know about these weights."""
        checkpoint["brainmtl"] = self.metadata

    def _log_tasks(self, split: str, parts: LossParts, ending: str = "") -> None:
        """Log the loss of each task that the batch has annotations of."""
        for task, value, count in (
            ("seg", parts.seg, parts.seg_count),
            ("cls", parts.cls, parts.cls_count),
        ):
            if value is not None:
                self._log_epoch(f"{split}/loss_{task}{ending}", value, count)

    @torch.no_grad()
    def _log_by_source(self, split: str, output: MultiTaskOutput, batch: Batch) -> None:
        sources = batch["sources"]
        for source in dict.fromkeys(sources):
            rows = torch.tensor([name == source for name in sources], device=batch["images"].device)
            parts = self.loss(_rows(output, rows), _batch_rows(batch, rows))
            self._log_tasks(split, parts, f"/{source}")

    def _log_epoch(self, name: str, value: Tensor, count: int, prog_bar: bool = False) -> None:
        # By epoch and not by step: the progress bar and the curves stay readable.
        self.log(
            name,
            value,
            batch_size=count,
            prog_bar=prog_bar,
            on_step=False,
            on_epoch=True,
            add_dataloader_idx=False,
        )


def _rows(output: MultiTaskOutput, rows: Tensor) -> MultiTaskOutput:
    return MultiTaskOutput(*(None if value is None else value.detach()[rows] for value in output))


def _batch_rows(batch: Batch, rows: Tensor) -> Batch:
    keys = ("masks", "has_masks", "cls_labels", "has_labels")
    return {key: None if batch[key] is None else batch[key][rows] for key in keys}
