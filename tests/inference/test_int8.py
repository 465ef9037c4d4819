"""int8: calibrated and priced without the test split, hashed like all files, served on request."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import quick_model
import torch
from support import compose

from brainmtl.data.samples import read_sample
from brainmtl.errors import ConfigError, DataError
from brainmtl.evaluation.report.text import lookup
from brainmtl.evaluation.run import evaluate
from brainmtl.export import export
from brainmtl.exporting.int8_price import FIGURES, price_markdown
from brainmtl.files import sha256
from brainmtl.inference.model_folder import read_model_folder
from brainmtl.inference.predictor import MultiTaskPredictor
from brainmtl.inference.runtimes.onnx_runtime import OnnxRuntime
from brainmtl.inference.runtimes.openvino_runtime import OpenVino
from brainmtl.predict import predict

INT8 = ("encoder_head_int8.onnx", "decoder_int8.onnx")


@pytest.fixture(scope="module")
def data_without_test(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared folder, its manifest as it was, without one file of the test split."""
    folder = tmp_path_factory.mktemp("no_test") / "prepared"
    shutil.copytree(phantom_dir, folder)
    for path in quick_model.rows_of(folder, "test")["path"]:
        (folder / path).unlink()
    return folder


@pytest.fixture(scope="module")
def int8_dir(
    checkpoint: Path, data_without_test: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    target = tmp_path_factory.mktemp("int8") / "model"
    return export(checkpoint, target, data_dir=data_without_test, onnx=True, int8=True)


def test_graphs_are_hashed_like_all_files(int8_dir: Path, tmp_path: Path) -> None:
    listed = json.loads((int8_dir / "manifest.json").read_text())["files"]
    for name in INT8:
        assert listed[name] == sha256(int8_dir / name)
        assert (int8_dir / name).stat().st_size < (
            int8_dir / name.replace("_int8", "")
        ).stat().st_size
    contents = read_model_folder(int8_dir)
    assert contents.ood.threshold != contents.ood_int8.threshold
    assert set(contents.graphs) == {*INT8, "encoder_head.onnx", "decoder.onnx"}
    folder = tmp_path / "changed"
    shutil.copytree(int8_dir, folder)
    data = bytearray((folder / INT8[0]).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / INT8[0]).write_bytes(data)
    with pytest.raises(DataError, match=INT8[0]):
        read_model_folder(folder)


def test_the_price_is_that_of_the_validation_split(
    int8_dir: Path, checkpoint: Path, data_without_test: Path, tmp_path: Path
) -> None:
    """Its float32 side is what the evaluation of PyTorch's own network says."""
    card = json.loads((int8_dir / "model_card.json").read_text())
    price = card["int8"]
    rows = quick_model.rows_of(data_without_test, "val")
    assert price["split"] == "val" and price["images"] == len(rows)
    assert set(price["sources"]) == {"phantom_brats", "phantom_kaggle"}
    told = evaluate(
        checkpoint, data_without_test, tmp_path / "evaluation", "val",
        device="cpu", figures=False, sections=(), resamples=100, progress=False,
    )["metrics"]  # fmt: skip
    compared = 0
    for source, figures in price["sources"].items():
        for figure, own in figures.items():
            assert 0 <= own["float32"] <= 1 and abs(own["int8"] - own["float32"]) < 0.2
            if figure != "unlike_share":
                assert own["float32"] == pytest.approx(lookup(told[source], figure), abs=0.005)
                compared += 1
    assert compared == 4  # two of Dice, and balanced accuracy of both sources
    assert price["sources"]["phantom_brats"].keys() == FIGURES.keys()
    text = (int8_dir / "model_card.md").read_text()
    assert price_markdown(price) in text and "| phantom_brats | Dice per patient |" in text


@pytest.mark.parametrize("runtime", ["onnx", "openvino", "auto"])
def test_int8_answers_nearly_the_same(runtime: str, int8_dir: Path, raw_dir: Path) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino", reason="pip install 'brainmtl[openvino]'")
    photos = sorted(raw_dir.glob("kaggle/*/*.jpg"))[:8]
    exact, coarse = (
        MultiTaskPredictor.from_folder(int8_dir, device="cpu", **options)
        for options in (
            {"runtime": "eager"},
            {"runtime": runtime, "precision": "int8"},
        )
    )
    assert coarse.info.runtime["precision"] == "int8"
    assert coarse.info.runtime["name"] in (
        (runtime,) if runtime != "auto" else ("onnx", "openvino")
    )
    pairs = list(
        zip(*(one.predict_batch(photos, seg_gate=0) for one in (exact, coarse)), strict=True)
    )
    judged = [(a, b) for a, b in pairs if not (a.abstained or b.abstained)]
    assert len(judged) >= 4
    assert any(a.raw_probability != b.raw_probability for a, b in judged)
    for a, b in judged:
        assert b.raw_probability == pytest.approx(a.raw_probability, abs=0.1)
    masks = [
        np.concatenate([one.segmentation.mask.ravel() > 0 for one in own])
        for own in zip(*judged, strict=True)
    ]
    assert 2 * (masks[0] & masks[1]).sum() > 0.95 * (masks[0].sum() + masks[1].sum()) > 0


def test_no_sum_of_two_products_leaves_16_bits(int8_dir: Path) -> None:
    """It saturates on processors without VNNI, where the answers of a graph would be others."""
    for name in INT8:
        graph = onnx.load(int8_dir / name).graph
        weights = [
            onnx.numpy_helper.to_array(one)
            for one in graph.initializer
            if one.data_type == onnx.TensorProto.INT8 and len(one.dims) == 4
        ]
        assert len(weights) >= 3
        largest = max(int(np.abs(weight.astype(int)).max()) for weight in weights)
        assert largest > 32 and 2 * 255 * largest < 2**15


def test_runtimes_agree_on_int8(int8_dir: Path, phantom_dir: Path) -> None:
    """So that the price, which ONNX Runtime has measured, is that of OpenVINO as well."""
    pytest.importorskip("openvino", reason="pip install 'brainmtl[openvino]'")
    graphs = read_model_folder(int8_dir).graphs
    rows = quick_model.rows_of(phantom_dir, "val", "phantom_brats")
    samples = [read_sample(phantom_dir / path).image for path in rows["path"][::6]]
    batch = torch.from_numpy(np.stack(samples))
    found = []
    for runtime in (OnnxRuntime(graphs, "int8"), OpenVino(graphs, "int8")):
        features, logits = runtime.encode(batch)
        found.append((logits, runtime.decode(features)))
    for own, other in zip(*found, strict=True):
        apart = (own - other).abs()
        assert apart.mean() < 0.02 * other.abs().mean()
        assert apart.max() < 0.1 * other.abs().max()


def test_the_command_takes_runtime_and_format(
    int8_dir: Path, raw_dir: Path, tmp_path: Path
) -> None:
    photo = min(raw_dir.glob("kaggle/*/*.jpg"))
    predict(
        compose(
            "predict", f"input={photo}", f"out_dir={tmp_path}/out", f"model_dir={int8_dir}",
            "runtime=onnx", "number_format=int8", "progress=false",
        )
    )  # fmt: skip
    told = json.loads((tmp_path / "out/run.json").read_text())["model"]["runtime"]
    assert (told["name"], told["precision"], told["device"]) == ("onnx", "int8", "cpu")


def test_int8_needs_the_graphs_and_the_data(
    tiny_checkpoint: Path, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="give onnx=true too"):
        export(checkpoint, tmp_path / "model", int8=True)
    moved = tmp_path / "best.ckpt"  # its data folder is named and gone
    shutil.copy(tiny_checkpoint, moved)
    with pytest.raises(ConfigError, match=r"int8=true needs .*: give data_dir"):
        export(moved, tmp_path / "model", onnx=True, int8=True)
    assert not (tmp_path / "model").exists()
