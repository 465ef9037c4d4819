"""An evaluation that is there already: taken instead of made again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainmtl.data.manifest import manifest_hash
from brainmtl.evaluation.evidence import ROBUSTNESS
from brainmtl.evaluation.options import EvaluationOptions

EVERYTHING = {"sources": None, "fold": "auto"}
EXTRAS = ("save_masks", "figures")  # files that may be there without having been asked for


def finished_evaluation(
    folder: Path,
    checkpoint_sha256: str,
    data_dir: str | Path,
    split: str,
    options: Mapping[str, Any],
) -> dict[str, Any] | None:
    """The ``run.json`` of a whole evaluation that ``evaluate`` would repeat with these arguments; else None.

    ``run.json`` is written last: where it names them, all files are there.

    Args:
        folder: of the evaluation, which may not exist.
        checkpoint_sha256: hash of the checkpoint.
        data_dir: prepared folder, all sources and the checkpoint's own fold.
        split: train, val, test or all.
        options: fields of :class:`brainmtl.evaluation.options.EvaluationOptions`.
    """
    path = folder / "run.json"
    if not path.is_file():
        return None
    run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    asked = EvaluationOptions(**options).record()
    files = [f"{name}.json" for name in asked["sections"]]
    if "robustness" in asked["sections"]:
        files.append(ROBUSTNESS)  # what folds are merged from
    whole = (
        run["checkpoint_sha256"] == checkpoint_sha256
        and run["manifest_sha256"] == manifest_hash(data_dir)
        and run["split"] == split
        and _serves(run.get("options", {}), asked)
        and all((folder / name).is_file() for name in files)
    )
    return run if whole else None


def _serves(made: Mapping[str, Any], asked: dict[str, Any]) -> bool:
    """Whether an evaluation made with one set of options is what the other asks for, or more."""
    wanted = EVERYTHING | asked
    sections = set(wanted.pop("sections"))
    if not sections:
        del wanted["section_limit"]
    extras = {name: wanted.pop(name) for name in EXTRAS}
    return (
        sections <= set(made.get("sections", ()))
        and all(made.get(name) or not value for name, value in extras.items())
        and all(name in made and made[name] == value for name, value in wanted.items())
    )
