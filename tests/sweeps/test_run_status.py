"""Whether a run goes on, ended well, failed or was killed: as its folder tells it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from brainmtl.errors import ConfigError
from brainmtl.sweeps.overview import overview
from brainmtl.training.run_folder.status import read_status, record_failure, run_status

CHILD = """
import sys, time
from pathlib import Path
from brainmtl.training.run_folder.status import run_status
with run_status(Path(sys.argv[1]), ["joint"], {}):
    print("in", flush=True)
    time.sleep(60)
"""


def test_states_of_a_run_in_this_process(tmp_path: Path) -> None:
    with run_status(tmp_path, ["joint"], {"seed": 1}):
        assert read_status(tmp_path)["state"] == "running"
    assert read_status(tmp_path)["state"] == "finished"
    with pytest.raises(OSError), run_status(tmp_path, ["joint"], {}):
        raise OSError("no space left")
    status = read_status(tmp_path)
    assert (status["state"], status["error"]) == ("failed", "OSError: no space left")
    with pytest.raises(KeyboardInterrupt), run_status(tmp_path, ["joint"], {}):
        raise KeyboardInterrupt
    assert read_status(tmp_path)["state"] == "interrupted"


def test_a_killed_run_is_interrupted_and_not_running(tmp_path: Path) -> None:
    """Killed with SIGKILL it can write nothing: the lock that the system took back tells it."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "in\n"
    assert read_status(tmp_path)["state"] == "running"
    with (
        pytest.raises(ConfigError, match="another process trains into"),
        run_status(tmp_path, [], {}),
    ):
        pass
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "running"
    assert read_status(tmp_path)["state"] == "interrupted"


def test_a_refusal_is_not_written_over_a_run_that_goes_on(tmp_path: Path) -> None:
    refused = ConfigError("another process trains into this folder")
    with run_status(tmp_path, ["joint"], {}):
        before = (tmp_path / "status.json").read_bytes()
        record_failure(tmp_path, refused, ["joint"], {})
        assert (tmp_path / "status.json").read_bytes() == before
    record_failure(tmp_path, refused, ["joint"], {})
    assert read_status(tmp_path)["state"] == "failed"


def test_hundreds_of_runs_are_read_in_a_moment(tmp_path: Path) -> None:
    """400 runs of three stages with histories; the limit is ten times what an idle machine takes."""
    history = [{"epoch": k, **{f"val/figure_{n}": 0.5 for n in range(30)}} for k in range(20)]
    record = {"key": "k", "monitor": "val/combined", "score": 0.5, "seconds": 60.0}
    record |= {"stage": {"mode": "max"}, "history": history}
    names = ["seg_warmup", "cls_head", "joint"]
    for k in range(400):
        folder = tmp_path / f"experiment/{k // 8}/{k % 8}"
        for name in names:
            (folder / name / "checkpoints").mkdir(parents=True)
            (folder / name / "stage.json").write_text(json.dumps(record))
        status = {"state": "finished", "started": f"2025-01-01T00:00:{k % 60:02d}+00:00"}
        status |= {"ended": None, "error": None, "stages": names, "settings": {"seed": k}}
        (folder / "status.json").write_text(json.dumps(status))
    started = time.process_time()
    with pytest.raises(ConfigError, match="sort=3 is unknown"):
        overview(tmp_path, 3)
    lines = overview(tmp_path, "-seed")
    assert time.process_time() - started < 5
    assert [line["seed"] for line in lines] == list(range(399, -1, -1))
    assert lines[0]["stage"] == "joint 3/3" and lines[0]["minutes"] == 3.0
