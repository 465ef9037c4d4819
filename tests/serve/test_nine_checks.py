"""The nine checks of the serving part, on one page: from the checkpoint to an answer over HTTP.

Every room has tests that go deeper; here each check is made once, end to end, with a model that was
trained and exported by the project's own code and a server in a process of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from serving import Server, upload

from brainmtl.config import PROJECT_ROOT
from brainmtl.errors import BrainMTLError, DataError
from brainmtl.evaluation.selection import load_checkpoint
from brainmtl.inference import MultiTaskPredictor
from brainmtl.inference.model_folder import read_model_folder

# Gates that every picture, and none, gets over: of a network as tiny as this one P may be anything.
EVERY, NONE = {"seg_gate": 0.0}, {"seg_gate": 0.9998, "cls_threshold": 0.9999}


@pytest.fixture
def predictor(model_folder: Path) -> MultiTaskPredictor:
    return MultiTaskPredictor.from_folder(model_folder, device="cpu")


@pytest.fixture
def decoded(predictor: MultiTaskPredictor, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pictures per call of the decoder."""
    calls: list[int] = []
    decoder = predictor.network.model.decoder
    forward = decoder.forward

    def counting(features: list) -> object:
        calls.append(len(features[-1]))
        return forward(features)

    monkeypatch.setattr(decoder, "forward", counting)
    return calls


def test_1_checkpoint_validation(model_folder: Path, tmp_path: Path) -> None:
    """A checkpoint and a model folder that are whole are read, damaged ones are refused by name."""
    checkpoint = model_folder.parent / "joint/checkpoints/best.ckpt"
    _, meta = load_checkpoint(checkpoint)
    contents = read_model_folder(model_folder)
    assert meta["stage"] == contents.config["stage"] == "joint"
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(checkpoint.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"cut\.ckpt"):
        load_checkpoint(cut)
    changed = shutil.copytree(model_folder, tmp_path / "changed")
    weights = bytearray((changed / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (changed / "weights.safetensors").write_bytes(weights)
    with pytest.raises(DataError, match=r"weights\.safetensors is not the file that was exported"):
        read_model_folder(changed)


def test_2_predictor_creation(predictor: MultiTaskPredictor, model_folder: Path) -> None:
    assert predictor.info.folder == model_folder and predictor.info.synthetic_training
    assert not any(module.training for module in predictor.network.model.modules())
    with pytest.raises(BrainMTLError, match=r"python -m brainmtl\.export"):
        MultiTaskPredictor.from_folder(model_folder / "none")


def test_3_single_inference(predictor: MultiTaskPredictor, picture: bytes) -> None:
    found = predictor.predict_image(picture, **EVERY)
    assert 0 <= found.probability <= 1 and found.label in ("tumour", "no tumour")
    mask = found.segmentation.mask
    assert mask.shape == found.original_size == (96, 80) and set(np.unique(mask)) == {0, 1}


def test_4_conditional_logic(
    predictor: MultiTaskPredictor, picture: bytes, decoded: list[int]
) -> None:
    """The decoder runs for a picture over the gate, and not at all for one under it."""
    under = predictor.predict_image(picture, **NONE)
    assert decoded == [] and not under.segmentation.performed and under.segmentation.mask is None
    over = predictor.predict_image(picture, **EVERY)
    assert decoded == [1] and over.segmentation.performed
    p = over.probability
    assert under.probability == p
    assert predictor.predict_image(picture, seg_gate=p, cls_threshold=p).segmentation.performed
    just_above = {"seg_gate": p + 1e-6, "cls_threshold": p + 1e-6}
    assert not predictor.predict_image(picture, **just_above).segmentation.performed
    assert decoded == [1, 1]


def test_5_batch_inference(
    predictor: MultiTaskPredictor, picture: bytes, tumour_plane: np.ndarray, decoded: list[int]
) -> None:
    """As each alone, in their order, in one pass, and one that is damaged leaves the rest alone."""
    images = [picture, picture[:300], tumour_plane[::-1].copy(), tumour_plane[:, ::-1].copy()]
    found = predictor.predict_batch(images, **EVERY)
    assert decoded == [3] and found[1].reason == "truncated"
    for image, batched in zip(images, found, strict=True):
        if image is not images[1]:
            alone = predictor.predict_image(image, **EVERY)
            assert batched.probability == pytest.approx(alone.probability, abs=1e-5)
            np.testing.assert_array_equal(batched.segmentation.mask, alone.segmentation.mask)


def test_6_grad_cam(predictor: MultiTaskPredictor, picture: bytes) -> None:
    """Where asked for, a map of the picture's size with heat where the head saw evidence."""
    assert predictor.predict_image(picture).gradcam is None
    heads = []
    for radius in (8, 14, 22):
        heads.append(tiny.head((96, 80), seed=1))
        heads[-1][tiny.disc((96, 80), (38, 48), radius)] += 80
    found = predictor.predict_batch(heads, include_gradcam=True)
    surest = max(found, key=lambda one: one.probability)
    assert surest.gradcam.shape == (96, 80) and surest.gradcam.dtype == np.float32
    assert 0 <= surest.gradcam.min() < 0.1 and 0.5 < surest.gradcam.max() <= 1
    assert 0 <= surest.heat_outside_head <= 1


def test_7_performance_benchmark(model_folder: Path) -> None:
    """The command of docs/serving.md, for two seconds."""
    words = ("--clients", "2", "--seconds", "2", "--model-dir", str(model_folder))
    command = [sys.executable, "-m", "benchmarks.serving_load", *words]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    heading, _, row = (line for line in done.stdout.splitlines() if line.startswith("|"))
    names, cells = ([cell.strip() for cell in line.split("|")[1:-1]] for line in (heading, row))
    values = dict(zip(names, cells, strict=True))
    assert values["by status"].startswith("200: ") and float(values["answers per second"]) > 0
    p50, p95, p99 = (float(values[name].removesuffix(" ms")) for name in ("p50", "p95", "p99"))
    assert 0 < p50 <= p95 <= p99


def test_8_api_health(server: Server) -> None:
    health = server.client.get("/health")
    assert health.status_code == 200
    assert health.json()["live"] is True and health.json()["model_loaded"] is True
    assert server.client.get("/ready").json()["ready"] is True


def test_9_api_prediction(server: Server, predictor: MultiTaskPredictor, picture: bytes) -> None:
    """Over HTTP the answer is that of the predictor."""
    query = {"seg_threshold": 0, "include_gradcam": True}
    answer = server.client.post("/predict_multitask", files=upload(picture), params=query)
    assert answer.status_code == 200
    values, expected = answer.json(), predictor.predict_image(picture, **EVERY)
    assert values["tumour_probability"] == pytest.approx(expected.probability, abs=1e-6)
    assert values["label"] == expected.label
    assert values["segmentation"]["area_px"] == expected.segmentation.area_px
    assert values["segmentation"]["mask_png"] and values["gradcam_png"]
