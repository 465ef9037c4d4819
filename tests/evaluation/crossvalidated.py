"""Runs as a cross-validation leaves them, one per fold, and options of a quick evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny

from brainmtl.files import write_json

QUICK = {"sections": (), "resamples": 100, "progress": False, "figures": False}


def write_run(folder: Path, root: Path, model: Any, folds: tuple[int, ...], **data: Any) -> Path:
    for fold in folds:
        config = {
            "model": tiny.MODEL,
            "stage": {"name": "joint"},
            "data": {"fold": fold, "data_dir": str(folder), **data},
        }
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
