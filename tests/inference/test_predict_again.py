"""Predicting once more into a folder: what an item has of the earlier run is no part of the new one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_predict_command import many, options, read_lines
from volume_inputs import save

from brainmtl.predict import predict

# Of a network as tiny as this one P may be anything: the gate decides whether a mask is made.
ALWAYS, NEVER = {"seg_gate": 0.0}, {"seg_gate": 0.9998, "cls_threshold": 0.9999}
PLANES = ("masks", "overlay", "gradcam")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three pictures and a volume."""
    folder = tmp_path / "in"
    many(folder, 3)
    noise = np.random.default_rng(0).normal(110, 15, (48, 48, 3)).clip(1)
    save(folder / "volume.nii", noise.astype(np.int16))
    return folder


def written(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for name in PLANES for path in (out / name).glob("*")}


def seg_gate(out: Path) -> float:
    return json.loads((out / "run.json").read_text())["thresholds"]["seg_gate"]


def test_files_of_an_earlier_run_do_not_stay(scans: Path, tiny_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(options(scans, out, tiny_dir, gradcam=True, **ALWAYS))
    pictures = {f"{name}/000{k}.png" for name in PLANES for k in range(3)}
    assert written(out) == pictures | {"masks/volume.nii.gz"}
    (out / "masks/another.png").write_bytes(b"of nobody in this folder")
    for name in ("0001.png", "volume.nii"):  # what fails now had answers then
        (scans / name).write_bytes((scans / name).read_bytes()[:200])
    lines = predict(options(scans, out, tiny_dir, **NEVER))
    assert [line["status"] for line in lines] == ["ok", "failed", "ok", "failed"]
    assert written(out) == {"masks/another.png"}
    assert not any(
        line[column] for line in read_lines(out).values() for column in ("mask", "overlay")
    )
    assert seg_gate(out) == NEVER["seg_gate"]


def test_what_is_made_again_replaces_the_old(scans: Path, tiny_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for gradcam in (True, False):
        lines = predict(options(scans, out, tiny_dir, gradcam=gradcam, **ALWAYS))
    named = {line[c] for line in lines for c in ("mask", "overlay", "gradcam") if line[c]}
    assert written(out) == named and len(named) == 7


def test_the_settings_lie_there_before_the_first_answer(
    scans: Path, tiny_dir: Path, tmp_path: Path
) -> None:
    """Else a run that does not end leaves masks beside the thresholds of another."""
    out = tmp_path / "out"
    predict(options(scans, out, tiny_dir, **NEVER))
    (out / "predictions.csv").unlink()
    (out / "predictions.csv").mkdir()
    with pytest.raises(IsADirectoryError):
        predict(options(scans, out, tiny_dir, **ALWAYS))
    assert written(out) and seg_gate(out) == ALWAYS["seg_gate"]
