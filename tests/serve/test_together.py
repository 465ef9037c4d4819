"""Requests that wait are answered together, each as if it were alone."""

from __future__ import annotations

import asyncio
import base64
import io
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from asgi import RawRequest, form, leaves, occupied, part_of_body, running, until
from fastapi import FastAPI
from hostile import encode
from PIL import Image
from serving import audit_lines, upload

from brainmtl.errors import DataError
from brainmtl.inference.network import Encoded, Network
from brainmtl.serve import jobs
from brainmtl.serve.app import create_app
from brainmtl.serve.settings import Settings

PATH = "/predict_multitask"
# Of a network as tiny as this one P may be anything: the gate decides whether a mask is made.
ALWAYS, NEVER = {"seg_threshold": 0}, {"seg_threshold": 0.9998, "cls_threshold": 0.9999}
HEAT = {"include_gradcam": True}


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each encoder pass had."""
    sizes, encode = [], Network.encode

    def counted(self: Network, images: np.ndarray, tta: str = "none") -> Encoded:
        sizes.append(len(images))
        return encode(self, images, tta)

    monkeypatch.setattr(Network, "encode", counted)
    return sizes


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return create_app(replace(settings, max_batch=8))


async def while_busy(
    app: FastAPI, client: httpx.AsyncClient, requests: list[tuple[bytes, dict[str, Any]]]
) -> list[httpx.Response]:
    """Answers to requests (file, options of post) all of which wait when the worker gets free."""
    worker = app.state.service.worker
    async with occupied(app) as release:
        sent = []
        for number, (data, options) in enumerate(requests, 1):
            sent.append(asyncio.ensure_future(client.post(PATH, files=upload(data), **options)))
            await until(lambda n=number: len(worker._waiting) == n)  # in the given order
        release()
        return await asyncio.gather(*sent)


def pixels(png: str | bytes) -> np.ndarray:
    data = base64.b64decode(png) if isinstance(png, str) else png
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


def assert_same(found: httpx.Response, alone: httpx.Response) -> None:
    """But for the last digits that a batch may change, and the times."""
    assert found.status_code == alone.status_code
    assert found.headers["content-type"] == alone.headers["content-type"]
    if found.headers["content-type"] == "image/png":
        assert (pixels(found.content) != pixels(alone.content)).mean() < 1e-3
        return
    one, other = found.json(), alone.json()
    if "tumour_probability" not in one:
        assert {**one, "request_id": ""} == {**other, "request_id": ""}
        return
    for name in ("label", "confidence_band", "abstained", "reason", "warnings", "thresholds"):
        assert one[name] == other[name], name
    if not one["abstained"]:
        assert one["tumour_probability"] == pytest.approx(other["tumour_probability"], abs=1e-5)
    shown, expected = one["segmentation"], other["segmentation"]
    assert shown["performed"] == expected["performed"]
    if shown["performed"]:
        assert (pixels(shown["mask_png"]) != pixels(expected["mask_png"])).mean() < 1e-3
    assert (one["gradcam_png"] is None) == (other["gradcam_png"] is None)
    if one["gradcam_png"]:
        assert np.abs(pixels(one["gradcam_png"]) - pixels(other["gradcam_png"])).max() <= 1


def test_mixed_requests_are_answered_as_each_alone(
    app: FastAPI, settings: Settings, picture: bytes, tumour_plane: np.ndarray, encoded: list[int]
) -> None:
    """With and without mask and heat map, as PNG, abstained, damaged, and with thresholds that clash."""
    photograph = encode(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8))
    png = {"headers": {"Accept": "image/png"}}
    requests = [
        (picture, {"params": ALWAYS | HEAT}),
        (encode(tumour_plane[::-1].copy()), {"params": NEVER}),
        (picture[:300], {"params": ALWAYS}),
        (encode(tumour_plane[:, ::-1].copy()), {"params": ALWAYS, **png}),
        (photograph, {"params": HEAT}),
        (picture, {"params": {"seg_threshold": 0.9, "cls_threshold": 0.2}}),
        (picture, {"params": NEVER, **png}),  # 406: there is neither mask nor heat map
        (picture, {"params": NEVER | HEAT}),
    ]

    async def scenario() -> None:
        async with running(app) as client:
            encoded.clear()
            found = await while_busy(app, client, requests)
            assert encoded == [5]  # of eight, three never came to the network
            lines = audit_lines(settings.audit_log)
            alone = [await client.post(PATH, files=upload(d), **o) for d, o in requests]
        assert [answer.status_code for answer in found] == [200, 200, 422, 200, 200, 422, 406, 200]
        for one, other in zip(found, alone, strict=True):
            assert_same(one, other)
        performed = [found[k].json()["segmentation"]["performed"] for k in (0, 1, 7)]
        assert performed == [True, False, False]
        # a line each, in order, with the id of its request
        ids = [answer.headers["x-request-id"] for answer in found]
        assert [line["request_id"] for line in lines] == ids
        assert lines[2]["decision"] == {"rejected": "truncated", "status": 422}

    asyncio.run(scenario())


def test_no_more_than_the_limit_go_together(
    settings: Settings, picture: bytes, encoded: list[int]
) -> None:
    async def scenario(max_batch: int) -> list[int]:
        app = create_app(replace(settings, max_batch=max_batch))
        async with running(app) as client:
            encoded.clear()
            answers = await while_busy(app, client, [(picture, {})] * 5)
        assert [answer.status_code for answer in answers] == [200] * 5
        return list(encoded)

    assert asyncio.run(scenario(2)) == [2, 2, 1]
    assert asyncio.run(scenario(1)) == [1] * 5


def test_large_pictures_do_not_keep_others_waiting(
    app: FastAPI, picture: bytes, encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 96 * 80
    monkeypatch.setattr(jobs, "MAX_PIXELS_TOGETHER", 3 * size)
    large = encode(np.asarray(Image.open(io.BytesIO(picture)).resize((320, 384))))

    async def scenario() -> None:
        async with running(app) as client:
            encoded.clear()
            sent = [(picture, {}), (picture, {}), (large, {}), (picture, {})]
            answers = await while_busy(app, client, sent)
        assert [answer.json()["original_size"] for answer in answers][2] == [384, 320]
        assert encoded == [2, 1, 1]

    asyncio.run(scenario())


def test_a_picture_on_which_the_network_fails_fails_alone(
    app: FastAPI, picture: bytes, tumour_plane: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass that fails is run again for each; those that can be answered are, once."""
    encode_pass = Network.encode
    poisoned = encode(tumour_plane[::-1].copy())

    async def scenario() -> None:
        async with running(app) as client:
            seen: list[np.ndarray] = []

            def noting(self: Network, images: np.ndarray, tta: str = "none") -> Encoded:
                seen.append(images[0])
                return encode_pass(self, images, tta)

            monkeypatch.setattr(Network, "encode", noting)
            await client.post(PATH, files=upload(poisoned))

            def failing(self: Network, images: np.ndarray, tta: str = "none") -> Encoded:
                if any(np.array_equal(image, seen[0]) for image in images):
                    raise DataError("the model's output is NaN or infinite")
                return encode_pass(self, images, tta)

            monkeypatch.setattr(Network, "encode", failing)
            before = len(audit_lines(app.state.service.audit.path))
            sent = [(picture, {}), (poisoned, {}), (picture, {})]
            answers = await while_busy(app, client, sent)
        assert [answer.status_code for answer in answers] == [200, 500, 200]
        assert len(audit_lines(app.state.service.audit.path)) - before == 2

    asyncio.run(scenario())


