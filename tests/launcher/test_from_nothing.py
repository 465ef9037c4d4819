"""The demo in a fresh copy of the project, where there is neither data nor a model."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import httpx
import pytest
from launching import started, until
from support import free_ports

from brainmtl.config import PROJECT_ROOT


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources of the project; what runs there imports them and writes beside them."""
    target = tmp_path / "copy"
    unwanted = shutil.ignore_patterns("__pycache__")
    for name in ("brainmtl", "conf"):
        shutil.copytree(PROJECT_ROOT / name, target / name, ignore=unwanted)
    for name in ("train.py", "evaluate.py"):
        shutil.copy(PROJECT_ROOT / name, target / name)
    return target


def words() -> list[str]:
    api_port, page_port = free_ports(2)
    ports = [f"api_port={api_port}", f"page_port={page_port}"]
    return ["-m", "brainmtl.demo", *ports, "open_browser=false"]


def working_in(folder: Path) -> list[str]:
    """Command lines of processes that name ``folder``."""
    found = subprocess.run(["ps", "-Aww", "-o", "args"], capture_output=True, text=True, check=True)
    return [line for line in found.stdout.splitlines() if str(folder) in line]


def test_sigterm_while_it_prepares_a_model_leaves_nothing(copy: Path, tmp_path: Path) -> None:
    with started(*words(), folder=tmp_path, cwd=copy, BRAINMTL_MODEL_DIR="") as command:
        command.wait_for("There is no exported model yet. .* SYNTHETIC data")
        command.wait_for(r"\$ python -m brainmtl.walkthrough")
        command.wait_for(r"\$ python -m brainmtl.prepare source=phantom")
        until(lambda: bool(working_in(copy)), "the preparation")
        assert command.end(signal.SIGTERM) == 143
    until(lambda: not working_in(copy), "the end of all that it had started")


@pytest.mark.soak
def test_from_nothing_to_an_answering_page(copy: Path, tmp_path: Path) -> None:
    """The whole way, in as many minutes as `make demo` takes; then again, at once."""
    for first in (True, False):
        with started(*words(), folder=tmp_path, cwd=copy, BRAINMTL_MODEL_DIR="") as command:
            url = command.wait_for(r"\[demo\] api: (http://\S+),", seconds=3600)[1]
            command.wait_for(r"\[demo\] open http://")
            assert ("There is no exported model yet" in command.text) is first
            assert "trained on SYNTHETIC images" in command.text
            model = httpx.get(f"{url}/model", trust_env=False).json()
            assert model["model"]["synthetic_training"] and model["operating_point"]["fitted"]
            assert command.end(signal.SIGINT) == 130
        assert not working_in(copy)
