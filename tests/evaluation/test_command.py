"""``python evaluate.py`` as a user types it: from another folder, without traces left there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "evaluate.py"


def run(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


def test_command_prints_the_table_and_leaves_no_other_folder(
    checkpoint: Path, data_dir: Path, tmp_path: Path
) -> None:
    here, out = tmp_path / "here", tmp_path / "out"
    here.mkdir()
    done = run(
        here, f"ckpt={checkpoint}", f"data_dir={data_dir}", f"out_dir={out}", "sources=[kaggle]",
        "figures=false", "sections=[]", "resamples=100",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Majo-" in done.stdout and f"report: {out / 'report.html'}" in done.stdout
    assert sorted(path.name for path in out.iterdir()) == [
        "metrics.json",
        "model_card.json",
        "model_card.md",
        "predictions.csv",
        "report.html",
        "report.json",
        "report.md",
        "run.json",
    ]
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((), "ckpt=... must be given"), (("ckpt=no.ckpt", "data_dir=nowhere"), "data_dir=nowhere")],
)
def test_errors_are_one_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
