"""Tiny prepared folders, a checkpoint and evaluations of several kinds for the tests of this room."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `import tiny`, with or without packages in tests/

import tiny
from compared import HIGH, LOW, data, record, write_evaluation, write_stages
from crossvalidated import QUICK, write_run
from support import once

from brainmtl.data.manifest import read_manifest, write_manifest
from brainmtl.models import MultiTaskModel


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_folder(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="session")
def model(data_dir: Path) -> MultiTaskModel:
    paths = [f"phantom_brats/test/{case}_z{k:03d}.npz" for case in "BCD" for k in (0, 2)]
    return tiny.trained_model(data_dir, paths)


@pytest.fixture(scope="session")
def checkpoint(
    data_dir: Path, model: MultiTaskModel, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("run") / "joint" / "checkpoints" / "best.ckpt"
    return tiny.write_checkpoint(path, model, data_dir)


@pytest.fixture(scope="session")
def evaluation(checkpoint: Path, data_dir: Path) -> dict[str, Any]:
    from brainmtl.evaluation.run import evaluate

    options = {"save_masks": True, "progress": False, "batch_size": 4}
    return evaluate(checkpoint, data_dir, sections=(), resamples=200, **options)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny folder with groups dealt to three folds, without LGG."""
    return once(tmp_path_factory, "folds", _deal_folds)


def _deal_folds(folder: Path) -> Path:
    data_dir = tiny.write_folder(folder)
    frame = read_manifest(data_dir)
    for source in frame["source"].unique():
        own = frame["source"] == source
        codes = frame.loc[own, "group"].astype(str).factorize(sort=True)[0]
        frame.loc[own, "fold"] = (codes % 3).astype("int16")
    write_manifest(data_dir, frame[frame["source"] != "lgg"])
    return data_dir


@pytest.fixture(scope="session")
def merged(folder: Path, model: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """That network in the place of each fold's, cross-validated with figures and shortcuts."""
    from brainmtl.evaluation.crossval.run import cross_validate

    def build(root: Path) -> dict[str, Any]:
        write_run(folder, root, model, (0, 1, 2))
        return cross_validate(root, **QUICK | {"figures": True, "sections": ("shortcuts",)})

    return once(tmp_path_factory, "cross_validation", build)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A curriculum: the head learns in cls_head, and joint training betters both tasks."""
    stages = {
        "joint": (1.4, 2.0, "decoder head"),
        "cls_head": (0.6, 1.0, "decoder head"),
        "seg_warmup": (0.6, 0.1, "decoder"),
    }
    for stage, (seg, cls, trained) in stages.items():
        folder = tmp_path / "run" / stage
        (folder / "checkpoints").mkdir(parents=True)
        write_evaluation(folder / "evaluation_test", stage, *data(seg, cls), trained)
    return tmp_path / "run"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs low/s0 to s2 and high/s0 and s1, of one stage each."""
    folder = tmp_path_factory.mktemp("trained")
    for name, skills in (("low", LOW), ("high", HIGH)):
        for seed, skill in enumerate(skills):
            record(write_stages(folder / name / f"s{seed}", skill), seed)
    return folder


@pytest.fixture
def recipes(trained: Path, tmp_path: Path) -> list[list[Path]]:
    """A copy of the runs to change: the recipe low with three seeds, high with two."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return [sorted((tmp_path / name).iterdir()) for name in ("low", "high")]
