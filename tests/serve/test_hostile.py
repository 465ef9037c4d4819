"""Hostile uploads against a real process: answered with 4xx, without trace, without growing."""

from __future__ import annotations

from pathlib import Path

import hostile
import pytest
from serving import Server

MAX_GROWTH = 50 << 20


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.soak)])
def test_hostile_uploads(count: int, model_folder: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    settings = {"BRAINMTL_MAX_BODY_MB": str(hostile.BODY_LIMIT_MB), "TMPDIR": str(temporary)}
    wrong, seen, rss = [], set(), 0
    with Server.start(model_folder, tmp_path, **settings) as server:
        for number, upload in enumerate(hostile.uploads(count), start=1):
            answer = server.client.post(upload.path, **upload.request)
            seen.add(answer.status_code)
            if answer.status_code not in upload.expected:
                wrong.append((upload.kind, answer.status_code, answer.text[:300]))
            elif answer.status_code != 200:
                check_error(answer.json(), answer.headers["x-request-id"])
            if number == count // 10:
                rss = server.rss_bytes
        growth = server.rss_bytes - rss
        assert server.client.get("/health").json()["model_loaded"]
    assert not wrong
    assert seen >= {200, 413, 415, 422}
    assert growth <= MAX_GROWTH, f"{growth / 2**20:.0f} MiB"
    assert not list(temporary.iterdir())
    for text in (server.log.read_text(), server.audit.read_text()):
        for secret in ("Mr Patient", "passwd", "SAM", "Erika", "scan.", "a.png"):
            assert secret not in text


def check_error(body: dict[str, str], request_id: str) -> None:
    assert set(body) == {"error", "reason", "detail", "request_id"}
    assert body["request_id"] == request_id
    assert all(body.values())
    for leak in (" at 0x", "/tmp", "Traceback", "site-packages", "passwd"):
        assert leak not in body["detail"]


def test_every_kind_occurs_in_a_normal_run() -> None:
    assert {upload.kind for upload in hostile.uploads(100)} == set(hostile.KINDS)
