"""The page's client against the real application: states, answers, waiting, and batches in parts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hostile import encode
from serving import audit_lines, ready_client
from support import free_ports

from brainmtl.page import client as module
from brainmtl.page.client import (
    DOWN,
    LOADING,
    NO_MODEL,
    UP,
    Client,
    Options,
    ServiceError,
    start_command,
)
from brainmtl.serve.app import create_app
from brainmtl.serve.settings import Settings

ALWAYS = Options(seg_threshold=0.0)


def of(http: httpx.Client, sleep: Callable[[float], None] = lambda seconds: None) -> Client:
    return Client(http, sleep)


def test_up(client: Client) -> None:
    status = client.status()
    assert (status.state, status.detail) == (UP, "")
    model = client.model()
    assert model["model"]["version"] == status.version
    assert model["operating_point"]["seg_gate"] == 0.3


def test_loading_and_no_model(model_folder: Path, tmp_path: Path) -> None:
    settings = Settings(model_dir=tmp_path / "none", audit_log=tmp_path / "audit.jsonl")
    # Without its lifespan the application has not begun to load anything.
    assert of(TestClient(create_app(settings))).status().state == LOADING
    with TestClient(create_app(settings)) as http:
        while (status := of(http).status()).state == LOADING:
            pass
        assert status.state == NO_MODEL
        assert "python -m brainmtl.export" in status.detail
        with pytest.raises(ServiceError, match=r"brainmtl\.export") as raised:
            of(http).model()
        assert raised.value.reason == "no_model"


def test_down() -> None:
    (port,) = free_ports(1)
    client = Client.from_environment({"BRAINMTL_API_URL": f"http://127.0.0.1:{port}/"})
    status = client.status()
    assert status.state == DOWN
    assert f"http://127.0.0.1:{port}." in status.detail
    assert start_command(client.url) == f"uvicorn brainmtl.serve.app:app --port {port}"
    with pytest.raises(ServiceError) as raised:
        client.picture(b"", Options())
    assert (raised.value.status, raised.value.reason) == (None, "unreachable")
    items = list(client.batch([b"a", b"b"], Options()))
    assert [item["error"]["reason"] for item in items] == ["unreachable"] * 2


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[str]:
    """The address of a server that is another one."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_something_else_answers(foreign: str) -> None:
    client = Client.from_environment({"BRAINMTL_API_URL": foreign})
    assert client.status().state == DOWN
    assert "is not brainmtl" in client.status().detail
    assert "BRAINMTL_API_URL" in client.status().detail


def test_default_address_and_key(model_folder: Path, tmp_path: Path) -> None:
    assert Client.from_environment({}).url == "http://127.0.0.1:8000"
    settings = Settings(model_dir=model_folder, audit_log=tmp_path / "a.jsonl", api_key="secret")
    with ready_client(create_app(settings)) as http:
        assert of(http).status().state == UP
        with pytest.raises(ServiceError) as raised:
            of(http).model()
        assert (raised.value.status, raised.value.reason) == (401, "api_key")
        key = Client.from_environment({"BRAINMTL_API_KEY": "secret"})._http.headers["x-api-key"]
        http.headers["X-API-Key"] = key
        assert of(http).model()["stage"] == "joint"


def test_picture_and_its_options(client: Client, picture: bytes) -> None:
    plain = client.picture(picture, Options())
    assert plain["gradcam_png"] is None
    assert plain["thresholds"]["seg_gate"] == 0.3
    asked = client.picture(picture, Options(0.0, 0.9, gradcam=True))
    assert asked["segmentation"]["performed"] is True
    assert asked["gradcam_png"]
    assert (asked["thresholds"]["seg_gate"], asked["thresholds"]["cls"]) == (0.0, 0.9)
    with pytest.raises(ServiceError) as raised:
        client.picture(picture, Options(0.9, 0.2))
    assert (raised.value.status, raised.value.reason) == (422, "invalid_parameter")
    with pytest.raises(ServiceError) as raised:
        client.picture(b"text", Options())
    assert (raised.value.status, raised.value.reason) == (415, "not_an_image")
    assert raised.value.request_id


