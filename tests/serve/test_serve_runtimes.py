"""The service by another runtime: the same answers, and it says what answers."""

from __future__ import annotations

import base64
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from serving import ready_client, upload

from brainmtl.export import export
from brainmtl.inference.runtimes.choice import TOLERANCES
from brainmtl.serve.app import create_app
from brainmtl.serve.settings import Settings

OPEN = "/predict_multitask?include_gradcam=true&seg_threshold=0"


@pytest.fixture(scope="module")
def onnx_folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of ``model_folder`` with its graphs."""
    checkpoint = model_folder.parent / "joint/checkpoints/best.ckpt"
    return export(checkpoint, tmp_path_factory.mktemp("onnx") / "model", ood=False, onnx=True)


def plane(encoded: str) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(base64.b64decode(encoded)))).astype(int)


def test_onnx_answers_as_eager(
    client: TestClient, settings: Settings, onnx_folder: Path, picture: bytes
) -> None:
    expected = client.post(OPEN, files=upload(picture)).json()
    told = client.get("/model").json()["runtime"]
    assert (told["name"], told["precision"], told["measured_ms"]) == ("eager", "32", {})
    app = create_app(replace(settings, model_dir=onnx_folder, runtime="onnx"))
    with ready_client(app) as other:
        assert other.get("/model").json()["runtime"]["name"] == "onnx"
        found = other.post(OPEN, files=upload(picture)).json()
    limit = TOLERANCES["32"]
    assert found["tumour_probability"] == pytest.approx(expected["tumour_probability"], abs=limit)
    assert found["label"] == expected["label"]
    masks = [plane(one["segmentation"]["mask_png"]) for one in (found, expected)]
    assert masks[1].any() and np.mean(masks[0] != masks[1]) < limit
    heats = [plane(one["gradcam_png"]) for one in (found, expected)]
    assert np.abs(heats[0] - heats[1]).max() <= 1


def test_auto_tells_what_it_measured(settings: Settings, onnx_folder: Path) -> None:
    with ready_client(create_app(replace(settings, model_dir=onnx_folder))) as client:
        told = client.get("/model").json()["runtime"]
    assert {"eager", "onnx"} <= set(told["measured_ms"]) and told["name"] in told["measured_ms"]
    assert told["differences"]["onnx"] <= TOLERANCES["32"]


def test_a_runtime_that_the_folder_cannot_serve_is_told(
    settings: Settings,
) -> None:
    with TestClient(create_app(replace(settings, runtime="onnx"))) as client:
        for _ in range(600):
            answer = client.get("/ready").json()
            if answer["reason"] != "model_loading":
                break
            time.sleep(0.1)
    assert answer["reason"] == "no_model" and "onnx=true" in answer["detail"]
