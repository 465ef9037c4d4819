"""The LightningModule of a stage: forward, loss by task and source, validation scores by source."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from brainmtl.errors import BrainMTLError
from brainmtl.models.multitask import MultiTaskModel, MultiTaskOutput
from brainmtl.training.adversary import SourceAdversary, bottleneck_of
from brainmtl.training.balance import Balance, FixedWeights, Step
from brainmtl.training.balance.base import task_losses
from brainmtl.training.losses import LossParts, MultiTaskLoss
from brainmtl.training.observers.epoch_means import SharedMeans
from brainmtl.training.observers.scores import SourceScores, role_means
from brainmtl.training.stages import StageConfig
from brainmtl.training.team import all_agree

Batch = dict[str, Any]


class NonFiniteLossError(BrainMTLError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""


class MultiTaskModule(pl.LightningModule):
    """Trains ``stage.train`` of ``model`` on the losses of ``stage.tasks``.

    Args:
        optimizer: called with (model, learning_rates, parts, extra).
        scheduler: called with (optimizer, total_steps); steps once per batch.
        balance: how the losses of two tasks make one step; a stage of one task takes its loss.
        adversary: classifier of the source behind a gradient reversal, or None.
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
        balance: Balance | None = None,
        adversary: SourceAdversary | None = None,
        combined_weights: tuple[float, float] = (0.5, 0.5),
        channels_last: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(memory_format=self.memory_format)
        self.loss = loss
        self.stage = stage
        # Beside the model: what loads weights takes the keys "model.*" and knows of neither.
        self.balance = balance if balance and len(stage.tasks) > 1 else FixedWeights()
        self.adversary = adversary
        # The step whose backward pass is due; None at all other times.
        self.pending: Step | None = None
        self.metadata = dict(metadata)
        self.seed = seed
        self._optimizer, self._scheduler = optimizer, scheduler
        self._seg_sources, self._cls_sources = list(seg_sources), list(cls_sources)
        self._combined_weights = combined_weights
        self._scores = SourceScores()
        self._shared = SharedMeans()
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
        self.balance.start_epoch(self.current_epoch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Dropout is drawn from (seed, step) alone, so that a resumed run repeats it."""
        # Seeding once an epoch is not enough: Lightning opens the loader's iterator, which draws a
        # number, before this epoch's hook in a resumed run and after it in an uninterrupted one.
        # Each process of a run on several devices draws for itself.
        torch.manual_seed(self.seed * 1_000_003 + self.global_step + self.global_rank * 2**40)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a batch; raises :class:`NonFiniteLossError`."""
        with bottleneck_of(self.model.encoder) as bottleneck:
            output = self(batch["images"])
        found = self.loss(output, batch)
        parts = self.balance.weigh(found)
        others = self._against_source(bottleneck[0], batch["sources"])
        loss = parts.total + others[0] if others else parts.total
        if not all_agree(bool(torch.isfinite(loss))):
            value = float(loss.detach())
            found = "not finite in another process" if math.isfinite(value) else value
            raise NonFiniteLossError(
                f"the loss became {found} in stage {self.stage.name}, epoch {self.current_epoch}, batch "
                f"{batch_idx} (first image {batch['image_ids'][0]}). The checkpoints of the epochs before are kept; try "
                "smaller learning rates, or precision=fp32"
            )
        self._log_epoch("train/loss", parts.total, len(batch["images"]), prog_bar=True)
        self._log_tasks("train", parts)
        self._log_by_source("train", output, batch, found)
        for task, weight in self.balance.weights().items():
            self._log_epoch(f"balance/{task}", weight, len(batch["images"]))
        self.pending = self._step(parts, others)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """With the last batch of an epoch, log what all processes have seen in it."""
        if dist.is_initialized() and self.trainer.is_last_batch:
            for name, (value, count) in self._shared.compute().items():
                self.log(
                    name,
                    value,
                    batch_size=count,
                    prog_bar=name == "train/loss",
                    on_step=False,
                    on_epoch=True,
                )

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """The backward pass, in the way of the balance."""
        assert self.pending is not None
        step, self.pending = self.pending, None  # the graph shall not outlive its step
        self.balance.backward(loss, step)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Losses and scores of a batch, which holds one source."""
        with bottleneck_of(self.model.encoder) as bottleneck:
            output = self(batch["images"])
        self._scores.update(output, batch)
        self._log_by_source("val", output, batch)
        if self.adversary is not None:
            self._log_adversary("val", self.adversary(bottleneck[0], 1.0), batch["sources"])

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
        if self.history and self.history[-1]["epoch"] == self.current_epoch:
            self.history.pop()  # a validation within this epoch, whose weights no checkpoint holds
        self.history.append(
            {"epoch": self.current_epoch, **{f"val/{k}": v for k, v in means.items()}}
        )

    def configure_optimizers(self) -> dict[str, Any]:
        """All parameter groups from the start; one schedule factor per batch for all of them."""
        extra = self.balance.parameter_groups()
        if self.adversary is not None:
            extra += self.adversary.parameter_groups()
        optimizer = self._optimizer(
            self.model, self.stage.learning_rates, self.stage.train, extra=extra
        )
        self._total_steps = int(self.trainer.estimated_stepping_batches)
        schedule = self._scheduler(optimizer, self._total_steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What an evaluation must know about these weights."""
        checkpoint["brainmtl"] = self.metadata

    def _step(self, parts: LossParts, others: tuple[Tensor, ...]) -> Step:
        trained = [p for p in self.parameters() if p.requires_grad]
        shared = [p for p in self.model.encoder.parameters() if p.requires_grad]
        inside = {id(p) for p in shared}
        own = [p for p in trained if id(p) not in inside]
        return Step(task_losses(parts), others, shared, own, self.seed, self.global_step)

    def _against_source(self, bottleneck: Tensor, sources: Sequence[str]) -> tuple[Tensor, ...]:
        """The adversary's loss, if there is one."""
        if self.adversary is None:
            return ()
        logits = self.adversary(bottleneck, self.global_step / self._total_steps)
        loss = self.adversary.loss(logits, sources)
        self._log_epoch("train/loss_adversary", loss, len(sources))
        self._log_adversary("train", logits, sources)
        return (loss,)

    def _log_adversary(self, split: str, logits: Tensor, sources: Sequence[str]) -> None:
        for source, (accuracy, count) in self.adversary.accuracy(logits, sources).items():
            self._log_epoch(f"{split}/adversary_accuracy/{source}", accuracy, count)

    def _log_tasks(self, split: str, parts: LossParts, ending: str = "") -> None:
        """Log the loss of each task that the batch has annotations of."""
        for task, value, count in (
            ("seg", parts.seg, parts.seg_count),
            ("cls", parts.cls, parts.cls_count),
        ):
            if value is not None:
                self._log_epoch(f"{split}/loss_{task}{ending}", value, count)

    @torch.no_grad()
    def _log_by_source(
        self, split: str, output: MultiTaskOutput, batch: Batch, whole: LossParts | None = None
    ) -> None:
        """``whole``: the losses of the batch, where they are known; all that a single source needs."""
        sources = batch["sources"]
        if len(set(sources)) == 1:
            self._log_tasks(split, whole or self.loss(output, batch), f"/{sources[0]}")
            return
        for source in dict.fromkeys(sources):
            rows = torch.tensor([name == source for name in sources], device=batch["images"].device)
            parts = self.loss(_rows(output, rows), _batch_rows(batch, rows))
            self._log_tasks(split, parts, f"/{source}")

    def _log_epoch(self, name: str, value: Tensor, count: int, prog_bar: bool = False) -> None:
        # Validation has no shares: every process sees all of it.
        if dist.is_initialized() and not name.startswith("val/"):
            self._shared.add(name, value, count)
            return
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
