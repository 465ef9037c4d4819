"""Results become plain JSON values, and arrays survive the way through PNG and NIfTI."""

from __future__ import annotations

import base64
import gzip
import json
from io import BytesIO
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from brainmtl.errors import BrainMTLError, DataError
from brainmtl.inference.results import (
    Failure,
    ImageResult,
    InputError,
    Segmentation,
    SliceResult,
    VolumeResult,
    heat_png,
    mask_nifti,
    mask_png,
)

RNG = np.random.default_rng(0)
THRESHOLDS = {"cls": 0.5, "seg_gate": 0.3, "seg_pixel": 0.5, "temperature": 1.0}


def image_result(**changes: object) -> ImageResult:
    mask = (RNG.random((40, 50)) < 0.2).astype(np.uint8)
    values = {
        "probability": 0.7,
        "raw_probability": 0.8,
        "label": "tumour",
        "band": {"name": "second read", "advice": "Ask.", "low": 0.2, "high": 0.8},
        "abstained": False,
        "reason": None,
        "reason_code": None,
        "warnings": ["careful"],
        "segmentation": Segmentation(True, "because", mask, int(mask.sum()), None),
        "gradcam": RNG.random((40, 50)).astype(np.float32),
        "heat_outside_head": 0.1,
        "ood_score": 3.0,
        "ood_threshold": 9.0,
        "thresholds": THRESHOLDS,
        "timings_ms": {"total": 1.5},
        "input_sha256": "0" * 64,
        "original_size": (40, 50),
    }
    return ImageResult(**(values | changes))


def decode(text: str) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(base64.b64decode(text))))


def test_plain_values_without_arrays() -> None:
    values = image_result().to_json()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["segmentation"]["mask_png"] is None and values["gradcam_png"] is None
    assert values["original_size"] == [40, 50]
    assert values["band"]["advice"] == "Ask."
    assert values["segmentation"]["area_px"] > 0


def test_arrays_come_as_png_of_the_original_size() -> None:
    result = image_result()
    values = json.loads(json.dumps(result.to_json(include_arrays=True)))
    mask = decode(values["segmentation"]["mask_png"])
    np.testing.assert_array_equal(mask, result.segmentation.mask * 255)
    heat = decode(values["gradcam_png"])
    np.testing.assert_allclose(heat / 255, result.gradcam, atol=0.5 / 255 + 1e-6)


def test_what_is_not_there_is_null() -> None:
    nothing = dict.fromkeys(
        ("probability", "raw_probability", "label", "band", "gradcam", "ood_score", "ood_threshold")
    )
    result = image_result(
        **nothing, abstained=True, reason="No.", segmentation=Segmentation(False, "not judged")
    )
    values = result.to_json(include_arrays=True)
    assert all(values[name] is None for name in nothing if name != "gradcam")
    assert values["gradcam_png"] is None
    assert values["segmentation"] == {
        "performed": False,
        "reason": "not judged",
        "mask_png": None,
        "area_px": None,
        "area_mm2": None,
    }


@pytest.mark.parametrize("shape", [(1, 1), (40, 50), (3, 700)])
@pytest.mark.parametrize("fill", [0, 1])
def test_mask_png(shape: tuple[int, int], fill: int) -> None:
    stored = np.asarray(Image.open(BytesIO(mask_png(np.full(shape, fill, np.uint8)))))
    assert stored.shape == shape and (stored == 255 * fill).all() and stored.dtype == np.uint8


def test_heat_png_keeps_the_ends() -> None:
    stored = np.asarray(Image.open(BytesIO(heat_png(np.array([[0, 0.5, 1]], np.float32)))))
    assert stored.tolist() == [[0, 128, 255]]


def volume_result(mask: np.ndarray | None, affine: np.ndarray) -> VolumeResult:
    return VolumeResult(
        slices=[
            SliceResult(3, 0.2, "no tumour", None, False),
            SliceResult(4, 0.9, "tumour", 5, True),
        ],
        probability=0.9,
        label="tumour",
        volume_ml=0.005,
        mask=mask,
        affine=affine,
        warnings=[],
        abstained=False,
        reason=None,
        reason_code=None,
        thresholds=THRESHOLDS,
        timings_ms={"total": 2.0},
        input_sha256="0" * 64,
        ood_share=0.0,
    )


def test_volume_mask_survives_as_nifti(tmp_path: Path) -> None:
    mask = (RNG.random((5, 6, 7)) < 0.3).astype(np.uint8)
    affine = np.array([[0, 0, 3.0, -5], [1.0, 0, 0, 7], [0, -1.5, 0, 60], [0, 0, 0, 1]])
    values = json.loads(json.dumps(volume_result(mask, affine).to_json(include_arrays=True)))
    path = tmp_path / "mask.nii.gz"
    path.write_bytes(base64.b64decode(values["mask_nifti_gz"]))
    stored = nib.load(path)
    np.testing.assert_array_equal(np.asarray(stored.dataobj), mask)
    assert stored.get_data_dtype() == np.uint8
    np.testing.assert_allclose(stored.affine, affine)
    assert values["slices"][1] == {
        "index": 4,
        "probability": 0.9,
        "label": "tumour",
        "area_px": 5,
        "segmented": True,
    }
    assert volume_result(mask, affine).to_json()["mask_nifti_gz"] is None
    assert volume_result(None, affine).to_json(include_arrays=True)["mask_nifti_gz"] is None


def test_mask_bytes_are_the_same_every_time() -> None:
    mask = np.ones((3, 3, 3), np.uint8)
    assert mask_nifti(mask, np.eye(4)) == mask_nifti(mask, np.eye(4))
    assert gzip.decompress(mask_nifti(mask, np.eye(4)))[344:347] == b"n+1"


def test_failures_and_errors() -> None:
    error = InputError("truncated", "the file is cut off")
    assert isinstance(error, BrainMTLError) and str(error) == "the file is cut off"
    assert Failure("a.png", error).to_json() == {
        "name": "a.png",
        "error": "the file is cut off",
        "reason": "truncated",
    }
    assert Failure(None, DataError("other")).reason == "error"
