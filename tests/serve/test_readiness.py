"""With and without a usable model: what /health, /ready and the predictions say; keys and headers."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from serving import ready_client, upload

from brainmtl.serve.app import create_app
from brainmtl.serve.settings import Settings


def settled(client: TestClient) -> Any:
    """The answer of /ready once loading has ended."""
    for _ in range(600):
        answer = client.get("/ready")
        if answer.status_code == 200 or answer.json()["reason"] != "model_loading":
            return answer
        time.sleep(0.1)
    raise AssertionError("still loading")


def check_not_ready(client: TestClient, picture: bytes, expected: str) -> None:
    ready = settled(client)
    assert (ready.status_code, ready.json()["reason"]) == (503, "no_model")
    assert expected in ready.json()["detail"]
    for method, path in (("POST", "/predict_multitask"), ("GET", "/model")):
        files = upload(picture) if method == "POST" else None
        answer = client.request(method, path, files=files)
        assert (answer.status_code, answer.json()["reason"]) == (503, "no_model")
        assert expected in answer.json()["detail"]
    health = client.get("/health")
    assert health.status_code == 200
    assert health.json()["live"] is True
    assert health.json()["model_loaded"] is False


def test_without_a_model_folder_the_server_lives_and_says_what_to_do(
    tmp_path: Path, picture: bytes
) -> None:
    settings = Settings(model_dir=tmp_path / "none", audit_log=tmp_path / "audit.jsonl")
    with TestClient(create_app(settings)) as client:
        check_not_ready(client, picture, "python -m brainmtl.export")
        assert "brainmtl_ready 0.0" in client.get("/metrics").text


@pytest.mark.parametrize("name", ["weights.safetensors", "operating_point.json", "config.json"])
def test_a_folder_that_was_changed_is_not_served(
    name: str, model_folder: Path, tmp_path: Path, picture: bytes
) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(model_folder, folder)
    data = bytearray((folder / name).read_bytes())
    data[-3] ^= 1
    (folder / name).write_bytes(data)
    settings = Settings(model_dir=folder, audit_log=tmp_path / "audit.jsonl")
    with TestClient(create_app(settings)) as client:
        check_not_ready(client, picture, name)


def test_ready_model_and_index(client: TestClient, model_folder: Path) -> None:
    ready = client.get("/ready").json()
    assert ready["ready"] is True
    model = client.get("/model").json()
    assert model["model"] == ready["model"]
    assert model["operating_point"]["temperature"] > 0
    assert model["card"]["intended_use"]
    assert str(model_folder) not in client.get("/model").text
    paths = {line.split()[1] for line in client.get("/").json()["endpoints"]}
    assert paths >= set(client.get("/openapi.json").json()["paths"]) - {"/"}


def test_key_is_asked_for_where_one_is_set(settings: Settings, picture: bytes) -> None:
    with ready_client(create_app(replace(settings, api_key="schlüssel"))) as client:
        for path in ("/health", "/ready", "/"):
            assert client.get(path).status_code == 200
        for key in (None, "", "schlussel", "schlüssel2"):
            headers = {} if key is None else {"X-API-Key": key.encode()}
            for answer in (
                client.get("/model", headers=headers),
                client.get("/metrics", headers=headers),
                client.post("/predict_multitask?seg_threshold=7", headers=headers),
            ):
                assert (answer.status_code, answer.json()["reason"]) == (401, "api_key")
        headers = {"X-API-Key": "schlüssel".encode()}
        assert client.get("/model", headers=headers).status_code == 200
        good = client.post("/predict_multitask", files=upload(picture), headers=headers)
        assert good.status_code == 200


def test_cors_is_off_unless_origins_are_named(client: TestClient, settings: Settings) -> None:
    asking = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in client.get("/health", headers=asking).headers
    assert client.options("/predict_multitask", headers=asking).status_code == 405
    app = create_app(replace(settings, cors_origins=("https://a.example",)))
    with ready_client(app) as other:
        allowed = other.options("/predict_multitask", headers=asking)
        assert allowed.headers["access-control-allow-origin"] == "https://a.example"
        asking["Origin"] = "https://b.example"
        assert "access-control-allow-origin" not in other.get("/health", headers=asking).headers


@pytest.mark.parametrize("sent", [None, "a" * 65, "two words", "x\x85y", ""])
def test_request_ids_that_could_confuse_a_log_are_replaced(
    client: TestClient, sent: str | None
) -> None:
    headers = {} if sent is None else {"X-Request-ID": sent.encode("latin-1")}
    ids = {client.get("/health", headers=headers).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2
    assert sent not in ids


def test_request_id_comes_back_with_answers_and_errors(client: TestClient) -> None:
    headers = {"X-Request-ID": "Case-7_b.2"}
    assert client.get("/health", headers=headers).headers["x-request-id"] == "Case-7_b.2"
    missing = client.get("/nothing", headers=headers)
    assert missing.status_code == 404
    assert missing.json()["request_id"] == missing.headers["x-request-id"] == "Case-7_b.2"
    assert missing.headers["x-content-type-options"] == "nosniff"
    wrong = client.get("/predict_multitask")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        ("/predict_multitask", "text/html", 406),
        ("/predict_multitask", "application/json;q=0, image/png;q=0", 406),
        ("/predict_batch", "image/png", 406),
        ("/predict_volume", "image/png", 406),
        ("/predict_multitask", "text/html, */*;q=0.1", 422),  # acceptable: then there is no file
    ],
)
def test_answers_that_nobody_accepts(
    client: TestClient, path: str, accept: str, status: int
) -> None:
    answer = client.post(path, headers={"Accept": accept}, files={"other": b"1"})
    assert answer.status_code == status


def test_metrics_count_what_happened(client: TestClient, picture: bytes) -> None:
    client.post("/predict_multitask", files=upload(picture))
    client.post("/predict_multitask", files=upload(b"text"))
    client.get("/some/path")
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }

    def requests(endpoint: str, status: str) -> float:
        labels = (("endpoint", endpoint), ("status", status))
        return samples[("brainmtl_requests_total", *labels)]

    assert requests("/predict_multitask", "200") == 1
    assert requests("/predict_multitask", "415") == 1
    assert requests("other", "404") == 1
    key = ("brainmtl_request_seconds_count", ("endpoint", "/predict_multitask"))
    assert samples[key] == 2
    assert samples[("brainmtl_ready",)] == 1
    info = next(dict(key[1:]) for key in samples if key[0] == "brainmtl_model_info")
    assert info["weights_sha256"] == client.get("/model").json()["model"]["weights_sha256"]
