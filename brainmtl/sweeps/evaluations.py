"""The evaluation of each run of a sweep, made now unless it is there and whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainmtl.evaluation.reuse import finished_evaluation
from brainmtl.evaluation.run import evaluate
from brainmtl.files import sha256
from brainmtl.sweeps.jobs import Job


def evaluation_of(
    job: Job, stage: str, split: str, data_dir: Path, options: Mapping[str, Any]
) -> tuple[dict[str, Any], bool]:
    """``({"metrics", "run", "out_dir"}, reused)`` of a job's finished stage.

    A stage that was taken from another run may have been evaluated there.
    """
    checkpoint = job.directory / stage / "checkpoints/best.ckpt"
    own = job.directory / stage
    origin = job.run.stages[stage].get("reused_from")
    digest = sha256(checkpoint)
    for folder in (own, *([Path(origin)] if origin else [])):
        found = folder / f"evaluation_{split}"
        run = finished_evaluation(found, digest, data_dir, split, options)
        if run is not None:
            metrics = json.loads((found / "metrics.json").read_text(encoding="utf-8"))
            return {"metrics": metrics, "run": run, "out_dir": found}, True
    return evaluate(checkpoint, data_dir, own / f"evaluation_{split}", split, **options), False
