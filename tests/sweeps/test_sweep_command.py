"""``python train.py sweep=lambda``: short to type, robust against a run that fails, cheap to repeat."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

from sweeping import SMALL, Sweep, run_train

from brainmtl.sweeps.jobs import find_jobs
from brainmtl.training.continuation.command_line import option
from brainmtl.training.run_folder.status import read_status


def _mtimes(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("best.ckpt")}


def test_a_failed_run_loses_no_other(sweep: Sweep) -> None:
    """The two impossible runs in the middle fail, those after them train; the exit status says it."""
    assert sweep.done.code == 1
    assert "4 of 6 runs finished" in sweep.done.out
    states = [read_status(sweep.folder / str(k))["state"] for k in range(6)]
    assert states == ["finished", "finished", "failed", "failed", "finished", "finished"]
    for number in (0, 1, 4, 5):
        assert (sweep.folder / str(number) / "joint/checkpoints/best.ckpt").is_file()
    assert "failed: 2 (lambda_cls=-1, seed=0): ConfigError: " in sweep.done.err
    assert "Traceback" not in sweep.done.err + sweep.done.out
    assert f"next: python -m brainmtl.sweep_report dir={sweep.folder}" in sweep.done.out


def test_the_printed_command_fills_a_runs_place(sweep: Sweep) -> None:
    """Of a run whose folder is gone: the same command as printed for the failed ones."""
    printed = re.findall(r"again: (python train\.py .*)", sweep.done.err)
    jobs = find_jobs(sweep.folder)
    assert printed == [jobs[2].rerun(), jobs[3].rerun()]
    shutil.rmtree(sweep.folder / "5")
    assert find_jobs(sweep.folder)[5].state == "missing"
    again = run_train(*shlex.split(jobs[5].rerun())[2:])
    assert again.code == 0, again.err
    job = find_jobs(sweep.folder)[5]
    assert job.state == "finished"
    assert job.run.status["settings"]["lambda_cls"] == 3
    assert job.run.status["settings"]["seed"] == 1


def test_a_repeated_command_trains_only_what_is_missing(sweep: Sweep) -> None:
    before = _mtimes(sweep.folder)
    removed = sweep.folder / "4/joint"
    shutil.rmtree(removed)
    again = run_train(*sweep.arguments)
    assert again.code == 1
    trained = {path for path, time in _mtimes(sweep.folder).items() if time != before[path]}
    assert trained == {str(sweep.folder / "4/joint/checkpoints/best.ckpt")}
    assert (removed / "stage.json").is_file()
    assert "4 of 6 runs finished" in again.out


def test_jobs_of_the_sweep_are_known_without_their_folders(sweep: Sweep, tmp_path: Path) -> None:
    """From Hydra's copy of the configuration alone: a run that never began is named as missing."""
    shutil.copy(sweep.folder / "multirun.yaml", tmp_path)
    jobs = find_jobs(tmp_path)
    assert [job.state for job in jobs] == ["missing"] * 6
    assert jobs[3].values == {"loss.lambda_cls": "-1", "seed": "1"}
    assert jobs[3].label == "lambda_cls=-1, seed=1"
    assert [job.overrides for job in jobs] == [job.overrides for job in find_jobs(sweep.folder)]


def test_a_run_of_an_earlier_sweep_in_the_same_folder_is_not_taken_for_this_one(
    sweep: Sweep, tmp_path: Path
) -> None:
    shutil.copy(sweep.folder / "multirun.yaml", tmp_path)
    status = json.loads((sweep.folder / "0/status.json").read_text())
    status["overrides"] = ["loss.lambda_cls=7", *status["overrides"][1:]]
    (tmp_path / "0").mkdir()
    (tmp_path / "0/status.json").write_text(json.dumps(status))
    assert find_jobs(tmp_path)[0].state == "missing"


def test_what_comes_next_can_be_pasted_whatever_the_folder_is_called(
    phantom_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "my sweep (old)"
    words = ("-m", *SMALL, "stage=joint", "seed=0", f"data_dir={phantom_dir}")
    done = run_train(*words, option("hydra.sweep.dir", folder))
    assert done.code == 0, done.err
    (report,) = re.findall(r"next: python -m brainmtl.sweep_report (.*)", done.out)
    assert shlex.split(report) == [option("dir", folder)]
    summary = (folder / "0/summary.md").read_text(encoding="utf-8")
    (evaluation,) = re.findall(r"`python evaluate.py (.*)`", summary)
    assert shlex.split(evaluation) == [option("ckpt", folder / "0/joint/checkpoints/best.ckpt")]
