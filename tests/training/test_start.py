"""Where a run's first weights come from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from brainmtl.config import compose
from brainmtl.data.preprocessing.preprocess import PREPROCESSING_VERSION
from brainmtl.errors import ConfigError
from brainmtl.models import create_multi_task_model
from brainmtl.training.continuation.checkpoints import load_model, read_checkpoint
from brainmtl.training.continuation.start import (
    BUILT_IN,
    WEIGHTS,
    starting_weights,
    write_built_in,
)
from brainmtl.training.run_folder.run_record import comparable


def options(*overrides: str) -> dict:
    return compose("train", "run_dir=.", *overrides)


def test_the_default_model_starts_from_the_built_in_weights() -> None:
    assert starting_weights(options()) == BUILT_IN
    assert starting_weights(options("model.dropout=0.1")) == BUILT_IN


def test_another_model_starts_from_weights_of_its_own() -> None:
    residual = starting_weights(options("model=resunet_1m_quarter"))
    assert residual == WEIGHTS / "phantom_residual.ckpt"


@pytest.mark.parametrize("built_in", sorted(path.name for path in WEIGHTS.glob("*.ckpt")))
def test_built_in_weights_are_small_synthetic_and_finite(built_in: str) -> None:
    path = WEIGHTS / built_in
    found = read_checkpoint(path)
    assert path.stat().st_size < 6 * 2**20
    about = found["brainmtl"]
    assert about["preprocessing_version"] == PREPROCESSING_VERSION
    assert about["sources"] == [] and "synthetic" in about["pretrained"]
    assert set(about["trained_parts"]) == {"encoder", "decoder", "head"}
    model, _ = load_model(path)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


@pytest.mark.parametrize(
    "override",
    [
        "model=unet_2m_fast",
        "model.block=residual",
        "model.in_channels=2",
        "model.base_filters=16",
        "init_from=null",
    ],
)
def test_other_models_start_from_random_weights(override: str) -> None:
    assert starting_weights(options(override)) is None


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    assert starting_weights(options(f"init_from={tmp_path}/a.ckpt")) == tmp_path / "a.ckpt"


def test_auto_is_no_path_when_runs_are_compared() -> None:
    assert comparable(options())["init_from"] == "auto"
    assert Path(comparable(options("init_from=a.ckpt"))["init_from"]).is_absolute()


def checkpoint(path: Path, sources: list[str], synthetic: bool) -> Path:
    shape = {"in_channels": 1, "base_filters": 4, "depth": 2}
    about = {
        "config": {"model": shape, "data_dir": "somewhere"},
        "preprocessing_version": PREPROCESSING_VERSION,
        "stage": "joint",
        "sources": sources,
        "trained_parts": ["encoder"],
        "synthetic_training": synthetic,
        "manifest_sha256": "0",
    }
    weights = create_multi_task_model(**shape).state_dict()
    torch.save({"state_dict": weights, "brainmtl": about, "optimizer_states": [1]}, path)
    return path


def test_weights_are_written_without_anything_else(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "best.ckpt", ["phantom_brats", "phantom_kaggle"], True)
    write_built_in(source, tmp_path / "phantom.ckpt")
    before, found = read_checkpoint(source), read_checkpoint(tmp_path / "phantom.ckpt")
    assert set(found) == {"state_dict", "brainmtl"}
    assert found["brainmtl"]["config"] == {"model": before["brainmtl"]["config"]["model"]}
    assert found["brainmtl"]["pretrained"] == "synthetic heads (phantom_brats, phantom_kaggle)"
    for name, value in before["state_dict"].items():
        kept = found["state_dict"][name]
        assert kept.dtype == (torch.float16 if value.is_floating_point() else value.dtype)
        torch.testing.assert_close(kept.to(value.dtype), value, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("sources", "synthetic"),
    [(["brats"], False), (["brats", "phantom_brats"], True), (["phantom_brats"], False)],
)
def test_real_data_may_not_be_in_them(tmp_path: Path, sources: list[str], synthetic: bool) -> None:
    source = checkpoint(tmp_path / "best.ckpt", sources, synthetic)
    with pytest.raises(ConfigError, match="synthetic data alone"):
        write_built_in(source, tmp_path / "phantom.ckpt")
    assert not (tmp_path / "phantom.ckpt").exists()
