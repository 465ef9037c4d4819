"""Evaluating once more into a folder: files of two evaluations are never taken for one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from crossvalidated import QUICK

from brainmtl.errors import DataError
from brainmtl.evaluation.run import evaluate

TWO = {"sources": ["kaggle", "phantom_brats"], "batch_size": 4}


def test_masks_of_an_older_evaluation_do_not_stay(
    checkpoint: Path, data_dir: Path, tmp_path: Path
) -> None:
    evaluate(checkpoint, data_dir, tmp_path, save_masks=True, **QUICK | TWO)
    (tmp_path / "notes.txt").write_text("mine")
    assert len(list((tmp_path / "masks/phantom_brats").iterdir())) == 5
    found = evaluate(checkpoint, data_dir, tmp_path, sources=["kaggle"], **QUICK)
    assert json.loads((tmp_path / "run.json").read_text()) == found["run"]
    assert not (tmp_path / "masks").exists() and not (tmp_path / "cases.csv").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"
    evaluate(checkpoint, data_dir, tmp_path, sources=["kaggle"], save_masks=True, **QUICK)
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["kaggle"]


def test_what_was_interrupted_has_no_seal(checkpoint: Path, data_dir: Path, tmp_path: Path) -> None:
    data, out = Path(shutil.copytree(data_dir, tmp_path / "data")), tmp_path / "out"
    evaluate(checkpoint, data, out, save_masks=True, **QUICK | TWO)
    sample = data / "phantom_brats/test/D_z003.npz"  # one of the last
    whole = sample.read_bytes()
    sample.write_bytes(whole[:500])
    with pytest.raises(DataError, match="D_z003"):
        evaluate(checkpoint, data, out, save_masks=True, **QUICK | TWO)
    assert (out / ".masks/kaggle").is_dir(), "some of it was predicted"
    assert (out / "metrics.json").is_file() and not (out / "run.json").exists()
    assert not (out / "masks").exists(), "of the older evaluation"
    sample.write_bytes(whole)
    evaluate(checkpoint, data, out, **QUICK | TWO)
    assert not (out / ".masks").exists() and not (out / "masks").exists()


def test_what_is_refused_leaves_the_older_evaluation_whole(
    checkpoint: Path, data_dir: Path, tmp_path: Path
) -> None:
    evaluate(checkpoint, data_dir, tmp_path, save_masks=True, sources=["kaggle"], **QUICK)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="has no validation samples"):
        evaluate(checkpoint, data_dir, tmp_path, operating_point="fit", **QUICK)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
