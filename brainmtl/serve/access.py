"""What routes ask of a request: the service, the key, and no parameters but their own."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader

from brainmtl.serve.errors import ApiError
from brainmtl.serve.service import Service

_HEADER = APIKeyHeader(
    name="X-API-Key", auto_error=False, description="Where the server has BRAINMTL_API_KEY set"
)


def service_of(request: Request) -> Service:
    """The service of this application."""
    return request.app.state.service


Serving = Annotated[Service, Depends(service_of)]


def require_key(service: Serving, key: Annotated[str | None, Security(_HEADER)]) -> None:
    """Refuse requests without the key, where one is set.

    Raises:
        ApiError: 401.
    """
    wanted = service.settings.api_key
    if wanted is None:
        return
    # In constant time, so that the time of the answer tells nothing of the key.
    if not hmac.compare_digest((key or "").encode("latin-1"), wanted.encode()):
        raise ApiError(
            401,
            "api_key",
            "Send the key of this server in the header X-API-Key.",
            {"WWW-Authenticate": "ApiKey"},
        )


def require_known_parameters(request: Request) -> None:
    """Refuse query parameters that the route does not have: one that is misspelt would change nothing.

    Raises:
        ApiError: 422.
    """
    known = [field.alias for field in request.scope["route"].dependant.query_params]
    unknown = sorted(set(request.query_params) - set(known))
    if unknown:
        detail = (
            f"{request.url.path} has no parameter {', '.join(unknown)}. It has: {', '.join(known)}."
        )
        raise ApiError(422, "invalid_parameter", detail)
