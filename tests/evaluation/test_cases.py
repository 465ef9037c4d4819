"""Lines of cases.csv against volumes put together here, slice by slice, and against MONAI."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from nibabel.affines import voxel_sizes
from scipy import ndimage
from sklearn import metrics as reference

from brainmtl.data.manifest import read_manifest
from brainmtl.data.preprocessing.geometry import SliceGeometry
from brainmtl.data.samples import read_reference, read_sample, write_reference
from brainmtl.errors import DataError
from brainmtl.evaluation.cases import original_mask, score_case
from brainmtl.evaluation.predict import Prediction, forward
from brainmtl.inference.operating.operating_point import OperatingPoint

RULE = OperatingPoint(seg_gate=0.2, threshold=0.6, limit_ml=0.02, limit_voxels=30)
# The tiny network is as good as sure of everything: these spread over gate and threshold.
CALIBRATED = (0.1, 0.9, 0.3, 0.7, 0.2, 0.6)
CASES = [("phantom_brats", name) for name in ("A_1", "A_2", "B", "C", "D")] + [("lgg", "L")]


def predictions(data_dir: Path, model: Any, source: str, case_id: str) -> list[Prediction]:
    frame = read_manifest(data_dir)
    own = frame[(frame["source"] == source) & (frame["case_id"] == case_id)]
    found = []
    for k, row in enumerate(own.sort_values("position").itertuples(index=False)):
        sample = read_sample(data_dir / row.path)
        probability, plane = forward(model, torch.from_numpy(sample.image)[None])
        found.append(
            Prediction(
                row=row,
                image=sample.image,
                probability=float(probability[0]),
                calibrated=CALIBRATED[k],
                call=int(CALIBRATED[k] >= RULE.threshold),
                mask=plane[0] >= 0.5,
                reference=None if sample.mask is None else sample.mask > 0,
                geometry=sample.geometry,
            )
        )
    return found


def emptied(slices: list[Prediction], limit: float) -> np.ndarray:
    """The volume assembled anew from masks emptied where the calibrated probability is lower."""
    kept = [s if s.calibrated >= limit else replace(s, mask=s.mask & False) for s in slices]
    return original_mask(kept) > 0


@pytest.mark.filterwarnings("ignore:monai.metrics.utils:FutureWarning")
@pytest.mark.parametrize(("source", "case_id"), CASES)
def test_line_of_a_volume(source: str, case_id: str, data_dir: Path, model: Any) -> None:
    slices = predictions(data_dir, model, source, case_id)
    predicted = original_mask(slices)
    truth = read_reference(data_dir / source / "references" / f"{case_id}.npz") > 0
    found = score_case(slices, predicted, data_dir, RULE)
    affine = slices[0].geometry.volume.affine
    assert (affine is None) == (source == "lgg")
    ours, n = predicted > 0, truth.size
    assert ours.any()
    voxel_ml = None if affine is None else abs(np.linalg.det(np.array(affine)[:3, :3])) / 1000
    gated, called = emptied(slices, RULE.seg_gate), emptied(slices, RULE.threshold)
    assert 0 < called.sum() < gated.sum() < ours.sum()  # gate and threshold do something here
    volume = called.sum() * (voxel_ml or 1)
    expected = {
        "source": source,
        "case_id": case_id,
        "n_slices": len(slices),
        "n_voxels": n,
        "predicted_voxels": ours.sum(),
        "reference_voxels": truth.sum(),
        "intersection_voxels": (ours & truth).sum(),
        "gated_predicted_voxels": gated.sum(),
        "predicted_ml": None if voxel_ml is None else ours.sum() * voxel_ml,
        "reference_ml": None if voxel_ml is None else truth.sum() * voxel_ml,
        "rule_volume": volume,
        "rule_unit": "voxels" if voxel_ml is None else "ml",
        "rule_limit": RULE.limit_voxels if voxel_ml is None else RULE.limit_ml,
        "patient_call": int(volume > (RULE.limit_voxels if voxel_ml is None else RULE.limit_ml)),
        "patient_label": int(case_id != "D"),
        "distance_unit": "px" if affine is None else "mm",
        "tolerance": 2.0,
        "dice": None,
        "iou": None,
        "gated_dice": None,
        "volume_error_ml": None,
        "pixel_accuracy": None,
        **dict.fromkeys(("nsd", "boundary_f", "hd95")),
    }
    if truth.any():
        spacing = None if affine is None else voxel_sizes(np.array(affine)).tolist()
        expected |= overlap_by_library(ours, gated, truth) | surface_by_monai(ours, truth, spacing)
        expected["boundary_f"] = found["boundary_f"]  # has a test of its own
        if voxel_ml is not None:
            expected["volume_error_ml"] = (ours.sum() - truth.sum()) * voxel_ml
    for key, value in expected.items():
        number = isinstance(value, float | np.floating)
        assert found[key] == (pytest.approx(value, rel=1e-5) if number else value), key
    check_lesions(found, ours, truth)


def overlap_by_library(ours: np.ndarray, gated: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return {
        "dice": reference.f1_score(truth.ravel(), ours.ravel()),
        "iou": reference.jaccard_score(truth.ravel(), ours.ravel()),
        "gated_dice": reference.f1_score(truth.ravel(), gated.ravel()),
        "pixel_accuracy": reference.accuracy_score(truth.ravel(), ours.ravel()),
    }


def surface_by_monai(
    ours: np.ndarray, truth: np.ndarray, spacing: list[float] | None
) -> dict[str, float]:
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (ours, truth)]
    options = {"include_background": True, "spacing": spacing}
    return {
        "nsd": compute_surface_dice(*tensors, class_thresholds=[2.0], **options).item(),
        "hd95": compute_hausdorff_distance(*tensors, percentile=95, **options).item(),
    }


def check_lesions(found: dict[str, Any], ours: np.ndarray, truth: np.ndarray) -> None:
    around = np.ones((3, 3, 3))
    lesions, n_lesions = ndimage.label(truth, around)
    components, n_components = ndimage.label(ours, around)
    hit = [bool(ours[lesions == k].any()) for k in range(1, n_lesions + 1)]
    wrong = [not truth[components == k].any() for k in range(1, n_components + 1)]
    assert found["lesions_reference"] == n_lesions and found["lesions_found"] == sum(hit)
    assert found["false_positive_components"] == sum(wrong)


def test_line_of_a_missed_tumour(data_dir: Path, model: Any) -> None:
    slices = [
        replace(s, mask=s.mask & False) for s in predictions(data_dir, model, "phantom_brats", "B")
    ]
    found = score_case(slices, original_mask(slices), data_dir, RULE)
    assert found["dice"] == found["iou"] == found["nsd"] == found["boundary_f"] == 0.0
    assert found["gated_dice"] == 0.0 and found["hd95"] is None
    assert found["lesions_found"] == found["patient_call"] == found["rule_volume"] == 0
    assert found["volume_error_ml"] == -found["reference_ml"] < 0


@pytest.mark.parametrize("calibrated", [0.0, 1.0])
def test_gate_open_and_closed(data_dir: Path, model: Any, calibrated: float) -> None:
    slices = predictions(data_dir, model, "phantom_brats", "B")
    slices = [replace(s, calibrated=calibrated) for s in slices]
    found = score_case(slices, original_mask(slices), data_dir, RULE)
    if calibrated:
        assert found["gated_dice"] == found["dice"]
        assert found["rule_volume"] == found["predicted_ml"] and found["patient_call"] == 1
    else:
        assert found["gated_predicted_voxels"] == found["rule_volume"] == 0
        assert found["gated_dice"] == 0.0 and found["patient_call"] == 0


def test_volume_at_the_limit_is_not_called(data_dir: Path, model: Any) -> None:
    slices = predictions(data_dir, model, "phantom_brats", "B")
    mask = original_mask(slices)
    volume = score_case(slices, mask, data_dir, RULE)["rule_volume"]
    for limit, call in ((volume, 0), (volume * 0.99, 1)):
        rule = replace(RULE, limit_ml=limit)
        assert score_case(slices, mask, data_dir, rule)["patient_call"] == call


def picture(
    tmp_path: Path, mask: np.ndarray, truth: np.ndarray, fold: int = -1
) -> list[Prediction]:
    """A single image with a reference mask, on a plane that preparation did not resize."""
    row = SimpleNamespace(
        source="photos", group="g", case_id="p", kind="image", synthetic=0, has_mask=1, site=""
    )
    row.image_id, row.label, row.position, row.split, row.fold = "p", 1, 0, "test", fold
    write_reference(tmp_path / "photos" / "references" / "p.npz", truth)
    geometry = SliceGeometry((256, 256), (0, 256, 0, 256), (0, 0, 0, 0), (1.0, 1.0))
    return [Prediction(row, np.zeros((1, 256, 256)), 0.9, 0.9, 1, mask, truth, geometry)]


def test_line_of_a_picture(tmp_path: Path) -> None:
    mask, truth = np.zeros((2, 256, 256), bool)
    truth[10:20, 10:20] = mask[10:20, 13:23] = mask[200, 200] = True
    slices = picture(tmp_path, mask, truth)
    found = score_case(slices, original_mask(slices), tmp_path, RULE)
    assert found["kind"] == "image" and found["n_voxels"] == 256**2
    assert found["dice"] == found["gated_dice"] == pytest.approx(2 * 70 / 201)
    assert (found["distance_unit"], found["hd95"]) == ("px", pytest.approx(3.0, abs=0.5))
    assert (found["lesions_found"], found["false_positive_components"]) == (1, 1)
    assert (found["rule_volume"], found["rule_unit"], found["rule_limit"]) == (101, "voxels", 30)
    assert found["predicted_ml"] is found["volume_error_ml"] is None
    assert found["patient_call"] == found["patient_label"] == 1


def test_record_holds_the_surface_metrics_of_the_prepared_grid(tmp_path: Path) -> None:
    mask, truth = np.zeros((2, 256, 256), bool)
    truth[10:20, 10:20] = mask[10:20, 13:23] = True
    (prediction,) = picture(tmp_path, mask, truth, fold=3)
    found = prediction.record()
    assert (found["calibrated"], found["call"], found["fold"]) == (0.9, 1, 3)
    assert found["hd95"] == 3.0 and 0 < found["nsd"] < 1 and 0 < found["boundary_f"] < 1
    without = replace(picture(tmp_path, mask, truth)[0], reference=None).record()
    assert without["fold"] is None
    assert without["nsd"] is without["boundary_f"] is without["hd95"] is without["dice"] is None
    assert without["reference_pixels"] is None and without["predicted_pixels"] == 100


def test_case_without_reference_and_other_grids(data_dir: Path, model: Any, tmp_path: Path) -> None:
    photo = predictions(data_dir, model, "kaggle", "photo_04")
    assert score_case(photo, original_mask(photo), data_dir, RULE) is None
    slices = picture(tmp_path, np.ones((256, 256), bool), np.ones((9, 9), bool))
    with pytest.raises(DataError, match="different grids"):
        score_case(slices, original_mask(slices), tmp_path, RULE)