def test_a_client_that_leaves_a_group_takes_its_job_along(
    app: FastAPI, settings: Settings, picture: bytes, encoded: list[int]
) -> None:
    service = app.state.service

    async def scenario() -> None:
        async with running(app) as client:
            encoded.clear()
            async with occupied(app) as release:
                left = asyncio.Event()
                body = leaves(left.wait(), part_of_body(form(picture), more=False))
                gone = asyncio.ensure_future(RawRequest(app, body).run())
                stays = [
                    asyncio.ensure_future(client.post(PATH, files=upload(picture)))
                    for _ in range(2)
                ]
                await until(lambda: len(service.worker._waiting) == 3)
                left.set()
                await gone
                release()
                answers = await asyncio.gather(*stays)
            assert [answer.status_code for answer in answers] == [200, 200]
            assert encoded == [2] and service.worker.admitted == 0
        assert len(audit_lines(settings.audit_log)) == 2

    asyncio.run(scenario())


def test_no_answer_of_a_group_leaves_without_its_line(
    app: FastAPI, settings: Settings, picture: bytes
) -> None:
    async def scenario() -> None:
        async with running(app) as client:
            settings.audit_log.mkdir()  # no file can be opened there
            answers = await while_busy(app, client, [(picture, {}), (picture, {"params": ALWAYS})])
        for answer in answers:
            assert (answer.status_code, answer.json()["reason"]) == (503, "audit_log")

    asyncio.run(scenario())
