"""The newest whole state of a stage that was interrupted."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from brainmtl.errors import DataError
from brainmtl.training.continuation.checkpoint_io import BEST, LAST, PROGRESS, previous
from brainmtl.training.continuation.checkpoints import read_checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """A checkpoint that a stage can go on from; ``score`` is that of the best epoch so far."""

    path: Path
    step: int
    epoch: int
    batch: int
    score: float | None


def find_state(checkpoints: Path) -> State | None:
    """The newest state in a stage's ``checkpoints`` that is whole; None: the stage begins anew.

    A damaged file is named in a warning and the one before it taken. A state counts only together
    with the best checkpoint that it speaks of; where that one has been replaced or damaged since,
    the one before it is put back in its place. What is lost is trained again, with the same result.
    """
    best = checkpoints / BEST
    states = {}
    for path in (checkpoints / LAST, previous(checkpoints / LAST), best, previous(best)):
        state = _read(path)
        if state is not None:
            states[path] = state
    for state in states.values():
        if state.score is None:
            return state
        for path in (best, previous(best)):
            if path in states and states[path].score == state.score:
                if path != best:
                    os.replace(path, best)
                    log.info("%s takes the place of %s", path, best)
                return State(
                    best if state.path == path else state.path,
                    state.step,
                    state.epoch,
                    state.batch,
                    state.score,
                )
    if states:
        log.warning("%s: no state is left with its best checkpoint, begun anew", checkpoints)
    return None


def is_whole(path: Path) -> bool:
    """Whether ``path`` is a checkpoint that can be read; a damaged one is named in a warning."""
    return _checkpoint(path) is not None


def _read(path: Path) -> State | None:
    checkpoint = _checkpoint(path)
    if checkpoint is None or PROGRESS not in checkpoint:
        return None
    progress = checkpoint[PROGRESS]
    step, score = checkpoint["global_step"], progress["score"]
    return State(path, step, progress["epoch"], progress["batch"], score)


def _checkpoint(path: Path) -> dict | None:
    if not path.is_file():
        return None
    try:
        return read_checkpoint(path)
    except DataError as error:
        log.warning("%s: the checkpoint before it is used", error)
        return None
