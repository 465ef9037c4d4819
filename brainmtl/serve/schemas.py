"""The answers of the service, typed; docs/serving.md shows them at work."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Label = Literal["tumour", "no tumour"]
SHA = "7d3c1f5e9a0b4c28d6e1f7a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6"
ID = "6f1c0f0e5a3b4a6c9d53c1f1f0c2a9be"
MODEL = {
    "name": "joint-1cf2bb08",
    "version": "0.1.0",
    "weights_sha256": SHA,
    "preprocessing_version": "4",
    "synthetic_training": False,
}
THRESHOLDS = {"cls": 0.5, "seg_gate": 0.3, "seg_pixel": 0.5, "temperature": 1.4}
TIMINGS = {
    "upload": 1.1,
    "queue": 0.2,
    "decode": 2.0,
    "preprocess": 7.5,
    "encoder": 16.5,
    "decoder": 21.3,
    "postprocess": 0.6,
    "gradcam": 0.0,
    "total": 47.9,
    "encode": 0.9,
}
ADVICE = "The model sees a tumour. Move the case to the front of the reading list."
PICTURE = {
    "tumour_probability": 0.93,
    "label": "tumour",
    "confidence_band": {"name": "review now", "advice": ADVICE, "low": 0.8, "high": 1.0},
    "abstained": False,
    "reason": None,
    "reason_code": None,
    "warnings": [],
    "segmentation": {
        "performed": True,
        "reason": "P = 0.930 reaches the gate 0.3",
        "mask_png": "iVBORw0KGgo...",
        "area_px": 1630,
        "area_mm2": None,
    },
    "gradcam_png": None,
    "heat_outside_head": None,
    "ood_score": 3.1,
    "ood_threshold": 9.7,
    "timings_ms": TIMINGS,
    "model": MODEL,
    "thresholds": THRESHOLDS,
    "original_size": [512, 512],
    "disclaimer": "Research software, not a medical device: not for diagnosis or treatment.",
}


def _config(example: dict[str, Any] | None = None) -> ConfigDict:
    """Options of pydantic: `model` and `model_...` are field names here like others."""
    extra = {"json_schema_extra": {"examples": [example]}} if example else {}
    return ConfigDict(protected_namespaces=(), extra="forbid", **extra)


class Answer(BaseModel):
    """Base of all."""

    model_config = _config()


class ErrorBody(Answer):
    """Every answer that is no success."""

    error: str = Field(description="Phrase of the HTTP status")
    reason: str = Field(description="A word for programs")
    detail: str = Field(description="A sentence for people, with the remedy")
    request_id: str


class ConfidenceBand(Answer):
    """The band low <= P < high in which the probability lies, and what to do there."""

    name: str
    advice: str
    low: float
    high: float


class SegmentationAnswer(Answer):
    """The mask of one picture, in the pixels of the picture that was sent."""

    performed: bool
    reason: str = Field(description="Why a mask was made, or why not")
    mask_png: str | None = Field(description="Base64 of a PNG, 0 and 255, of original_size")
    area_px: int | None
    area_mm2: float | None = Field(description="null where the file states no spacing")


class ModelAnswer(Answer):
    """Which model answered."""

    name: str
    version: str
    weights_sha256: str
    preprocessing_version: str
    synthetic_training: bool = Field(
        description="true: synthetic images were among those of training, or all of them"
    )


class ThresholdsAnswer(Answer):
    """What was applied to this request."""

    cls: float = Field(description="Calibrated P from which the label is tumour")
    seg_gate: float = Field(description="Calibrated P from which a mask is made")
    seg_pixel: float = Field(description="Probability from which a pixel belongs to the mask")
    temperature: float = Field(description="Divides the logits: calibration")


class PictureAnswer(Answer):
    """What is said of one picture."""

    tumour_probability: float | None = Field(description="Calibrated; null when abstained")
    label: Label | None
    confidence_band: ConfidenceBand | None
    abstained: bool = Field(description="true: the picture is none that the model can judge")
    reason: str | None = Field(description="Why nothing is said of it")
    reason_code: str | None = Field(description="The same in a word for programs")
    warnings: list[str]
    segmentation: SegmentationAnswer
    gradcam_png: str | None = Field(
        description="Base64 of a PNG, 0 to 255, of original_size: heat of the tumour class by LayerCAM"
    )
    heat_outside_head: float | None = Field(
        description="Share of that heat outside the head, 0 to 1"
    )
    ood_score: float | None = Field(description="Distance from the training data")
    ood_threshold: float | None = Field(description="Distance beyond which it abstains")
    timings_ms: dict[str, float] = Field(description="Milliseconds per step")
    model: ModelAnswer
    thresholds: ThresholdsAnswer
    original_size: tuple[int, int] = Field(description="Height and width in pixels")
    disclaimer: str


class MultitaskAnswer(PictureAnswer):
    """POST /predict_multitask."""

    model_config = _config({"request_id": ID, **PICTURE})
    request_id: str


class BatchItem(Answer):
    """One file of a batch: a result, or why there is none."""

    index: int = Field(description="Place among the files as sent, from 0")
    ok: bool
    result: PictureAnswer | None = None
    error: ErrorBody | None = None


class BatchAnswer(Answer):
    """POST /predict_batch."""

    model_config = _config(
        {
            "request_id": ID,
            "results": [
                {"index": 0, "ok": True, "result": PICTURE, "error": None},
                {
                    "index": 1,
                    "ok": False,
                    "result": None,
                    "error": {
                        "error": "Unprocessable Entity",
                        "reason": "truncated",
                        "detail": "The picture is cut off. Export or upload it again.",
                        "request_id": ID,
                    },
                },
            ],
            "timings_ms": TIMINGS,
        }
    )
    request_id: str
    results: list[BatchItem]
    timings_ms: dict[str, float]


class SliceAnswer(Answer):
    """One slice of a volume; index counts along the slice axis of the file."""

    index: int
    probability: float | None
    label: Label | None
    area_px: int | None
    segmented: bool


class VolumeAnswer(Answer):
    """POST /predict_volume."""

    model_config = _config(
        {
            "request_id": ID,
            "probability": 0.97,
            "label": "tumour",
            "volume_ml": 41.3,
            "abstained": False,
            "reason": None,
            "reason_code": None,
            "warnings": [],
            "slices": [
                {
                    "index": 77,
                    "probability": 0.97,
                    "label": "tumour",
                    "area_px": 1630,
                    "segmented": True,
                }
            ],
            "mask_nifti_gz": None,
            "timings_ms": TIMINGS,
            "model": MODEL,
            "thresholds": THRESHOLDS,
            "disclaimer": PICTURE["disclaimer"],
        }
    )
    request_id: str
    probability: float | None = Field(description="Maximum over the slices; null when abstained")
    label: Label | None = Field(description="By the patient rule of the operating point")
    volume_ml: float | None
    abstained: bool
    reason: str | None
    reason_code: str | None
    warnings: list[str]
    slices: list[SliceAnswer]
    mask_nifti_gz: str | None = Field(description="Base64 of a .nii.gz on the grid of the file")
    timings_ms: dict[str, float]
    model: ModelAnswer
    thresholds: ThresholdsAnswer
    disclaimer: str


class HealthAnswer(Answer):
    """GET /health."""

    live: bool
    model_loaded: bool
    version: str


class ReadyAnswer(Answer):
    """GET /ready."""

    ready: bool
    model: ModelAnswer


class ModelCardAnswer(Answer):
    """GET /model."""

    model: ModelAnswer
    stage: str
    training_sources: list[str]
    operating_point: dict[str, Any]
    runtime: dict[str, Any] = Field(
        description="What runs the network, and the timings by which it was chosen, see docs/serving.md"
    )
    card: dict[str, Any] = Field(description="model_card.json, see docs/evaluation.md")
    disclaimer: str


class IndexAnswer(Answer):
    """GET /."""

    name: str
    version: str
    endpoints: dict[str, str]
    disclaimer: str
