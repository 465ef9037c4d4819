"""More work than the server can do, and clients that are slow, endless or gone."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asgi import RawRequest, form, leaves, occupied, part_of_body, running, until
from serving import audit_lines, upload

from brainmtl.serve import limits
from brainmtl.serve.app import create_app
from brainmtl.serve.settings import Settings

CHUNK = 1 << 16


def test_a_full_queue_answers_at_once_and_the_others_are_served(
    settings: Settings, picture: bytes
) -> None:
    app = create_app(replace(settings, queue=2))
    worker = app.state.service.worker

    async def scenario() -> None:
        async with running(app) as client:
            async with occupied(app) as release:
                waiting = [
                    asyncio.ensure_future(client.post("/predict_multitask", files=upload(picture)))
                    for _ in range(3)
                ]
                await until(lambda: worker.admitted == 3)
                start = time.perf_counter()
                async with asyncio.timeout(60):
                    refused = await client.post("/predict_multitask", files=upload(picture))
                health = await client.get("/health")
                seconds = time.perf_counter() - start
                metrics = (await client.get("/metrics")).text
                assert not any(request.done() for request in waiting)
                release()
                answers = await asyncio.gather(*waiting)
            assert (refused.status_code, refused.json()["reason"]) == (503, "overloaded")
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            assert health.json()["model_loaded"] is True
            assert seconds < 2  # the three that wait would take until they are released
            assert "brainmtl_queue_length 3.0" in metrics
            assert [answer.status_code for answer in answers] == [200] * 3
            assert worker.admitted == 0

    asyncio.run(scenario())


def test_refused_before_the_body_is_read(settings: Settings) -> None:
    """A body of an overloaded server stays with its client: nothing asks for it."""
    app = create_app(replace(settings, queue=0))

    async def never() -> AsyncIterator[dict[str, Any]]:
        raise AssertionError("the body was read")
        yield {}

    async def scenario() -> None:
        async with running(app), occupied(app), app.state.service.worker.admit():
            request = RawRequest(app, never())
            await request.run()
            assert request.status == 503

    asyncio.run(scenario())


def test_a_client_that_leaves_takes_its_waiting_job_along(
    settings: Settings, picture: bytes
) -> None:
    app = create_app(settings)
    service = app.state.service

    async def scenario() -> None:
        async with running(app) as client:
            async with occupied(app):
                left = asyncio.Event()
                body = leaves(left.wait(), part_of_body(form(picture), more=False))
                request = RawRequest(app, body)
                task = asyncio.ensure_future(request.run())
                await until(lambda: service.worker.admitted == 1)
                left.set()
                async with asyncio.timeout(60):
                    await task  # although the worker is still occupied
                assert service.worker.admitted == 0
                assert request.sent == []
            await client.post("/predict_multitask", files=upload(picture))
            assert 'status="499"} 1.0' in (await client.get("/metrics")).text
        assert len(audit_lines(settings.audit_log)) == 1  # that of the client that stayed

    asyncio.run(scenario())


def test_a_client_that_leaves_while_it_sends(settings: Settings, picture: bytes) -> None:
    app = create_app(settings)

    async def scenario() -> None:
        async with running(app):
            request = RawRequest(app, leaves(None, part_of_body(form(picture)[:500])))
            await request.run()
            assert request.sent == []
            assert app.state.service.worker.admitted == 0

    asyncio.run(scenario())


def test_an_endless_body_is_cut_off_at_the_cap(settings: Settings) -> None:
    """Chunked, without Content-Length: the cap counts what comes."""
    app = create_app(replace(settings, max_body_mb=1))
    taken = 0

    async def endless() -> AsyncIterator[dict[str, Any]]:
        nonlocal taken
        yield part_of_body(form(b"")[:80])
        while True:
            taken += CHUNK
            assert taken < 100 << 20, "endless indeed"
            yield part_of_body(bytes(CHUNK))

    async def scenario() -> None:
        async with running(app):
            request = RawRequest(app, endless())
            await request.run()
            assert request.status == 413
            assert b"body_too_large" in request.sent[1]["body"]
            assert taken <= (1 << 20) + 2 * CHUNK

    asyncio.run(scenario())


def test_an_announced_length_is_refused_before_anything_is_read(settings: Settings) -> None:
    app = create_app(replace(settings, max_body_mb=1))

    async def never() -> AsyncIterator[dict[str, Any]]:
        raise AssertionError("the body was read")
        yield {}

    async def scenario() -> None:
        async with running(app):
            length = ((b"content-length", str((1 << 20) + 1).encode()),)
            request = RawRequest(app, never(), headers=length)
            await request.run()
            assert request.status == 413

    asyncio.run(scenario())


def test_nothing_of_a_body_is_spooled_to_disk(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a body was written to disk")

    app = create_app(settings)

    async def scenario() -> None:
        async with running(app) as client:
            monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
            answer = await client.post("/predict_multitask", files=upload(bytes(5 << 20)))
            assert answer.status_code == 415

    asyncio.run(scenario())


def test_a_slow_upload_does_not_hold_its_place(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UPLOAD_SECONDS", 0.2)
    app = create_app(settings)

    async def dripping() -> AsyncIterator[dict[str, Any]]:
        for byte in form(bytes(1000)):
            yield part_of_body(bytes([byte]))
            await asyncio.sleep(0.05)

    async def scenario() -> None:
        async with running(app):
            request = RawRequest(app, dripping())
            await request.run()
            assert request.status == 408
            assert app.state.service.worker.admitted == 0

    asyncio.run(scenario())


def test_volumes_leave_no_file_behind(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    app = create_app(settings)

    async def scenario() -> None:
        async with running(app) as client:
            from hostile import header

            good_header = header((40, 40, 8)) + bytes(40 * 40 * 8 * 4)  # blank
            for data in (good_header, good_header[:1000], b"text"):
                await client.post("/predict_volume", files=upload(data))
        assert not list(folder.iterdir())

    asyncio.run(scenario())
