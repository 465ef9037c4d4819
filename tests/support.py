"""Composed configurations for tests, exactly as the commands compose them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainmtl.config import CONF_DIR, plain

TINY_MODEL = ("model.base_filters=4", "model.depth=2", "model.hidden_dim=8", "model.stem=conv")


def compose(config_name: str, *overrides: str) -> dict[str, Any]:
    """The resolved configuration of a command, as its entry point passes it on."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return plain(hydra_compose(config_name, list(overrides)))


def train_options(data_dir: Path, run_dir: Path, *overrides: str) -> dict[str, Any]:
    """Options of a short quiet training on the phantom with a tiny network."""
    return compose(
        "train",
        "experiment=quick_test",
        "data=phantom",
        "trainer=debug",
        "callbacks=quiet",
        f"data_dir={data_dir}",
        f"run_dir={run_dir}",
        "data.num_workers=0",
        "data.batch_size=8",
        "epochs={seg_warmup:1,cls_head:1,heads:1,joint:1}",
        *TINY_MODEL,
        *overrides,
    )
