"""Runs as a cross-validation leaves them, one per fold, and options of a quick evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny

from brainmtl.files import write_json

QUICK = {"sections": (), "resamples": 100, "progress": False, "figures": False}


def write_run(folder: Path, root: Path, model: Any, folds: tuple[int, ...], **options: Any) -> Path:
    """``options``: further ones of the configuration, or others."""
    for fold in folds:
        config = {
            "model": tiny.MODEL,
            "stage": {"name": "joint"},
            "seed": 0,
            "run_dir": str(root / str(fold)),
        }
        config |= options
        config["data"] = {"fold": fold, "data_dir": str(folder), **options.get("data", {})}
        stage = root / str(fold) / "joint"
        tiny.write_checkpoint(
            stage / "checkpoints/best.ckpt",
            model,
            folder,
            config=config,
            sources=["kaggle", "phantom_brats"],
        )
        write_json(stage / "stage.json", {})
    return root
