"""A model folder is served whole and unchanged, or not at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from brainmtl.errors import ConfigError, DataError
from brainmtl.files import sha256
from brainmtl.inference import model_folder
from brainmtl.inference.model_folder import (
    MANIFEST,
    newest_model_folder,
    read_model_folder,
    seal,
)


@pytest.fixture
def folder(tiny_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_dir, tmp_path / "model"))


def edit(path: Path, **changes: object) -> None:
    """Replace keys of a JSON file; None removes them."""
    values = json.loads(path.read_text()) | changes
    removed = [key for key, value in changes.items() if value is None]
    path.write_text(json.dumps({key: value for key, value in values.items() if key not in removed}))


def test_the_manifest_lists_every_file(folder: Path) -> None:
    listed = json.loads((folder / MANIFEST).read_text())["files"]
    assert set(listed) == {path.name for path in folder.iterdir()} - {MANIFEST}
    assert all(sha256(folder / name) == digest for name, digest in listed.items())
    contents = read_model_folder(folder)
    assert contents.weights_sha256 == listed["weights.safetensors"]
    assert not contents.model.training and contents.ood is None


@pytest.mark.parametrize(
    "name",
    [
        "weights.safetensors",
        "config.json",
        "operating_point.json",
        "model_card.json",
        "model_card.md",
    ],
)
def test_one_flipped_bit_anywhere_is_named(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(DataError, match=rf"{name} is not the file that was exported.*export"):
        read_model_folder(folder)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: (f / "model_card.md").unlink(), "lacks model_card.md"),
        (lambda f: (f / "weights.safetensors").unlink(), "lacks weights.safetensors"),
        (lambda f: (f / MANIFEST).unlink(), r"lacks manifest.json, so it is no model folder"),
        (lambda f: (f / "notes.txt").write_text("x"), "holds notes.txt"),
        (lambda f: ((f / "sub").mkdir(), (f / "sub" / "a").touch()), "holds sub/a"),
        (lambda f: (f / MANIFEST).write_text("{"), "manifest.json is no JSON"),
        (lambda f: (f / MANIFEST).write_text("[]"), "holds no JSON object"),
        (lambda f: (f / MANIFEST).write_text("{}"), "lists no SHA-256"),
        (lambda f: (f / MANIFEST).write_text('{"files": {"a": "1"}}'), "lists no SHA-256"),
    ],
)
def test_files_missing_left_over_or_unlisted(
    folder: Path, harm: Callable[[Path], object], message: str
) -> None:
    harm(folder)
    with pytest.raises(DataError, match=message):
        read_model_folder(folder)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("config.json", {"format_version": 2}, "version 2, this code reads"),
        ("config.json", {"format": "other"}, "has format 'other'"),
        ("config.json", {"preprocessing_version": "1"}, "preprocessing version 1"),
        ("config.json", {"stage": None}, "lacks stage"),
        ("config.json", {"model": {"base_filters": 4, "secret": 1}}, "describes no model"),
        ("config.json", {"model": {"base_filters": 0}}, "describes no model"),
        ("config.json", {"model": {"base_filters": 8, "depth": 2}}, "does not fit config.json"),
        ("operating_point.json", {"seg_gate": 0.9}, "seg_gate=0.9 lies above"),
        ("operating_point.json", {"version": 9}, "version 9"),
    ],
)
def test_contents_that_cannot_work_although_the_hashes_fit(
    folder: Path, name: str, changes: dict, message: str
) -> None:
    edit(folder / name, **changes)
    seal(folder)
    with pytest.raises(DataError, match=message):
        read_model_folder(folder)


@pytest.mark.parametrize("content", [b"", b"\x80\x04]\x94.", b"\x00" * 100])
def test_weights_that_are_no_safetensors(folder: Path, content: bytes) -> None:
    (folder / "weights.safetensors").write_bytes(content)
    seal(folder)
    with pytest.raises(DataError, match=r"weights\.safetensors does not fit"):
        read_model_folder(folder)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder: export a model with"):
        read_model_folder(tmp_path / "none")


def test_nothing_is_unpickled(folder: Path) -> None:
    """In a process of its own: neither torch.load nor pickle runs while a folder is read."""
    script = f"""
import pickle, torch
def refuse(*args, **options): raise SystemExit("unpickled")
torch.load = pickle.load = pickle.loads = pickle.Unpickler = refuse
from brainmtl.inference.model_folder import read_model_folder
print(read_model_folder({str(folder)!r}).config["name"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0 and done.stdout.startswith("joint-"), done.stderr


def test_the_newest_export_is_found_by_what_it_says(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "models"
    with pytest.raises(DataError, match=r"holds no model: export one"):
        newest_model_folder(root)
    for name, created in (("b", "2025-01-02"), ("a", "2025-01-03"), ("c", "2025-01-01")):
        shutil.copytree(folder, root / name)
        edit(root / name / "config.json", created=created)
    shutil.copytree(folder, root / ".tmp-x")
    (root / "other").mkdir()
    (root / "file").touch()
    assert newest_model_folder(root) == root / "a"


def test_the_environment_chooses(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("BRAINMTL_MODEL_DIR", os.fspath(folder))
    assert model_folder.chosen_model_folder() == folder
    monkeypatch.setenv("HOME", os.fspath(folder.parent))
    monkeypatch.setenv("BRAINMTL_MODEL_DIR", f"~/{folder.name}")  # as no shell has expanded it
    assert model_folder.chosen_model_folder() == folder
    monkeypatch.setenv("BRAINMTL_MODEL_DIR", "~nobody_there/model")
    with pytest.raises(
        ConfigError, match=r"BRAINMTL_MODEL_DIR=~nobody_there/model: .* home folder"
    ):
        model_folder.chosen_model_folder()
    monkeypatch.delenv("BRAINMTL_MODEL_DIR")
    monkeypatch.setattr(newest_model_folder, "__defaults__", (tmp_path / "nothing",))
    with pytest.raises(DataError, match="holds no model"):
        model_folder.chosen_model_folder()
