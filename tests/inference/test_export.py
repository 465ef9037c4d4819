"""Export: what is written, what it says where something is missing, and that it replaces with care."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import quick_model
import torch
from safetensors.torch import load_file

from brainmtl import __version__
from brainmtl.data.samples import read_sample
from brainmtl.errors import ConfigError, DataError
from brainmtl.evaluation.selection import load_checkpoint
from brainmtl.export import export
from brainmtl.exporting.export_card import find_card
from brainmtl.files import sha256
from brainmtl.inference.model_folder import read_model_folder
from brainmtl.inference.operating.operating_point import read_operating_point
from brainmtl.inference.predictor import MultiTaskPredictor


def test_weights_config_and_operating_point_are_those_of_the_checkpoint(
    model_dir: Path, checkpoint: Path
) -> None:
    model, meta = load_checkpoint(checkpoint)
    stored = load_file(model_dir / "weights.safetensors")
    assert set(stored) == set(model.state_dict())
    assert all(torch.equal(stored[key], value) for key, value in model.state_dict().items())
    config = json.loads((model_dir / "config.json").read_text())
    created = datetime.fromisoformat(config.pop("created"))
    assert created.tzinfo == UTC and abs((datetime.now(UTC) - created).total_seconds()) < 3600
    assert config == {
        "format": "brainmtl-model",
        "format_version": 1,
        "name": f"joint-{sha256(checkpoint)[:8]}",
        "version": __version__,
        "model": meta["config"]["model"],
        "preprocessing_version": meta["preprocessing_version"],
        "stage": "joint",
        "training_sources": ["phantom_brats", "phantom_kaggle"],
        "synthetic_training": True,
        "checkpoint_sha256": sha256(checkpoint),
    }
    contents = read_model_folder(model_dir)
    assert contents.operating_point == read_operating_point(checkpoint)
    assert contents.ood is not None and contents.ood.threshold > 0
    assert set(contents.ood.clusters) == {"phantom_brats", "phantom_kaggle"}
    assert not contents.model.training
    modes = {path.stat().st_mode for path in model_dir.iterdir()}
    assert len(modes) == 1, "a server that runs as another user must be able to read all or none"


def test_the_loaded_model_answers_as_the_checkpoint(
    model_dir: Path, checkpoint: Path, phantom_dir: Path
) -> None:
    path = phantom_dir / quick_model.rows_of(phantom_dir, "test")["path"].iloc[0]
    image = torch.from_numpy(read_sample(path).image)[None]
    with torch.inference_mode():
        expected = load_checkpoint(checkpoint)[0](image)
        found = read_model_folder(model_dir).model(image)
    assert torch.equal(found.cls, expected.cls) and torch.equal(found.seg, expected.seg)


def test_what_is_missing_is_said(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = export(tiny_checkpoint, tmp_path / "model")
    printed = capsys.readouterr().out
    assert "operating_point.json is missing" in printed and "not calibrated" in printed
    assert "without its check for images that are unlike" in printed
    assert "the model card has no figures" in printed
    contents = read_model_folder(folder)
    assert not contents.operating_point.fitted and contents.ood is None
    assert contents.card["eval_metrics"] == {} and "No evaluation" in contents.card["remarks"][0]
    assert contents.card["out_of_scope_use"] and contents.card["medical_device"] is False
    text = (folder / "model_card.md").read_text()
    assert "None: this model was not evaluated." in text and "No evaluation" in text
    assert not (folder / "ood.safetensors").exists()
    info = MultiTaskPredictor.from_folder(folder, device="cpu").info
    assert not info.has_ood_check


def write_evaluation(stage_dir: Path, name: str, checkpoint: Path, **changes: object) -> None:
    """What an evaluation leaves, as far as an export reads it."""
    point = read_operating_point(checkpoint).to_dict()
    card = {"checkpoint_sha256": sha256(checkpoint), "operating_point": point, "mark": name}
    folder = stage_dir / name
    folder.mkdir()
    (folder / "model_card.json").write_text(json.dumps(card | changes))
    (folder / "model_card.md").write_text(f"# {name}")
    (folder / "run.json").write_text("{}")


def test_the_card_is_that_of_the_newest_evaluation_that_fits(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = tmp_path / "joint"
    shutil.copytree(checkpoint.parent, stage / "checkpoints")
    own = stage / "checkpoints" / checkpoint.name
    point = read_operating_point(own).to_dict()
    write_evaluation(stage, "evaluation_val", own)
    write_evaluation(stage, "evaluation_test", own)
    write_evaluation(stage, "evaluation_other", own, checkpoint_sha256="0" * 64)
    write_evaluation(stage, "evaluation_by_hand", own, operating_point=point | {"threshold": 0.9})
    write_evaluation(stage, "evaluation_half", own)
    (stage / "evaluation_half" / "run.json").unlink()
    card = read_model_folder(export(own, tmp_path / "model", ood=False)).card
    assert card["mark"] == "evaluation_test"
    assert (tmp_path / "model" / "model_card.md").read_text() == "# evaluation_test"
    assert "the model card has no figures" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("splits", "chosen"),
    [
        (("test", "train"), 0),
        (("test", "val", "all"), 0),
        (("train", "val", "train"), 1),
        (("val", "all"), 0),
        (("test", "test", "val"), 1),
        (("train", "all"), 1),
    ],
)
def test_the_card_is_that_of_the_test_split(
    splits: tuple[str, ...], chosen: int, checkpoint: Path, tmp_path: Path
) -> None:
    """Of evaluations made one after the other; without test that of validation, else the newest."""
    stage = tmp_path / "joint"
    shutil.copytree(checkpoint.parent, stage / "checkpoints")
    own = stage / "checkpoints" / checkpoint.name
    for k, split in enumerate(splits):
        write_evaluation(stage, f"evaluation_{k}", own, split=split)
        os.utime(stage / f"evaluation_{k}" / "run.json", (k, k))
    card, text = find_card(own, sha256(own), read_operating_point(own))
    assert (card["mark"], text) == (f"evaluation_{chosen}", f"# evaluation_{chosen}")


def test_bands_of_the_card_are_the_ones_served(checkpoint: Path, tmp_path: Path) -> None:
    stage = tmp_path / "joint"
    shutil.copytree(checkpoint.parent, stage / "checkpoints")
    own = stage / "checkpoints" / checkpoint.name
    band = {"name": "all of it", "low": 0.0, "high": 1.0, "advice": "Look."}
    write_evaluation(stage, "evaluation_test", own, bands=[band])
    predictor = MultiTaskPredictor.from_folder(export(own, tmp_path / "model", ood=False))
    rows, columns = np.mgrid[-1:1:80j, -1:1:80j]
    noise = np.random.default_rng(0).normal(100, 20, (80, 80))
    assert predictor.predict_image((np.hypot(rows, columns) < 0.8) * noise).band == band


def test_a_model_folder_is_replaced_and_nothing_else(tiny_checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    export(tiny_checkpoint, target, name="first")
    export(tiny_checkpoint, target, name="second")
    assert read_model_folder(target).config["name"] == "second"
    (target / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"also holds notes\.txt"):
        export(tiny_checkpoint, target)
    assert (target / "notes.txt").read_text() == "mine"
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.tex").write_text("mine")
    with pytest.raises(ConfigError, match="is no model folder, so it is not overwritten"):
        export(tiny_checkpoint, other)
    with pytest.raises(ConfigError, match="is not overwritten"):
        export(tiny_checkpoint, other / "chapter.tex")
    assert (other / "chapter.tex").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "thesis"]


def test_a_failure_leaves_the_old_folder_and_no_rest(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = export(tiny_checkpoint, tmp_path / "model", name="first")

    def full_disk(folder: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("brainmtl.inference.model_folder.seal", full_disk)
    with pytest.raises(OSError, match="no space left"):
        export(tiny_checkpoint, target, name="second")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert read_model_folder(target).config["name"] == "first"


def test_the_default_folder_is_named_after_the_checkpoint(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brainmtl.inference.model_folder.MODELS_DIR", tmp_path)
    assert export(tiny_checkpoint) == tmp_path / f"joint-{sha256(tiny_checkpoint)[:8]}"


def test_onnx_graphs_are_part_of_the_folder(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = export(tiny_checkpoint, tmp_path / "model", onnx=True)
    config = json.loads((folder / "config.json").read_text())
    assert config["onnx"]["opset"] == 17 and 0 <= config["onnx"]["max_abs_difference"] < 1e-3
    listed = json.loads((folder / "manifest.json").read_text())["files"]
    assert {"encoder_head.onnx", "decoder.onnx"} < set(listed)
    assert "largest difference of a logit" in capsys.readouterr().out
    (folder / "decoder.onnx").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"decoder\.onnx is not the file"):
        read_model_folder(folder)


def with_meta(checkpoint: Path, folder: Path, change: Callable[[dict], None]) -> Path:
    content = torch.load(checkpoint, weights_only=True)
    change(content["brainmtl"])
    path = folder / "changed.ckpt"
    torch.save(content, path)
    return path


def test_what_will_be_refused_is_said_by_the_export(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def two_channels(meta: dict) -> None:
        meta["config"]["model"]["in_channels"] = 2

    path = with_meta(tiny_checkpoint, tmp_path, two_channels)
    stored = torch.load(path, weights_only=True)
    first = next(name for name, value in stored["state_dict"].items() if value.ndim == 4)
    stored["state_dict"][first] = stored["state_dict"][first].repeat(1, 2, 1, 1)
    torch.save(stored, path)
    folder = export(path, tmp_path / "model")
    assert "warning: the model takes 2 modalities" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="takes 2 sequences per slice"):
        MultiTaskPredictor.from_folder(folder)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ood": "maybe"}, ConfigError, "ood='maybe'"),
        ({"ood": True}, ConfigError, "ood=true needs a folder of training"),
        ({"data_dir": "nowhere"}, DataError, "data_dir=nowhere does not exist"),
        ({"device": "cuda:99"}, ConfigError, "device=cuda:99"),
        ({"batch_size": 0}, ConfigError, "batch_size=0"),
        ({"batch_size": "abc"}, ConfigError, "batch_size=abc"),
    ],
)
def test_options_that_cannot_work(
    options: dict, error: type, message: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    if "device" in options and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(error, match=message):
        export(tiny_checkpoint, tmp_path / "model", **options)
    assert not list(tmp_path.iterdir())


def test_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.ckpt does not exist"):
        export(tmp_path / "none.ckpt", tmp_path / "model")


def test_data_that_do_not_fit_the_model(
    checkpoint: Path, phantom_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = with_meta(checkpoint, tmp_path, lambda meta: meta.update(sources=["brats"]))
    with pytest.raises(DataError, match="holds none of the sources of training"):
        export(other, tmp_path / "a")
    said = "is not as it was in training"
    grown = with_meta(checkpoint, tmp_path, lambda meta: meta.update(manifest_sha256="0" * 64))
    # As after another source was added: those of training are the same.
    export(grown, tmp_path / "b", data_dir=phantom_dir)
    assert said not in capsys.readouterr().out
    changed = dict.fromkeys(("phantom_brats", "phantom_kaggle"), "0" * 64)
    moved = with_meta(
        checkpoint,
        tmp_path,
        lambda meta: meta.update(manifest_sha256="0" * 64, source_sha256=changed),
    )
    assert read_model_folder(export(moved, tmp_path / "c", data_dir=phantom_dir)).ood is not None
    assert said in capsys.readouterr().out


def test_an_operating_point_of_another_checkpoint_stops_it(
    checkpoint: Path, tmp_path: Path
) -> None:
    path = with_meta(checkpoint, tmp_path, lambda meta: meta.update(stage="heads"))
    shutil.copy(f"{checkpoint}.operating_point.json", f"{path}.operating_point.json")
    with pytest.raises(DataError, match="fitted on another checkpoint"):
        export(path, tmp_path / "model", ood=False)
