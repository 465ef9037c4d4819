"""The command of a report, wherever the files lie: a shell and Hydra read the same paths from it."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from support import compose

from brainmtl.evaluation.report.closing import command

FOLDERS = (
    "/data/plain-1.0_a:b@c+d%",
    "/data/lr=0.1,seed=2",
    "/my data/it's here",
    "/data/[a]{b}(c)",
    '/data/ä #1; $HOME `x` "y" & | ~ ! * \\z',
)


def options(run: dict[str, Any], config: str, start: list[str]) -> dict[str, Any]:
    words = shlex.split(command(run))
    assert words[: len(start)] == start
    return compose(config, *words[len(start) :])


@pytest.mark.parametrize("folder", FOLDERS)
def test_paths_of_an_evaluation_come_back(folder: str) -> None:
    given = {"ckpt": f"{folder}/joint/best.ckpt", "data_dir": f"{folder}/prepared", "split": "val"}
    run = {"checkpoint": given["ckpt"], "folds": None} | given
    found = options(run, "evaluate", ["python", "evaluate.py"])
    assert {name: found[name] for name in given} == given


@pytest.mark.parametrize("folder", FOLDERS)
def test_paths_of_a_cross_validation_come_back(folder: str) -> None:
    given = {"dir": f"{folder}/folds", "data_dir": f"{folder}/prepared", "stage_name": "joint"}
    checkpoints = ", ".join(f"{folder}/folds/{k}/joint/checkpoints/best.ckpt" for k in range(3))
    run = {"checkpoint": checkpoints, "folds": [0, 1, 2], "stage": "joint"} | given
    found = options(run, "crossval", ["python", "-m", "brainmtl.crossval"])
    assert {name: found[name] for name in given} == given


def test_plain_paths_stay_as_they_are() -> None:
    run = {"folds": None, "checkpoint": "runs/a/best.ckpt", "data_dir": "data", "split": "test"}
    assert command(run) == "python evaluate.py ckpt=runs/a/best.ckpt data_dir=data split=test"


def test_the_command_of_some_folds_says_so() -> None:
    run = {"checkpoint": "cv/0/joint/checkpoints/best.ckpt", "folds": [0], "stage": "joint"}
    text = command(run | {"data_dir": "data", "options": {"partial": True}})
    assert text.endswith("data_dir=data partial=true")