def test_volume_comes_with_its_mask(client: Client, volume: bytes) -> None:
    answer = client.volume(volume, ALWAYS)
    assert len(answer["slices"]) == 6
    assert answer["mask_nifti_gz"]


def test_busy_service_is_asked_again(app: FastAPI, client: Client, picture: bytes) -> None:
    worker = app.state.service.worker
    waited: list[float] = []
    told: list[int] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            worker.admitted = 0

    worker.admitted = worker.capacity
    patient = Client(client._http, sleep)
    assert patient.picture(picture, Options(), told.append)["abstained"] is False
    assert len(waited) == 2
    assert told == waited
    assert min(waited) >= 1


def test_patience_ends(app: FastAPI, client: Client, picture: bytes) -> None:
    worker = app.state.service.worker
    waited: list[float] = []
    worker.admitted = worker.capacity
    try:
        with pytest.raises(ServiceError) as raised:
            Client(client._http, waited.append).picture(picture, Options())
    finally:
        worker.admitted = 0
    assert raised.value.reason == "overloaded"
    assert 0 < sum(waited) <= module.PATIENCE_S


def test_batch_in_several_requests(app: FastAPI, client: Client, plane: np.ndarray) -> None:
    pictures = [encode(np.roll(plane, k, axis=0)) for k in range(module.BATCH_FILES + 3)]
    pictures[1] = b"text"
    items = list(client.batch(pictures, ALWAYS))
    assert [item["index"] for item in items] == list(range(len(pictures)))
    assert [item["ok"] for item in items] == [k != 1 for k in range(len(pictures))]
    assert items[1]["error"]["reason"] == "not_an_image"
    for k in (0, module.BATCH_FILES):
        alone = client.picture(pictures[k], ALWAYS)
        assert items[k]["result"]["tumour_probability"] == pytest.approx(
            alone["tumour_probability"], abs=1e-5
        )
    lines = audit_lines(app.state.service.settings.audit_log)[-len(pictures) - 2 : -2]
    assert len({line["request_id"] for line in lines}) == 2


def test_batch_above_the_limits_is_halved(model_folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    small = [encode(rng.integers(0, 255, (80, 80), np.uint8)) for _ in range(5)]  # 6 kB each
    large = encode(rng.integers(0, 255, (200, 200), np.uint8))  # 40 kB
    settings = Settings(
        model_dir=model_folder, audit_log=tmp_path / "audit.jsonl", max_body_mb=0.015
    )
    with ready_client(create_app(settings)) as http:
        items = list(of(http).batch([*small[:3], large, *small[3:]], Options()))
    assert [item["ok"] for item in items] == [True, True, True, False, True, True]
    assert items[3]["error"]["reason"] == "body_too_large"
    assert [item["index"] for item in items] == list(range(6))


def test_batch_keeps_what_was_answered(app: FastAPI, client: Client, picture: bytes) -> None:
    worker = app.state.service.worker
    items = []
    try:
        for item in client.batch([picture] * (module.BATCH_FILES + 2), ALWAYS):
            items.append(item)
            if len(items) == module.BATCH_FILES:
                worker.admitted = worker.capacity
    finally:
        worker.admitted = 0
    assert [item["ok"] for item in items] == [True] * module.BATCH_FILES + [False] * 2
    assert {item["error"]["reason"] for item in items[module.BATCH_FILES :]} == {"overloaded"}


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([1], [(0, 1)]),
        ([1] * 9, [(0, 8), (8, 9)]),
        ([20 << 20, 20 << 20, 1], [(0, 1), (1, 3)]),
        ([100 << 20, 1, 100 << 20], [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_requests_hold_few_files_and_bytes(
    sizes: list[int], expected: list[tuple[int, int]]
) -> None:
    assert list(module._chunks(sizes)) == expected
