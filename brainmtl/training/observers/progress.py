"""A rich bar on a terminal, one line per epoch in a log file or a pipe."""

from __future__ import annotations

import logging
import math
import sys
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar

from brainmtl.training.run_folder.pace import pace_of
from brainmtl.words import duration

log = logging.getLogger(__name__)


class StageProgressBar(RichProgressBar):
    """Lightning's rich bar where somebody watches; in any case a log line per epoch."""

    def __init__(self) -> None:
        super().__init__(leave=False)
        if not sys.stderr.isatty() and not sys.stdout.isatty():
            self.disable()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what the epoch brought."""
        super().on_train_epoch_end(trainer, pl_module)
        # Not Lightning's, which keeps the figures of an earlier validation.
        found = pl_module.history[-1]
        shown = {k: math.nan if v is None else v for k, v in found.items() if _is_headline(k)}
        figures = "  ".join(f"{name} {value:.4f}" for name, value in sorted(shown.items()))
        pace = pace_of(pl_module.history, trainer.max_epochs)
        log.info(
            "%s epoch %d/%d  %s  (%.0f s%s)",
            pl_module.stage.name,
            trainer.current_epoch + 1,
            trainer.max_epochs,
            figures,
            found["seconds"],
            f", about {duration(pace.left)} left" if pace and pace.left else "",
        )

    def get_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The headline figures without Lightning's version number."""
        items = super().get_metrics(*args, **kwargs)
        items.pop("v_num", None)
        return items


def _is_headline(name: str) -> bool:
    return (name.startswith("train/loss") and name.count("/") == 1) or (
        name.startswith("val/") and name.count("/") == 1
    )
