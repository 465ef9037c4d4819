"""Errors as answers: one body for all of them, with a word for programs and a sentence for people."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from brainmtl.serve.schemas import ErrorBody

EXAMPLES = {
    400: ("malformed_multipart", "The body is no readable multipart/form-data."),
    401: ("api_key", "Send the key of this server in the header X-API-Key."),
    406: ("not_acceptable", "This answer exists as application/json or image/png."),
    408: ("upload_too_slow", "The body did not arrive within 60 s."),
    413: ("body_too_large", "The body is larger than 64 MB, the limit of this server."),
    415: ("not_an_image", "The file is no picture that can be read. Formats: PNG, JPEG, ..."),
    422: ("truncated", "The picture is cut off. Export or upload it again."),
    503: ("overloaded", "17 requests are being served or waiting. Try again in 3 s."),
}


class ApiError(Exception):
    """An answer that is no success: HTTP ``status``, ``reason`` (a word for programs), ``detail`` (a
    sentence with the remedy) and extra ``headers``."""

    def __init__(
        self, status: int, reason: str, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.headers = headers or {}


def error_body(request_id: str, status: int, reason: str, detail: str) -> dict[str, Any]:
    """The JSON body of every error."""
    phrase = HTTPStatus(status).phrase
    return ErrorBody(error=phrase, reason=reason, detail=detail, request_id=request_id).model_dump()


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Entries of ``responses=`` for OpenAPI: the body and an example per status."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        body = error_body("6f1c0f0e5a3b4a6c9d53c1f1f0c2a9be", status, *EXAMPLES[status])
        found[status] = {
            "model": ErrorBody,
            "description": HTTPStatus(status).phrase,
            "content": {"application/json": {"example": body}},
        }
        if status == 503:
            found[status]["headers"] = {
                "Retry-After": {
                    "description": "Seconds after which to try again, where trying again may help",
                    "schema": {"type": "string"},
                }
            }
    return found


def install_handlers(app: FastAPI) -> None:
    """Give every error that the routes or the framework raise the one body."""

    def answer(
        request: Request, status: int, reason: str, detail: str, headers: Any = None
    ) -> JSONResponse:
        body = error_body(request.state.request_id, status, reason, detail)
        return JSONResponse(body, status, headers=dict(headers or {}))

    @app.exception_handler(ApiError)
    async def own(request: Request, error: ApiError) -> JSONResponse:
        return answer(request, error.status, error.reason, error.detail, error.headers)

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> JSONResponse:
        reason = HTTPStatus(error.status_code).name.lower()
        detail = f"{error.detail}: {request.method} {request.url.path}. GET / lists what there is."
        return answer(request, error.status_code, reason, detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def parameters(request: Request, error: RequestValidationError) -> JSONResponse:
        found = [f"{' '.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        return answer(request, 422, "invalid_parameter", "; ".join(found))
