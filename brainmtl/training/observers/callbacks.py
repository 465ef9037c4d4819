"""Small observers of training: learning rates, gradient norms and hyper-parameters in the logs."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.trainer.states import TrainerFn
from torch.optim import Optimizer

from brainmtl.errors import ConfigError
from brainmtl.training.balance.base import flat_gradient
from brainmtl.training.optim import learning_rates_by_group
from brainmtl.training.run_folder.records import best_epoch
from brainmtl.training.run_folder.settings import stage_settings


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


class TaskGradients(pl.Callback):
    """Logs how the gradients of the two tasks on the encoder get along, every ``every_n_steps``.

    ``task_gradients/cosine``: 1 where they agree, below 0 where each undoes the other's work.
    ``task_gradients/norm_ratio``: |g_cls| / |g_seg|, with the weights that the losses have in this
    step, before any gradient surgery. Nothing where a task has no gradient. A step that is due costs
    a second backward pass; the gradients that train are left as they are.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        super().__init__()
        if every_n_steps < 1:
            raise ConfigError(
                f"callbacks.task_gradients.every_n_steps={every_n_steps}: must be 1 or more"
            )
        self.every_n_steps = every_n_steps

    def on_before_backward(
        self, trainer: pl.Trainer, module: pl.LightningModule, loss: torch.Tensor
    ) -> None:
        """Log while the graph of the step is still there."""
        step = module.pending
        due = trainer.logger and trainer.global_step % self.every_n_steps == 0
        if not due or len(step.losses) < 2 or not step.shared:
            return
        nodes = list(step.losses.values())
        scales = torch.autograd.grad(loss, nodes, retain_graph=True)
        seg, cls = (
            flat_gradient(
                torch.autograd.grad(node, step.shared, scale, retain_graph=True, allow_unused=True),
                step.shared,
            )
            for node, scale in zip(nodes, scales, strict=True)
        )
        cosine, ratio = _cosine_and_ratio(seg, cls)
        if cosine is not None:
            values = {"task_gradients/cosine": cosine, "task_gradients/norm_ratio": ratio}
            trainer.logger.log_metrics(values, step=trainer.global_step)


def _cosine_and_ratio(
    first: torch.Tensor, second: torch.Tensor
) -> tuple[float, float] | tuple[None, None]:
    """Of two vectors, the second's norm over the first's; None where they are not defined."""
    # float64: the scale of float16 training squared times a million entries is near float32's end
    first, second = first.double(), second.double()
    norms = float(first.norm()), float(second.norm())
    if not all(0 < norm < math.inf for norm in norms):
        return None, None
    return float(first @ second) / (norms[0] * norms[1]), norms[1] / norms[0]


class HyperParameters(pl.Callback):
    """TensorBoard's HParams view: a stage's settings beside the figures of its best epoch.

    Figures are ``val_best/<metric>/<source>`` and the monitors ``val_best/<metric>``, of the epoch whose
    checkpoint is kept. Other loggers have no such view; nothing is written to them.
    """

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write both once the best epoch is known."""
        self._write(trainer, module)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """... or at once, of weights that are validated and not trained."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._write(trainer, module)

    def _write(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        best = best_epoch(module.history, module.stage.monitor, module.stage.mode)
        if not isinstance(trainer.logger, TensorBoardLogger) or best is None:
            return
        names = _figure_names(trainer.datamodule)
        found = {f"val_best/{name}": best.get(f"val/{name}") for name in names}
        trainer.logger.log_metrics(
            {name: value for name, value in found.items() if value is not None}, step=best["epoch"]
        )
        settings = stage_settings(module.metadata["config"], module.stage)
        writer = trainer.logger.experiment._get_file_writer()
        for summary in _hparams_summaries(settings, list(found)):
            writer.add_summary(summary)


# TensorBoard shows five settings at first: those that it is told differ between runs.
FIRST_SHOWN = ("augmentation", "lambda_cls", "model", "seed", "stage")


def _hparams_summaries(settings: dict[str, Any], figures: list[str]) -> list[Any]:
    """The three entries of TensorBoard's HParams plugin: columns, values, end.

    TensorBoard takes the columns of the first run that it finds for all of them, so that they must
    be the same in every stage, whatever the stage computes.
    """
    from tensorboard.plugins.hparams.api_pb2 import DATA_TYPE_FLOAT64, DATA_TYPE_STRING, HParamInfo
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    from torch.utils.tensorboard.summary import hparams

    # Booleans would be shown as 0 and 1; a setting that is off has no value, but its column.
    shown = {k: str(v).lower() if isinstance(v, bool) else v for k, v in settings.items()}
    columns, values, end = hparams(shown, dict.fromkeys(figures, 0.0))
    plugin_data = columns.value[0].metadata.plugin_data
    content = HParamsPluginData.FromString(plugin_data.content)
    del content.experiment.hparam_infos[:]
    for name, value in shown.items():
        kind = DATA_TYPE_STRING if isinstance(value, str) else DATA_TYPE_FLOAT64
        differs = name in FIRST_SHOWN
        content.experiment.hparam_infos.append(HParamInfo(name=name, type=kind, differs=differs))
    plugin_data.content = content.SerializeToString()
    return [columns, values, end]


def _figure_names(datamodule: Any) -> list[str]:
    sources = list(dict.fromkeys(datamodule.val_names))
    return [
        *(f"dice/{source}" for source in sources if source in datamodule.seg_sources),
        *(f"balanced_accuracy/{source}" for source in sources),
        "combined",
        *(f"roc_auc/{source}" for source in sources),
        *("seg_dice", "cls_balanced_accuracy", "cls_roc_auc"),
    ]
