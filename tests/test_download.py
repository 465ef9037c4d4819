"""Error paths of the download command; a real download needs a network and an account."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from brainmtl import download as command
from brainmtl.config import compose
from brainmtl.download import PUBLICATIONS, download
from brainmtl.errors import ConfigError, DataError


def block_client(monkeypatch) -> None:
    """Make Kaggle's client look uninstalled, whether it is or not."""
    monkeypatch.setitem(sys.modules, "kaggle", None)
    monkeypatch.setitem(sys.modules, "kaggle.api.kaggle_api_extended", None)


@pytest.mark.parametrize("source", ["kaggle", "lgg"])
def test_without_the_client_it_says_how(tmp_path: Path, monkeypatch, capsys, source: str) -> None:
    block_client(monkeypatch)
    raw_dir = tmp_path / "raw"
    assert download(source, raw_dir) == 1
    message = capsys.readouterr().err
    assert "pip install -e '.[download]'" in message and PUBLICATIONS[source].page in message
    assert f"python -m brainmtl.prepare source={source} raw_dir={raw_dir}" in message
    assert {"kaggle": "yes/*.jpg", "lgg": "TCGA_CS_4941"}[source] in message
    assert not raw_dir.exists()


def test_the_next_command_can_be_pasted_whatever_the_folder_is_called(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    block_client(monkeypatch)
    raw_dir = tmp_path / "my scans (old)"
    download("kaggle", raw_dir)
    (line,) = re.findall(r"python -m brainmtl.prepare .*", capsys.readouterr().err)
    assert compose("prepare", *shlex.split(line)[3:])["raw_dir"] == str(raw_dir)


@pytest.mark.parametrize(
    ("error", "words"),
    [(SystemExit(1), "no Kaggle credentials"), (ConnectionError("no route"), "no route")],
)
def test_without_credentials_or_network(tmp_path: Path, monkeypatch, capsys, error, words) -> None:
    def fail(dataset: str, raw_dir: Path) -> None:
        raise error

    monkeypatch.setattr(command, "_fetch", fail)
    assert download("kaggle", tmp_path) == 1
    message = capsys.readouterr().err
    assert words in message and "python -m brainmtl.prepare source=kaggle" in message


def test_brats_has_to_be_applied_for(tmp_path: Path, capsys) -> None:
    assert download("brats", tmp_path) == 1
    message = capsys.readouterr().out
    assert "synapse.org" in message and "imagesTr/BRATS_001.nii.gz" in message


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_bytes(b"")
    with pytest.raises(DataError, match="nothing is overwritten"):
        download("kaggle", tmp_path)
    with pytest.raises(ConfigError, match="kaggle, lgg, brats"):
        download("phantom", tmp_path / "new")


def test_command_line(tmp_path: Path) -> None:
    base = [sys.executable, "-m", "brainmtl.download"]
    run = subprocess.run([*base, "source=brats"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1 and "data/raw/brats holds:" in run.stdout
    run = subprocess.run(base, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1 and run.stderr.strip() == "error: source=... must be given"
    assert not list(tmp_path.iterdir())
