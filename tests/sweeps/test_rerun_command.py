"""The command that runs one job of a sweep again, wherever the sweep lies."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from brainmtl.sweeps.jobs import Job
from brainmtl.training.continuation.command_line import compose_words
from brainmtl.training.run_folder.records import Run


@pytest.mark.parametrize("swept", [["sweep=lambda"], []])
@pytest.mark.parametrize(
    "folder", ["/runs/plain", "/runs/lr=0.1,seed=2", "/my runs (old)", "/runs/it's", '/runs/"a"']
)
def test_a_job_goes_back_to_its_place(folder: str, swept: list[str]) -> None:
    directory = Path(folder) / "3"
    overrides = [*swept, "loss.lambda_cls=0.3", "data_dir='/my data/a=b'"]
    job = Job(directory, overrides, {}, Run(directory, {}, {}))
    words = shlex.split(job.rerun())
    assert words[:2] == ["python", "train.py"]
    options, places = compose_words(words[2:])
    assert places.run_dir == directory
    assert not places.multirun
    assert options["loss"]["lambda_cls"] == 0.3
    assert options["data_dir"] == "/my data/a=b"
