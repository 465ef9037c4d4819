"""Requests to an application in this process, concurrent, or with a client that misbehaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI
from serving import START_S

BOUNDARY = "multipart/form-data; boundary=x"


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The application with its lifespan, ready, and a client of it."""
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            async with asyncio.timeout(START_S):
                while (await client.get("/ready")).status_code != 200:
                    await asyncio.sleep(0.05)
            yield client


@asynccontextmanager
async def occupied(app: FastAPI) -> AsyncIterator[Callable[[], None]]:
    """The worker's thread busy with a job that ends when the yielded function is called, or at the end
    of the block."""
    release = threading.Event()
    job = asyncio.ensure_future(app.state.service.worker.run(release.wait))
    try:
        yield release.set
    finally:
        release.set()
        await job


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def form(data: bytes, field_name: str = "file") -> bytes:
    """A multipart body with one file."""
    start = f'--x\r\nContent-Disposition: form-data; name="{field_name}"; filename="a"\r\n\r\n'
    return start.encode() + data + b"\r\n--x--\r\n"


@dataclass
class RawRequest:
    """One POST whose body comes from ``body``: chunks, or awaitables that give the next message."""

    app: FastAPI
    body: AsyncIterator[dict[str, Any]]
    path: str = "/predict_multitask"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    sent: list[dict[str, Any]] = field(default_factory=list)

    async def run(self) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"content-type", BOUNDARY.encode()), *self.headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
        }
        await self.app(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        return await anext(self.body)

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None


def part_of_body(data: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


async def leaves(after: Awaitable[Any] | None, *messages: dict[str, Any]) -> AsyncIterator[Any]:
    """A client that sends ``messages`` and closes the connection when ``after`` is done."""
    for message in messages:
        yield message
    if after is not None:
        await after
    yield {"type": "http.disconnect"}
