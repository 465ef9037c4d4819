"""A panel of validation images with true and predicted contours, in TensorBoard and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch

from brainmtl.data.loading.collate import multitask_collate
from brainmtl.data.manifest import display_names
from brainmtl.data.pictures import (
    LABEL_NAMES,
    PREDICTION,
    REFERENCE,
    show_image,
    show_outline,
    spread_choice,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class ValidationPanel(pl.Callback):
    """Draws ``images_per_source`` fixed validation images after each epoch.

    Half of them with tumour where a source has both; the true contour is green, the predicted one
    orange, the title says P(tumour) where the stage computes it. ``figures/validation.png`` in the
    stage's folder is the newest panel.
    """

    def __init__(self, images_per_source: int = 4) -> None:
        super().__init__()
        self.images_per_source = images_per_source
        self._batch: dict[str, Any] | None = None
        self._found: tuple[np.ndarray | None, np.ndarray | None] = (None, None)

    def on_validation_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Predict, with the averaged weights: they are in place until the validation epoch ends."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        if self._batch is None:
            self._batch = _choose(trainer.datamodule, self.images_per_source)
        with torch.no_grad(), trainer.precision_plugin.val_step_context():
            output = module(self._batch["images"].to(module.device))
        seg = None if output.seg is None else torch.sigmoid(output.seg[:, 0].float()).cpu().numpy()
        cls = (
            None if output.cls is None else torch.softmax(output.cls.float(), 1)[:, 1].cpu().numpy()
        )
        self._found = (seg, cls)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Draw what was predicted."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        figure = draw_panel(
            self._batch,
            *self._found,
            self.images_per_source,
            display_names(trainer.datamodule.manifest),
        )
        figures = trainer.stage_dir / "figures"
        figures.mkdir(parents=True, exist_ok=True)
        figure.savefig(figures / "validation.png", dpi=80)
        writer = getattr(trainer.logger, "experiment", None)
        if hasattr(writer, "add_figure"):
            writer.add_figure("validation", figure, global_step=trainer.global_step)


def _choose(datamodule: Any, per_source: int) -> dict[str, Any]:
    """The same images every epoch."""
    samples = []
    for loader in datamodule.val_dataloader():
        chosen = spread_choice(loader.dataset.labels, per_source)
        samples += [loader.dataset[k] for k in chosen]
    return multitask_collate(samples)


def draw_panel(
    batch: dict[str, Any],
    seg: np.ndarray | None,
    cls: np.ndarray | None,
    columns: int,
    names: dict[str, str],
) -> Figure:
    """Figure of a batch; ``seg`` (B, H, W) and ``cls`` (B,) are probabilities, or None."""
    from matplotlib.figure import Figure

    sources = list(dict.fromkeys(batch["sources"]))
    figure = Figure(figsize=(2.4 * columns, 2.7 * len(sources)), layout="constrained")
    axes = figure.subplots(len(sources), columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for row, source in enumerate(sources):
        members = [k for k, name in enumerate(batch["sources"]) if name == source]
        for axis, k in zip(axes[row], members, strict=False):
            _draw(
                axis,
                batch,
                k,
                None if seg is None else seg[k],
                None if cls is None else float(cls[k]),
            )
        axes[row, 0].set_title(
            f"{names.get(source, source)}\n{axes[row, 0].get_title()}", fontsize=8
        )
    return figure


def _draw(
    axis: Axes, batch: dict[str, Any], k: int, seg: np.ndarray | None, probability: float | None
) -> None:
    show_image(axis, batch["images"][k].numpy())
    if seg is not None:
        show_outline(axis, seg >= 0.5, PREDICTION, width=1.4)
    # Above and thinner: seen where both coincide, and under a first epoch's noise.
    if bool(batch["has_masks"][k]):
        show_outline(axis, batch["masks"][k].numpy() == 1, REFERENCE, width=0.8)
    truth = LABEL_NAMES[int(batch["cls_labels"][k])]
    axis.set_title(truth if probability is None else f"{truth}, P = {probability:.2f}", fontsize=8)
