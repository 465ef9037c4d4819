"""The routes that tell of the server: health, readiness, model, metrics, index."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

import brainmtl
from brainmtl.inference.results import DISCLAIMER
from brainmtl.serve.access import Serving, require_key
from brainmtl.serve.encoding import model_answer
from brainmtl.serve.errors import documented
from brainmtl.serve.schemas import HealthAnswer, IndexAnswer, ModelCardAnswer, ReadyAnswer

status = APIRouter(tags=["status"])

ENDPOINTS = {
    "POST /predict_multitask": "one picture: probability, label, mask",
    "POST /predict_batch": "several pictures",
    "POST /predict_volume": "a NIfTI volume",
    "GET /health": "does the server live?",
    "GET /ready": "can it predict?",
    "GET /model": "the model and its card",
    "GET /metrics": "figures for Prometheus",
    "GET /docs": "this interface, to be tried out (loads scripts from the internet)",
    "GET /openapi.json": "this interface, for programs",
}


@status.get("/")
async def index() -> IndexAnswer:
    """What there is."""
    return IndexAnswer(
        name="brainmtl", version=brainmtl.__version__, endpoints=ENDPOINTS, disclaimer=DISCLAIMER
    )


@status.get("/health")
async def health(service: Serving) -> HealthAnswer:
    """The process lives; answered at once, whatever is being computed."""
    return HealthAnswer(
        live=True, model_loaded=service.predictor is not None, version=brainmtl.__version__
    )


@status.get("/ready", responses=documented(503))
async def ready(service: Serving) -> ReadyAnswer:
    """A model is loaded and warmed up; 503 with the reason while none is."""
    return ReadyAnswer(ready=True, model=model_answer(service.require_model().info))


@status.get("/model", responses=documented(401, 503), dependencies=[Depends(require_key)])
async def model(service: Serving) -> ModelCardAnswer:
    """The model that answers, its operating point and its card."""
    info = service.require_model().info
    return ModelCardAnswer(
        model=model_answer(info),
        stage=info.stage,
        training_sources=list(info.training_sources),
        operating_point=info.operating_point.to_dict(),
        runtime=dict(info.runtime),
        card=dict(info.card),
        disclaimer=DISCLAIMER,
    )


@status.get(
    "/metrics",
    response_class=Response,
    responses=documented(401) | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    dependencies=[Depends(require_key)],
)
async def metrics(service: Serving) -> Response:
    """Requests, durations, queue length and abstentions in the format of Prometheus."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)
