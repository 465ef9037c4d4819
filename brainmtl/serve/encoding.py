"""Results of the predictor as answers: JSON models, and PNG for those who ask for a picture."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from brainmtl.inference.png import png_bytes
from brainmtl.inference.results import (
    DISCLAIMER,
    ImageResult,
    ModelInfo,
    VolumeResult,
    mask_png,
)
from brainmtl.serve.errors import ApiError
from brainmtl.serve.schemas import ModelAnswer, PictureAnswer, VolumeAnswer

JSON, PNG = "application/json", "image/png"


def choose_type(accept: str | None, offers: tuple[str, ...]) -> str:
    """The one of ``offers`` that an Accept header prefers; the first where it does not mind.

    RFC 9110, 12.5.1: the most specific range counts, q=0 refuses.

    Raises:
        ApiError: 406, the header accepts none.
    """
    if not (accept or "").strip():
        return offers[0]
    ranges = [_range(part) for part in accept.split(",")]
    best = max(offers, key=lambda offer: _quality(offer, ranges))
    if _quality(best, ranges) <= 0:
        detail = f"This answer exists as {' or '.join(offers)}: accept it, or leave Accept out."
        raise ApiError(406, "not_acceptable", detail)
    return best


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return name, float(parameter[2:])
            except ValueError:
                return name, 0.0
    return name, 1.0


def _quality(offer: str, ranges: list[tuple[str, float]]) -> float:
    for name in (offer, f"{offer.partition('/')[0]}/*", "*/*"):
        if found := [quality for range_, quality in ranges if range_ == name]:
            return max(found)
    return 0.0


def model_answer(info: ModelInfo) -> ModelAnswer:
    """The model's identity."""
    return ModelAnswer(**{name: getattr(info, name) for name in ModelAnswer.model_fields})


def picture_values(
    result: ImageResult, info: ModelInfo, timings_ms: Mapping[str, float]
) -> dict[str, Any]:
    """Fields of a PictureAnswer; ``timings_ms`` are added to those of the predictor."""
    start = time.perf_counter()
    values = result.to_json(include_arrays=True)
    encode_ms = 1000 * (time.perf_counter() - start)
    renamed = {"tumour_probability": values["probability"], "confidence_band": values["band"]}
    values |= renamed | {"model": model_answer(info), "disclaimer": DISCLAIMER}
    values["timings_ms"] = rounded({**timings_ms, **result.timings_ms, "encode": encode_ms})
    return {name: values[name] for name in PictureAnswer.model_fields}


def volume_answer(
    result: VolumeResult,
    info: ModelInfo,
    request_id: str,
    include_mask: bool,
    timings_ms: Mapping[str, float],
) -> VolumeAnswer:
    """The answer on one volume."""
    values = result.to_json(include_arrays=include_mask)
    values |= {
        "request_id": request_id,
        "model": model_answer(info),
        "disclaimer": DISCLAIMER,
        "timings_ms": rounded({**timings_ms, **result.timings_ms}),
    }
    return VolumeAnswer(**{name: values[name] for name in VolumeAnswer.model_fields})


def rounded(timings_ms: Mapping[str, float]) -> dict[str, float]:
    """Milliseconds to a hundredth."""
    return {step: round(float(value), 2) for step, value in timings_ms.items()}


def picture_png(data: bytes, result: ImageResult) -> bytes:
    """The mask as PNG, or the picture under its heat map where there is no mask.

    Raises:
        ApiError: 406, there is neither; the detail says what was decided.
    """
    if result.segmentation.mask is not None:
        return mask_png(result.segmentation.mask)
    if result.gradcam is not None:
        return overlay_png(data, result.gradcam)
    why = result.reason if result.abstained else result.segmentation.reason
    detail = f"There is no mask to show ({why}). Ask for application/json to get the decision."
    raise ApiError(406, "no_mask", detail)


def overlay_png(data: bytes, heat: np.ndarray) -> bytes:
    """:func:`brainmtl.inference.overlay.heat_overlay` of an encoded picture, as PNG bytes."""
    from brainmtl.inference.inputs.input_check import read_picture
    from brainmtl.inference.overlay import heat_overlay

    return png_bytes(heat_overlay(read_picture(data).luminance, heat))
