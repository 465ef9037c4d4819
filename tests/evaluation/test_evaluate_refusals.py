"""What an evaluation refuses: options, checkpoints and samples that cannot work, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from crossvalidated import QUICK

from brainmtl.data.samples import read_sample, write_sample
from brainmtl.errors import BrainMTLError, ConfigError, DataError
from brainmtl.evaluation.run import evaluate


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "val"}, r"is empty.*kaggle \(train 2, test 10\)"),
        ({"split": "dev"}, "split=dev is unknown"),
        ({"fold": "first"}, "fold=first needs 3 or more prepared folds"),
        ({"sources": ["brats"]}, "holds.*phantom_brats"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"cls_threshold": 1.0}, "^cls_threshold=1.0 must lie"),
        ({"sections": ["magic"]}, r"sections=\['magic'\] are unknown"),
        ({"sections": "magic"}, r"sections=\['magic'\] are unknown"),
        ({"seed": "many"}, "seed=many must be a whole number"),
        ({"operating_point": "best"}, "operating_point=best is unknown"),
        ({"operating_point": "fit"}, "has no validation samples"),
        ({"cls_threshold": 0.2}, "seg_gate=0.3 lies above the threshold 0.2"),
        ({"min_false_positive_pixels": 0}, "min_false_positive_pixels=0"),
        ({"device": "cuda:9999"}, "device"),
        ({"ckpt": "/nowhere/best.ckpt"}, "does not exist"),
        ({"data_dir": "/nowhere"}, "prepare"),
    ],
)
def test_options_that_cannot_work(
    changes: dict[str, Any], message: str, checkpoint: Path, data_dir: Path, tmp_path: Path
) -> None:
    if torch.cuda.is_available() and "device" in changes:
        pytest.skip("needs a machine without CUDA")
    arguments = {"ckpt": checkpoint, "data_dir": data_dir, "out_dir": tmp_path / "out"} | changes
    with pytest.raises(BrainMTLError, match=message):
        evaluate(**QUICK | arguments)
    assert not (tmp_path / "out").exists()


def test_checkpoint_of_another_preprocessing_version(
    model: Any, data_dir: Path, tmp_path: Path
) -> None:
    path = tiny.write_checkpoint(tmp_path / "a.ckpt", model, data_dir, preprocessing_version="0")
    with pytest.raises(DataError, match=r"version 0.*Train again"):
        evaluate(path, data_dir, **QUICK)


def test_without_a_folder_it_is_that_of_training(
    model: Any, data_dir: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run" / "checkpoints" / "best.ckpt"

    def trained_in(data: dict[str, str]) -> Path:
        return tiny.write_checkpoint(
            path, model, data_dir, config={"model": tiny.MODEL, "data": data}
        )

    found = evaluate(trained_in({"data_dir": str(data_dir)}), **QUICK)
    assert found["run"]["data_dir"] == str(data_dir)
    for data, words in (({"data_dir": "/nowhere"}, "on /nowhere"), ({}, "does not tell")):
        with pytest.raises(ConfigError, match=rf"{words}, which is not there: give data_dir="):
            evaluate(trained_in(data), **QUICK)


def test_file_that_is_no_checkpoint_of_ours(data_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(BrainMTLError, match=r"a\.ckpt"):
        evaluate(path, data_dir, **QUICK)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(BrainMTLError, match=r"a\.ckpt"):
        evaluate(path, data_dir, **QUICK)


def test_network_that_returns_nan_is_named(model: Any, data_dir: Path, tmp_path: Path) -> None:
    path = tiny.write_checkpoint(tmp_path / "nan.ckpt", model, data_dir)
    stored = torch.load(path, weights_only=True)
    for value in stored["state_dict"].values():
        if value.is_floating_point():
            value.fill_(torch.nan)
    torch.save(stored, path)
    with pytest.raises(DataError, match="NaN"):
        evaluate(path, data_dir, sources=["kaggle"], **QUICK)


def test_missing_sample_and_reference_are_named(model: Any, tmp_path: Path) -> None:
    folder = tiny.write_folder(tmp_path / "data")
    path = tiny.write_checkpoint(tmp_path / "a.ckpt", model, folder)
    (folder / "lgg" / "references" / "L.npz").unlink()
    with pytest.raises(DataError, match=r"L\.npz"):
        evaluate(path, folder, sources=["lgg"], **QUICK)
    (folder / "kaggle" / "test" / "photo_05.npz").unlink()
    with pytest.raises(DataError, match=r"photo_05\.npz"):
        evaluate(path, folder, sources=["kaggle"], **QUICK)


@pytest.mark.parametrize("what", ["version", "channels"])
def test_sample_that_does_not_fit_the_checkpoint(what: str, model: Any, tmp_path: Path) -> None:
    folder = tiny.write_folder(tmp_path / "data")
    path = tiny.write_checkpoint(tmp_path / "a.ckpt", model, folder)
    sample_path = folder / "kaggle" / "test" / "photo_02.npz"
    sample = read_sample(sample_path)
    image, metadata = sample.image, sample.metadata
    if what == "version":
        metadata["preprocessing_version"] = "0"
    else:
        image = np.repeat(image, 3, axis=0)
    write_sample(sample_path, image, sample.label, None, metadata)
    expected = {
        "version": "preprocessing version 0.*prepare",
        "channels": "has 3 channels.*takes 1",
    }
    with pytest.raises(DataError, match=rf"photo_02\.npz.*{expected[what]}"):
        evaluate(path, folder, sources=["kaggle"], **QUICK)


def test_of_all_sources_those_of_other_channels_are_left_out(model: Any, tmp_path: Path) -> None:
    """A source may lie beside those of training; crossval and sweep_report ask for all of them."""
    folder = tiny.write_folder(tmp_path / "data")
    for path in (folder / "lgg").rglob("L_z*.npz"):
        sample = read_sample(path)
        image = np.repeat(sample.image, 3, axis=0)
        write_sample(path, image, sample.label, sample.mask, sample.metadata)
    untrained = tiny.write_checkpoint(tmp_path / "a.ckpt", model, folder, sources=["kaggle"])
    found = evaluate(untrained, folder, **QUICK)
    assert sorted(found["metrics"]) == ["kaggle", "phantom_brats"]
    assert any(text.startswith("Not evaluated: lgg, ") for text in found["run"]["remarks"])
    with pytest.raises(DataError, match="has 3 channels"):
        evaluate(untrained, folder, sources=["lgg"], **QUICK)
    trained = tiny.write_checkpoint(tmp_path / "b.ckpt", model, folder, sources=["kaggle", "lgg"])
    with pytest.raises(DataError, match="has 3 channels"):
        evaluate(trained, folder, **QUICK)
