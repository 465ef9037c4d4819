"""Checkpoint files: written in one step, the one before kept, damage recognised."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from killing import assert_equal

from brainmtl.errors import DataError
from brainmtl.training.continuation.checkpoint_io import (
    SafeCheckpointIO,
    StageCheckpoint,
    previous,
)
from brainmtl.training.continuation.checkpoints import read_checkpoint
from brainmtl.training.continuation.resume import find_state


def _checkpoint(step: int, score: float | None = None, size: int = 2000) -> dict[str, Any]:
    progress = {"epoch": step // 5, "batch": step % 5, "score": score}
    state = {"model.weight": torch.arange(size, dtype=torch.float32) * step}
    return {"brainmtl": {}, "state_dict": state, "global_step": step, "progress": progress}


def test_the_file_before_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    for step in (1, 2, 3):
        SafeCheckpointIO().save_checkpoint(_checkpoint(step), path)
    assert read_checkpoint(path)["global_step"] == 3
    assert read_checkpoint(previous(path))["global_step"] == 2
    assert {p.name for p in tmp_path.iterdir()} == {"last.ckpt", "last.prev.ckpt"}


def test_a_write_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    SafeCheckpointIO().save_checkpoint(_checkpoint(1), path)
    with pytest.raises(Exception, match="pickle"):
        SafeCheckpointIO().save_checkpoint(_checkpoint(2) | {"x": (k for k in "ab")}, path)
    assert read_checkpoint(path)["global_step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_no_damage_goes_unnoticed(tmp_path: Path) -> None:
    """One flipped bit or a cut anywhere: refused, or without any effect on the content."""
    good, bad = tmp_path / "good.ckpt", tmp_path / "bad.ckpt"
    SafeCheckpointIO().save_checkpoint(_checkpoint(1), good)
    content, expected = good.read_bytes(), read_checkpoint(good)
    rng, refused = random.Random(0), 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        bad.write_bytes(damaged)
        try:
            assert_equal(read_checkpoint(bad), expected, "read")
        except DataError as error:
            assert str(bad) in str(error)
            refused += 1
    assert refused > 200
    for length in (0, 1, 100, len(content) // 2, len(content) - 1):
        bad.write_bytes(content[:length])
        with pytest.raises(DataError, match="cannot be read as a checkpoint"):
            read_checkpoint(bad)


@pytest.mark.parametrize(("mode", "kept"), [("max", [0.5, 0.7, 0.9]), ("min", [0.5, 0.4, 0.1])])
def test_the_first_of_the_best_scores_is_kept(mode: str, kept: list[float], tmp_path: Path) -> None:
    checkpoint, found = StageCheckpoint(tmp_path, "val/x", mode, 1), []
    for value in (float("nan"), 0.5, 0.4, 0.7, 0.4, 0.7, float("inf"), float("nan"), 0.1, 0.9):
        if checkpoint._is_better(value):
            checkpoint.score = value
            found.append(value)
    assert found == kept


def test_a_state_goes_with_the_best_that_it_speaks_of(tmp_path: Path) -> None:
    """Killed between the new best.ckpt and the new last.ckpt: the old best comes back."""
    best, last = tmp_path / "best.ckpt", tmp_path / "last.ckpt"
    assert find_state(tmp_path) is None
    save = SafeCheckpointIO().save_checkpoint
    save(_checkpoint(5, 0.3), best)
    save(_checkpoint(5, 0.3), last)
    save(_checkpoint(7, 0.3), last)
    save(_checkpoint(10, 0.4), best)
    state = find_state(tmp_path)
    assert state is not None
    assert (state.path, state.step, state.epoch, state.batch) == (last, 7, 1, 2)
    assert read_checkpoint(best)["global_step"] == 5
    assert not previous(best).exists()
    best.unlink()  # the score is nobody's now: from the beginning
    assert find_state(tmp_path) is None
    save(_checkpoint(3), previous(last))  # a state from before the first epoch's end needs no best
    state = find_state(tmp_path)
    assert state is not None
    assert state.path == previous(last)
