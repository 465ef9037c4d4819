"""What a run's folder says of itself: ``status.json`` and the ``stage.json`` of its stages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from brainmtl.training.run_folder.pace import Pace, pace_of, read_pace, seconds_left
from brainmtl.training.run_folder.status import Status, read_status

RECORD = "stage.json"
FIGURES = {
    "dice": "Dice per patient",
    "balanced_accuracy": "Balanced accuracy",
    "roc_auc": "ROC-AUC",
}


@dataclass(frozen=True)
class Run:
    """One run's folder; ``stages`` are the finished ones in the order of training, ``now`` is the one
    that was going on, if an epoch of it is done."""

    directory: Path
    status: Status
    stages: dict[str, dict[str, Any]]
    now: dict[str, Pace] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """running, finished, failed or interrupted; runs without status.json by their stages."""
        return self.status.get("state") or ("finished" if self.stages else "interrupted")

    @property
    def seconds(self) -> float | None:
        """Wall time from start to end; None while it goes on, or where nobody wrote the end."""
        start, end = self.status.get("started"), self.status.get("ended")
        if start is None or end is None:
            return None
        return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()

    @property
    def training_seconds(self) -> float:
        """Sum over the stages that this run trained itself."""
        own = [r["seconds"] for r in self.stages.values() if not r.get("reused_from")]
        return float(sum(own))

    @property
    def seconds_left(self) -> float | None:
        """To the end of a run that goes on, about; None where it does not, or nobody can know yet."""
        if self.state != "running":
            return None
        paces = {
            name: pace_of(record["history"], record["stage"]["max_epochs"])
            for name, record in self.stages.items()
            if not record.get("reused_from")
        }
        finished = {name: pace for name, pace in paces.items() if pace}
        return seconds_left(self.status.get("to_train") or {}, finished, self.now)


def read_run(directory: Path) -> Run:
    """Read a run's folder; only small JSON files are opened."""
    status = read_status(directory)
    paths = {path.parent.name: path for path in directory.glob(f"*/{RECORD}")}
    order = status.get("stages") or sorted(paths, key=lambda name: paths[name].stat().st_mtime)
    found = [name for name in order if name in paths]
    stages = {name: json.loads(paths[name].read_text(encoding="utf-8")) for name in found}
    waiting = [name for name in status.get("stages") or [] if name not in stages]
    paces = {name: pace for name in waiting if (pace := read_pace(directory / name))}
    return Run(directory, status, stages, paces)


def best_epoch(
    history: Sequence[Mapping[str, Any]], monitor: str, mode: str
) -> Mapping[str, Any] | None:
    """The entry whose checkpoint is kept: the first with the best ``monitor``; None without one."""
    defined = [entry for entry in history if entry.get(monitor) is not None]
    if not defined:
        return None
    return (max if mode == "max" else min)(defined, key=lambda entry: entry[monitor])


def best_of(record: dict[str, Any]) -> dict[str, Any]:
    """The history entry of a stage's best epoch; empty where it has none."""
    found = best_epoch(record["history"], record["monitor"], record["stage"]["mode"])
    return dict(found or {})


def sources_of(record: dict[str, Any]) -> list[str]:
    """Sources with validation figures in a stage's history, in the order of their first figure."""
    names = (name.split("/") for entry in record["history"] for name in entry)
    return list(dict.fromkeys(parts[2] for parts in names if len(parts) == 3 and parts[0] == "val"))
