"""The evaluation of each run of a sweep, made now unless it is there and whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainmtl.data.manifest import manifest_hash
from brainmtl.evaluation.options import EvaluationOptions
from brainmtl.evaluation.run import evaluate
from brainmtl.files import sha256
from brainmtl.sweeps.jobs import Job

# What of the options decides an evaluation's figures, and stands in its run.json.
REPORTED = ("batch_size", "precision", "resamples", "min_false_positive_pixels")


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
        found = _read(folder / f"evaluation_{split}", digest, data_dir, options)
        if found is not None:
            return found, True
    return evaluate(checkpoint, data_dir, own / f"evaluation_{split}", split, **options), False


def _read(
    folder: Path, digest: str, data_dir: Path, options: Mapping[str, Any]
) -> dict[str, Any] | None:
    """A finished evaluation of this checkpoint and data; ``run.json`` is written last."""
    if not (folder / "run.json").is_file():
        return None
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    asked = EvaluationOptions(**options)
    if (
        run["checkpoint_sha256"] != digest
        or run["manifest_sha256"] != manifest_hash(data_dir)
        or any(run[name] != getattr(asked, name) for name in REPORTED)
        or any(not (folder / f"{name}.json").is_file() for name in asked.sections)
    ):
        return None
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {"metrics": metrics, "run": run, "out_dir": folder}
