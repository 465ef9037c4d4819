"""How far a stage is, and how long the rest of a run takes at the pace so far."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from brainmtl.files import write_json

PROGRESS = "progress.json"
RECENT = 3  # epochs whose mean is the pace: other work on a machine comes and goes


@dataclass(frozen=True)
class Pace:
    """``epoch`` of at most ``epochs`` are done; one takes ``seconds``, validation too, for ``images``."""

    epoch: int
    epochs: int
    seconds: float
    images: float

    @property
    def left(self) -> float:
        """Seconds to the end of the stage, unless it stops early."""
        return (self.epochs - self.epoch) * self.seconds

    def write(self, directory: Path) -> None:
        """Into the folder of a stage that goes on."""
        write_json(directory / PROGRESS, vars(self))


def pace_of(history: Sequence[Mapping[str, Any]], epochs: int) -> Pace | None:
    """The pace of a stage's ``history``; None where nothing was trained yet, or nobody counted."""
    recent = [entry for entry in history if entry.get("seconds") and entry.get("images")][-RECENT:]
    if not recent:
        return None
    seconds, images = (fmean(entry[name] for entry in recent) for name in ("seconds", "images"))
    return Pace(history[-1]["epoch"] + 1, epochs, seconds, images)


def read_pace(directory: Path) -> Pace | None:
    """What the folder of an unfinished stage says; None before the end of its first epoch."""
    try:
        return Pace(**json.loads((directory / PROGRESS).read_text(encoding="utf-8")))
    except FileNotFoundError:  # asked for and not looked for: its stage may end at this moment
        return None


def seconds_left(
    to_train: Mapping[str, int], finished: Mapping[str, Pace], now: Mapping[str, Pace]
) -> float | None:
    """Seconds to the end of a run, unless a stage stops early; None before its first epoch.

    A stage that has not begun is taken to be as slow as the slowest before it: with a frozen
    encoder an image costs a fifth of what it costs in the stage ``joint``.

    Args:
        to_train: images of each stage that is trained and not reused.
        finished: stages that have come to their end.
        now: the one that goes on, if it has an epoch.
    """
    known = [*finished.values(), *now.values()]
    if not known:
        return None
    slowest = max(pace.seconds / pace.images for pace in known)
    later = sum(n for name, n in to_train.items() if name not in {*finished, *now})
    return sum(pace.left for pace in now.values()) + later * slowest
