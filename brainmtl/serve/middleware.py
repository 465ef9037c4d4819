"""Around every request: its id, its figures, headers, and an answer where code has failed."""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brainmtl.serve.errors import error_body
from brainmtl.serve.metrics import Metrics
from brainmtl.serve.worker import ClientGoneError

LOG = logging.getLogger("uvicorn.error")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")  # safe in logs; others are replaced
CLIENT_GONE = 499  # as nginx counts it: nobody reads this answer
HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


class Observed:
    """ASGI middleware, the outermost."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope).get("x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id
        start, status = time.perf_counter(), 0

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update({"X-Request-ID": request_id, **HEADERS})
            await send(message)

        try:
            await self.app(scope, receive, observed_send)
        except ClientGoneError:
            status = CLIENT_GONE
        except Exception:
            LOG.exception("request %s failed", request_id)
            if status:  # the answer has begun
                raise
            detail = f"An error of this server: report it with the request id {request_id}."
            body = error_body(request_id, 500, "internal", detail)
            await JSONResponse(body, 500)(scope, receive, observed_send)
        finally:
            self.metrics.observe(
                _endpoint(scope), status or CLIENT_GONE, time.perf_counter() - start
            )


def _request_id(sent: str | None) -> str:
    return sent if sent and REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex


def _endpoint(scope: dict[str, Any]) -> str:
    """The route's path; one word for all others, so that the figures do not grow without bound."""
    return getattr(scope.get("route"), "path", "other")
