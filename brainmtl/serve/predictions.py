"""The routes that predict: a picture, a batch of pictures, a volume."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from brainmtl.serve import encoding, jobs
from brainmtl.serve.access import Serving, require_key, require_known_parameters
from brainmtl.serve.errors import documented
from brainmtl.serve.limits import read_uploads
from brainmtl.serve.schemas import BatchAnswer, MultitaskAnswer, VolumeAnswer
from brainmtl.serve.service import Service

predictions = APIRouter(
    tags=["predictions"],
    dependencies=[Depends(require_key), Depends(require_known_parameters)],
)

IncludeGradcam = Annotated[
    bool, Query(description="Also where the classification looked, as a heat map")
]
SegThreshold = Annotated[
    float | None,
    Query(
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Calibrated P from which a mask is made. Default: the operating point of the "
        "model, 0.3 unless it was exported with another",
        examples=[0.3],
    ),
]
ClsThreshold = Annotated[
    float | None,
    Query(
        gt=0,
        lt=1,
        allow_inf_nan=False,
        description="Calibrated P from which the label is tumour. Default: the operating point of "
        "the model. Not below seg_threshold",
        examples=[0.5],
    ),
]
ERRORS = documented(400, 401, 406, 408, 413, 415, 422, 503)


def _form(field: str, many: bool, description: str) -> dict[str, Any]:
    """OpenAPI of a body that is read by hand: FastAPI would read it before anything could refuse."""
    file = {"type": "string", "format": "binary", "description": description}
    schema = {"type": "array", "items": file, "minItems": 1, "maxItems": jobs.MAX_FILES}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {field: schema if many else file},
                        "required": [field],
                    }
                }
            },
        }
    }


@predictions.post(
    "/predict_multitask",
    response_model=MultitaskAnswer,
    responses=ERRORS | {200: {"content": {encoding.PNG: {}}}},
    openapi_extra=_form("file", False, "PNG, JPEG, BMP, GIF, TIFF, WebP or PPM: one slice"),
)
async def predict_multitask(
    request: Request,
    service: Serving,
    include_gradcam: IncludeGradcam = False,
    seg_threshold: SegThreshold = None,
    cls_threshold: ClsThreshold = None,
) -> Response:
    """Is there a tumour in this picture, and where?

    `Accept: image/png` answers with the mask (0 and 255, size of the picture) or, where none was
    made and `include_gradcam` is set, with the picture under its heat map.
    """
    media_type = encoding.choose_type(request.headers.get("accept"), (encoding.JSON, encoding.PNG))
    predictor = service.require_model()
    options = _options(seg_threshold, cls_threshold) | {"include_gradcam": include_gradcam}
    async with service.worker.admit():
        (data,), timings = await _upload(request, service, "file")
        task = _task(request, service, predictor, options, timings)
        asked = jobs.PictureTask(task, data, media_type)
        body = await service.worker.run_together(
            jobs.predict_pictures, asked, lambda: _gone(request)
        )
    return Response(body, media_type=media_type)


@predictions.post(
    "/predict_batch",
    response_model=BatchAnswer,
    responses=ERRORS,
    openapi_extra=_form("files", True, "Pictures, as for /predict_multitask"),
)
async def predict_batch(
    request: Request,
    service: Serving,
    include_gradcam: IncludeGradcam = False,
    seg_threshold: SegThreshold = None,
    cls_threshold: ClsThreshold = None,
) -> Response:
    """Several pictures at once. One that cannot be read does not keep the others from their answer."""
    encoding.choose_type(request.headers.get("accept"), (encoding.JSON,))
    predictor = service.require_model()
    options = _options(seg_threshold, cls_threshold) | {"include_gradcam": include_gradcam}
    async with service.worker.admit():
        files, timings = await _upload(request, service, "files", jobs.MAX_FILES)
        task = _task(request, service, predictor, options, timings)
        body = await service.worker.run(
            lambda: jobs.predict_batch(task, files), lambda: _gone(request)
        )
    return Response(body, media_type=encoding.JSON)


@predictions.post(
    "/predict_volume",
    response_model=VolumeAnswer,
    responses=ERRORS,
    openapi_extra=_form("file", False, "A NIfTI volume, .nii or .nii.gz"),
)
async def predict_volume(
    request: Request,
    service: Serving,
    include_mask: Annotated[bool, Query(description="Also the mask, as .nii.gz in base64")] = False,
    seg_threshold: SegThreshold = None,
    cls_threshold: ClsThreshold = None,
) -> Response:
    """All slices of a volume, the verdict of the patient rule, and the volume of the tumour."""
    encoding.choose_type(request.headers.get("accept"), (encoding.JSON,))
    predictor = service.require_model()
    options = _options(seg_threshold, cls_threshold)
    async with service.worker.admit():
        (data,), timings = await _upload(request, service, "file")
        task = _task(request, service, predictor, options, timings)
        body = await service.worker.run(
            lambda: jobs.predict_volume(task, data, include_mask), lambda: _gone(request)
        )
    return Response(body, media_type=encoding.JSON)


def _options(seg_threshold: float | None, cls_threshold: float | None) -> dict[str, Any]:
    return {"seg_gate": seg_threshold, "cls_threshold": cls_threshold}


async def _upload(
    request: Request, service: Service, field: str, max_files: int = 1
) -> tuple[list[bytes], dict[str, float]]:
    start = time.perf_counter()
    files = await read_uploads(request, field, service.settings.max_body_bytes, max_files)
    return files, {"upload": 1000 * (time.perf_counter() - start)}


def _task(
    request: Request, service: Service, predictor: Any, options: Any, timings: Any
) -> jobs.Task:
    request_id, endpoint = request.state.request_id, request.url.path
    return jobs.Task(service, predictor, request_id, endpoint, options, timings)


async def _gone(request: Request) -> None:
    """Returns when the client has closed the connection; to be called after the body was read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
