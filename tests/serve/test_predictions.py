"""The answers of a real application are what the predictor says, in JSON and as PNG."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tiny
from fastapi.testclient import TestClient
from hostile import encode
from PIL import Image
from serving import audit_lines, ready_client, upload

from brainmtl.inference.predictor import MultiTaskPredictor
from brainmtl.serve.app import create_app
from brainmtl.serve.audit import AuditLog
from brainmtl.serve.settings import Settings

PNG = {"Accept": "image/png"}
# Of a network as tiny as this one P may be anything: the gate decides whether a mask is made.
ALWAYS, NEVER = {"seg_threshold": 0}, {"seg_threshold": 0.9998, "cls_threshold": 0.9999}


@pytest.fixture(scope="module")
def app_client(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    log = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    with ready_client(create_app(Settings(model_dir=model_folder, audit_log=log))) as client:
        yield client


@pytest.fixture(scope="module")
def predictor(model_folder: Path) -> MultiTaskPredictor:
    return MultiTaskPredictor.from_folder(model_folder)


@pytest.fixture(scope="module")
def volume() -> bytes:
    """A NIfTI volume (.nii) of the kind that the tiny network was trained on, with a bright ball."""
    planes = np.stack([tiny.head((44, 52), seed) for seed in range(6)], axis=2)
    for k in (2, 3):
        planes[..., k][tiny.disc((44, 52), (18, 30), 8)] += 80
    affine = np.diag([1.0, 1.5, 3.0, 1.0])
    return nib.Nifti1Image(planes.astype(np.float32), affine).to_bytes()


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def post(client: TestClient, data: bytes, path: str = "/predict_multitask", **options: Any) -> Any:
    return client.post(path, files=upload(data), **options)


def test_picture_is_what_the_predictor_says(
    app_client: TestClient, predictor: MultiTaskPredictor, picture: bytes
) -> None:
    answer = post(app_client, picture, params=ALWAYS | {"include_gradcam": True})
    assert answer.status_code == 200
    values = answer.json()
    expected = predictor.predict_image(picture, include_gradcam=True, seg_gate=0.0)
    assert values["tumour_probability"] == pytest.approx(expected.probability)
    assert values["label"] == expected.label
    assert values["confidence_band"] == dict(expected.band)
    assert values["thresholds"] == dict(expected.thresholds)
    assert values["segmentation"]["area_px"] == expected.segmentation.area_px
    mask = pixels(base64.b64decode(values["segmentation"]["mask_png"]))
    np.testing.assert_array_equal(mask, 255 * expected.segmentation.mask)
    heat = pixels(base64.b64decode(values["gradcam_png"]))
    np.testing.assert_array_equal(heat, np.rint(255 * expected.gradcam))
    assert values["original_size"] == list(mask.shape) == [96, 80]
    assert values["model"]["weights_sha256"] == predictor.info.weights_sha256
    assert values["request_id"] == answer.headers["x-request-id"]
    assert "not a medical device" in values["disclaimer"]
    steps = {"upload", "queue", "decode", "preprocess", "encoder", "decoder", "postprocess"}
    assert steps | {"gradcam", "total", "encode"} <= set(values["timings_ms"])


def test_no_mask_and_no_heat_unless_asked_for(app_client: TestClient, picture: bytes) -> None:
    values = post(app_client, picture, params=NEVER).json()
    assert values["segmentation"]["performed"] is False
    assert values["segmentation"]["mask_png"] is None
    assert values["segmentation"]["reason"]
    assert values["gradcam_png"] is None


def test_a_photograph_is_answered_with_an_abstention(app_client: TestClient) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    answer = post(app_client, encode(noise))
    values = answer.json()
    assert answer.status_code == 200
    assert values["abstained"] is True
    assert values["reason_code"] == "colour_photograph"
    assert values["tumour_probability"] is values["label"] is values["confidence_band"] is None
    refused = post(app_client, encode(noise), headers=PNG)
    assert (refused.status_code, refused.json()["reason"]) == (406, "no_mask")
    assert "coloured" in refused.json()["detail"]


def test_png_is_the_mask_or_the_overlay(app_client: TestClient, picture: bytes) -> None:
    shown = post(app_client, picture, params=ALWAYS, headers=PNG)
    assert shown.headers["content-type"] == "image/png"
    values = post(app_client, picture, params=ALWAYS).json()
    assert shown.content == base64.b64decode(values["segmentation"]["mask_png"])
    nothing = post(app_client, picture, params=NEVER, headers=PNG)
    assert (nothing.status_code, nothing.json()["reason"]) == (406, "no_mask")
    overlay = post(app_client, picture, params=NEVER | {"include_gradcam": True}, headers=PNG)
    assert overlay.headers["content-type"] == "image/png"
    assert pixels(overlay.content).shape == (96, 80, 3)


def test_overlay_in_strips_is_that_of_the_command_line(tumour_plane: np.ndarray) -> None:
    from matplotlib import colormaps

    from brainmtl.inference.overlay import HEAT_OPACITY, STRIP_ROWS, grey_picture, heat_overlay
    from brainmtl.serve.encoding import overlay_png

    plane = np.tile(tumour_plane, (7, 1))
    assert len(plane) > 2 * STRIP_ROWS
    heat = np.random.default_rng(0).random(plane.shape, dtype=np.float32)
    opacity = HEAT_OPACITY * heat[..., None]  # in one piece
    colours = colormaps["inferno"](heat)[..., :3] * 255
    luminance = plane.astype(np.float32)
    expected = np.rint((1 - opacity) * grey_picture(luminance) + opacity * colours)
    np.testing.assert_array_equal(heat_overlay(luminance, heat), expected)
    np.testing.assert_array_equal(pixels(overlay_png(encode(plane), heat)), expected)


def test_turned_by_exif_is_answered_upright(app_client: TestClient, tumour_plane: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(np.rot90(tumour_plane), "JPEG", exif=exif, quality=95)
    values = post(app_client, turned, params=ALWAYS).json()
    assert values["original_size"] == [96, 80]
    assert pixels(base64.b64decode(values["segmentation"]["mask_png"])).shape == (96, 80)


def test_batch_answers_each_picture_as_alone(
    app_client: TestClient, picture: bytes, tumour_plane: np.ndarray
) -> None:
    pictures = [picture, b"text", encode(tumour_plane[:, ::-1]), picture[:300], b""]
    pictures += [encode(tumour_plane[::-1])] * 3
    files = [("files", ("scan", data)) for data in pictures]
    answer = app_client.post("/predict_batch", files=files, params=ALWAYS).json()
    items = answer["results"]
    assert [item["index"] for item in items] == list(range(8))
    assert [item["ok"] for item in items] == [True, False, True, False, False, True, True, True]
    reasons = [item["error"]["reason"] for item in items if not item["ok"]]
    assert reasons == ["not_an_image", "truncated", "not_an_image"]
    for item, data in zip(items, pictures, strict=True):
        if item["ok"]:
            alone, batched = post(app_client, data, params=ALWAYS).json(), item["result"]
            p = alone["tumour_probability"]
            assert batched["tumour_probability"] == pytest.approx(p, abs=1e-5)
            assert batched["segmentation"] == alone["segmentation"]
    lines = audit_lines(app_client.app.state.service.audit.path)
    lines = [line for line in lines if line["request_id"] == answer["request_id"]]
    digests = [hashlib.sha256(data).hexdigest() for data in pictures]
    assert [line["input_sha256"] for line in lines] == digests


@pytest.mark.parametrize(
    ("path", "misspelt"),
    [("/predict_multitask", "treshold"), ("/predict_volume", "include_gradcam")],
)
def test_unknown_parameter_is_refused(
    app_client: TestClient, picture: bytes, path: str, misspelt: str
) -> None:
    answer = post(app_client, picture, path, params={misspelt: 0.2})
    assert (answer.status_code, answer.json()["reason"]) == (422, "invalid_parameter")
    detail = answer.json()["detail"]
    assert detail.startswith(f"{path} has no parameter {misspelt}. It has: ")
    assert "seg_threshold, cls_threshold" in detail


def test_batch_is_limited_in_files_and_pixels(app_client: TestClient, picture: bytes) -> None:
    many = app_client.post("/predict_batch", files=[("files", ("scan", picture))] * 33)
    assert (many.status_code, many.json()["reason"]) == (413, "too_many_files")
    large = encode(np.zeros((5000, 5000), np.uint8))
    wide = app_client.post("/predict_batch", files=[("files", ("scan", large))] * 2)
    assert (wide.status_code, wide.json()["reason"]) == (413, "too_large")


def test_volume_is_what_the_predictor_says(
    app_client: TestClient, predictor: MultiTaskPredictor, volume: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(volume)
    expected = predictor.predict_volume(path, seg_gate=0.0)
    options = {"path": "/predict_volume", "params": ALWAYS | {"include_mask": True}}
    gz = gzip.compress(volume)
    plain, packed = (post(app_client, data, **options) for data in (volume, gz))
    assert plain.status_code == packed.status_code == 200
    values = plain.json()
    for name in ("probability", "label", "volume_ml", "slices", "mask_nifti_gz", "warnings"):
        assert values[name] == packed.json()[name]
    assert values["label"] == expected.label
    assert values["probability"] == pytest.approx(expected.probability)
    assert values["volume_ml"] == pytest.approx(expected.volume_ml)
    assert [s["index"] for s in values["slices"]] == [s.index for s in expected.slices]
    assert len(values["slices"]) == 6
    image = nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(values["mask_nifti_gz"])))
    np.testing.assert_array_equal(np.asarray(image.dataobj), expected.mask)
    np.testing.assert_allclose(image.affine, expected.affine)
    assert post(app_client, volume, path="/predict_volume").json()["mask_nifti_gz"] is None
    line = audit_lines(app_client.app.state.service.audit.path)[-2]
    assert line["input_sha256"] == hashlib.sha256(gz).hexdigest()


def test_audit_line_tells_the_decision_and_nothing_else(
    client: TestClient, settings: Settings, picture: bytes
) -> None:
    sent = {"X-Request-ID": "reading-room_7.1"}
    files = {"file": ("Erika_Mustermann.png", picture, "image/png")}
    values = client.post("/predict_multitask", files=files, headers=sent, params=ALWAYS).json()
    post(client, b"text", headers=sent)
    assert settings.audit_log.stat().st_mode & 0o077 == 0
    answered, refused = audit_lines(settings.audit_log)
    assert answered.pop("time").endswith("+00:00")
    assert 0 < answered.pop("duration_ms") < 60_000
    assert answered == {
        "request_id": "reading-room_7.1",
        "endpoint": "/predict_multitask",
        "input_sha256": hashlib.sha256(picture).hexdigest(),
        "model": values["model"]["name"],
        "model_weights_sha256": values["model"]["weights_sha256"],
        "runtime": {"name": "eager", "precision": "32", "device": "cpu"},
        "decision": {
            "label": values["label"],
            "probability": values["tumour_probability"],
            "abstained": False,
            "reason": None,
            "segmented": True,
            "area_px": values["segmentation"]["area_px"],
        },
        "thresholds": values["thresholds"],
    }
    assert refused["decision"] == {"rejected": "not_an_image", "status": 415}
    assert refused["input_sha256"] == hashlib.sha256(b"text").hexdigest()


def test_no_decision_leaves_without_its_audit_line(model_folder: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    settings = Settings(model_dir=model_folder, audit_log=blocked / "audit.jsonl")
    with ready_client(create_app(settings)) as client:
        answer = post(client, encode(tiny.head((96, 80), 1).astype(np.uint8)))
    assert (answer.status_code, answer.json()["reason"]) == (503, "audit_log")


def test_a_line_after_one_that_a_full_disk_cut_off_stands_alone(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    log.path.write_text('{"time": "2026-11-30T07:4')
    for number in range(2):
        log.finish(log.begin([{"number": number}]))
    log.close()
    _, *whole = log.path.read_text().splitlines()
    assert [json.loads(line)["number"] for line in whole] == [0, 1]
