"""``uvicorn brainmtl.serve.app:app --port 8000``: the service; docs/serving.md describes it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

import brainmtl
from brainmtl.serve.errors import install_handlers
from brainmtl.serve.middleware import Observed
from brainmtl.serve.predictions import predictions
from brainmtl.serve.service import Service
from brainmtl.serve.settings import Settings
from brainmtl.serve.status import status

DESCRIPTION = """Brain tumour in MRI: where is it, and is there one?

Research software, not a medical device: not for diagnosis or treatment."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application. Without a usable model folder it starts all the same, and says why it cannot
    predict; ``settings`` None takes those of the environment.

    Raises:
        ConfigError: a setting that cannot work.
    """
    service = Service(settings or Settings.from_environment())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="brainmtl",
        version=brainmtl.__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
    )
    app.state.service = service
    install_handlers(app)
    app.include_router(predictions)
    app.include_router(status)
    if service.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.settings.cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("X-API-Key", "X-Request-ID"),
            expose_headers=("X-Request-ID", "Retry-After"),
        )
    app.add_middleware(Observed, metrics=service.metrics)
    return app


app = create_app()
