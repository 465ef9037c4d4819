"""What a prediction says: results of pictures and volumes, and the errors of files that cannot be read."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from brainmtl.errors import BrainMTLError
from brainmtl.inference.operating.operating_point import OperatingPoint
from brainmtl.inference.png import png_bytes

DISCLAIMER = "Research software, not a medical device: not for diagnosis or treatment."
TUMOUR, NO_TUMOUR = "tumour", "no tumour"


class InputError(BrainMTLError):
    """A file or array that cannot be read as a picture or volume at all.

    ``reason`` is one short word for machines ("truncated"), the message is for people. Pictures that
    can be read but show no head MRI are no errors: the predictor abstains on them.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Failure:
    """An input of a batch that could not be read: its name (None: it has none) and the error."""

    name: str | None
    error: BrainMTLError

    @property
    def reason(self) -> str:
        """The machine word of an :class:`InputError`, "error" for anything else."""
        return self.error.reason if isinstance(self.error, InputError) else "error"

    def to_json(self, include_arrays: bool = False) -> dict[str, Any]:
        """Plain values; there are no arrays to include."""
        return {"name": self.name, "error": str(self.error), "reason": self.reason}


@dataclass(frozen=True)
class Reason:
    """Why the predictor abstains: ``code`` for machines, ``text`` for people."""

    code: str
    text: str


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The mask, uint8 {0, 1} in the original geometry of the image, or why there is none.

    ``area_px`` counts original pixels; ``area_mm2`` is None where no pixel spacing is known.
    ``mask`` is None exactly where ``performed`` is False; a performed mask may be empty.
    """

    performed: bool
    reason: str
    mask: np.ndarray | None = None
    area_px: int | None = None
    area_mm2: float | None = None


@dataclass(frozen=True, eq=False)
class ImageResult:
    """What is said of one picture.

    ``probability`` is the calibrated P(tumour) in [0, 1], ``raw_probability`` that of the network;
    both, ``label`` and ``band`` ({"name", "advice", "low", "high"}) are None where ``abstained``.
    ``reason`` then says why, and ``reason_code`` in one word. ``gradcam`` is float32 (H, W) in
    [0, 1], None where not asked for; ``heat_outside_head`` the share of it outside the head, None
    without heat. ``ood_score`` is the distance from the training images (None where the model has
    no such check, or the picture was refused before it). ``thresholds`` has ``cls``, ``seg_gate``,
    ``seg_pixel`` and ``temperature``. ``timings_ms`` are of this picture; in a batch, its share.
    ``original_size`` is (H, W) of the upright picture, the geometry of mask and heat map.
    """

    probability: float | None
    raw_probability: float | None
    label: str | None
    band: Mapping[str, Any] | None
    abstained: bool
    reason: str | None
    reason_code: str | None
    warnings: list[str]
    segmentation: Segmentation
    gradcam: np.ndarray | None
    heat_outside_head: float | None
    ood_score: float | None
    ood_threshold: float | None
    thresholds: Mapping[str, float]
    timings_ms: Mapping[str, float]
    input_sha256: str
    original_size: tuple[int, int]

    def to_json(self, include_arrays: bool = False) -> dict[str, Any]:
        """Plain values. Mask (0/255) and heat map (0..255) come as base64 PNG under ``mask_png`` and
        ``gradcam_png``, both None unless ``include_arrays``."""
        shown = self.segmentation
        mask, heat = (shown.mask, self.gradcam) if include_arrays else (None, None)
        return {
            "probability": self.probability,
            "raw_probability": self.raw_probability,
            "label": self.label,
            "band": None if self.band is None else dict(self.band),
            "abstained": self.abstained,
            "reason": self.reason,
            "reason_code": self.reason_code,
            "warnings": list(self.warnings),
            "segmentation": {
                "performed": shown.performed,
                "reason": shown.reason,
                "mask_png": None if mask is None else _base64(mask_png(mask)),
                "area_px": shown.area_px,
                "area_mm2": shown.area_mm2,
            },
            "gradcam_png": None if heat is None else _base64(heat_png(heat)),
            "heat_outside_head": self.heat_outside_head,
            "ood_score": self.ood_score,
            "ood_threshold": self.ood_threshold,
            "thresholds": dict(self.thresholds),
            "timings_ms": dict(self.timings_ms),
            "input_sha256": self.input_sha256,
            "original_size": list(self.original_size),
        }


@dataclass(frozen=True)
class SliceResult:
    """One slice of a volume: its index in the file grid, calibrated P and label, mask pixels.

    ``segmented`` says whether P reached the gate; ``area_px`` counts pixels of the file grid, None
    where the slice was not segmented.
    """

    index: int
    probability: float
    label: str
    area_px: int | None
    segmented: bool


@dataclass(frozen=True, eq=False)
class VolumeResult:
    """What is said of one volume.

    ``slices`` are those that show brain, inferior to superior; ``probability`` is the largest
    calibrated P among them, ``label`` the verdict of the patient rule of the operating point, which
    looks at the predicted volume. ``mask`` is uint8 {0, 1} in the grid of the file with ``affine``
    (voxels to RAS mm); ``volume_ml`` the volume of it, None without spacing. Where ``abstained``,
    there are no slices, mask, label and probability, and ``reason`` says why. ``ood_share`` is the
    share of slices beyond the OOD threshold.
    """

    slices: list[SliceResult]
    probability: float | None
    label: str | None
    volume_ml: float | None
    mask: np.ndarray | None
    affine: np.ndarray
    warnings: list[str]
    abstained: bool
    reason: str | None
    reason_code: str | None
    thresholds: Mapping[str, float]
    timings_ms: Mapping[str, float]
    input_sha256: str
    ood_share: float | None = None

    def to_json(self, include_arrays: bool = False) -> dict[str, Any]:
        """Plain values; the mask as base64 of a gzipped NIfTI under ``mask_nifti_gz``, None unless
        ``include_arrays``."""
        shown = self.mask if include_arrays else None
        return {
            "probability": self.probability,
            "label": self.label,
            "volume_ml": self.volume_ml,
            "abstained": self.abstained,
            "reason": self.reason,
            "reason_code": self.reason_code,
            "warnings": list(self.warnings),
            "slices": [dict(vars(one)) for one in self.slices],
            "mask_nifti_gz": None if shown is None else _base64(mask_nifti(shown, self.affine)),
            "affine": self.affine.tolist(),
            "ood_share": self.ood_share,
            "thresholds": dict(self.thresholds),
            "timings_ms": dict(self.timings_ms),
            "input_sha256": self.input_sha256,
        }


@dataclass(frozen=True, eq=False)
class ModelInfo:
    """Which model answers, and what is known about it.

    ``card`` are the contents of model_card.json, ``runtime`` those of
    :meth:`brainmtl.inference.runtimes.choice.Choice.to_json`.
    """

    name: str
    version: str
    stage: str
    preprocessing_version: str
    synthetic_training: bool
    weights_sha256: str
    training_sources: tuple[str, ...]
    operating_point: OperatingPoint
    has_ood_check: bool
    folder: Path
    runtime: Mapping[str, Any]
    card: Mapping[str, Any] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the card, the operating point's counts and the folder."""
        return {
            "name": self.name,
            "version": self.version,
            "stage": self.stage,
            "preprocessing_version": self.preprocessing_version,
            "synthetic_training": self.synthetic_training,
            "weights_sha256": self.weights_sha256,
            "training_sources": list(self.training_sources),
            "has_ood_check": self.has_ood_check,
            "runtime": dict(self.runtime),
        }


def mask_png(mask: np.ndarray) -> bytes:
    """A mask {0, 1} (H, W) as PNG bytes, 0 and 255."""
    return png_bytes(
        (mask > 0).view(np.uint8) * np.uint8(255)
    )  # np.where takes eight times as long


def heat_png(heat: np.ndarray) -> bytes:
    """A heat map (H, W) in [0, 1] as the bytes of an 8-bit grey PNG."""
    return png_bytes(np.rint(heat * 255).astype(np.uint8))


def mask_nifti(mask: np.ndarray, affine: np.ndarray) -> bytes:
    """A mask {0, 1} (X, Y, Z) as the bytes of a gzipped NIfTI file, uint8."""
    import nibabel as nib
    from isal import igzip

    image = nib.Nifti1Image(mask.astype(np.uint8), affine)
    image.header.set_xyzt_units("mm")
    # Level 1 packs a mask in a hundredth of the time that gzip takes to make it 10 to 50 % smaller.
    return igzip.compress(image.to_bytes(), 1, mtime=0)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
