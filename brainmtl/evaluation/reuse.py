"""An evaluation that is there already: taken instead of made again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainmtl.data.manifest import manifest_hash
from brainmtl.evaluation.options import EvaluationOptions

# What of the options decides an evaluation's figures, and stands in its run.json.
DECIDING = ("batch_size", "precision", "resamples", "min_false_positive_pixels")


def finished_evaluation(
    folder: Path, checkpoint_sha256: str, data_dir: str | Path, options: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The ``run.json`` of a whole evaluation of this checkpoint, data and options; else None.

    ``run.json`` is written last: where it names them, all files are there.
    """
    path = folder / "run.json"
    if not path.is_file():
        return None
    run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    asked = EvaluationOptions(**options)
    whole = (
        run["checkpoint_sha256"] == checkpoint_sha256
        and run["manifest_sha256"] == manifest_hash(data_dir)
        and all(run[name] == getattr(asked, name) for name in DECIDING)
        and all((folder / f"{name}.json").is_file() for name in asked.sections)
    )
    return run if whole else None
