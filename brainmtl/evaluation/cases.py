"""From slices back to the original grid: scores and mask files of one case at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brainmtl.data.preprocessing.geometry import SliceGeometry, assemble_volume, voxel_volume_ml
from brainmtl.data.samples import read_reference
from brainmtl.errors import DataError
from brainmtl.evaluation import metrics
from brainmtl.evaluation.predict import Prediction
from brainmtl.files import atomic_path
from brainmtl.inference.operating.operating_point import OperatingPoint
from brainmtl.inference.results import mask_nifti


def original_mask(slices: Sequence[Prediction]) -> np.ndarray:
    """Predicted mask of one case, uint8 {0, 1}: the file grid of a volume or the plane of an image.

    Slices that preparation left out (no brain in them) are predicted empty.
    """
    first = slices[0].geometry
    if first.volume is None:
        return first.mask_to_plane(slices[0].mask).astype(np.uint8)
    return assemble_volume([s.geometry for s in slices], [s.mask for s in slices])


def score_case(
    slices: Sequence[Prediction], predicted: np.ndarray, data_dir: Path, point: OperatingPoint
) -> dict[str, Any] | None:
    """One line of ``cases.csv``: figures in the original grid; None for a case without reference.

    Distances are in mm where the volume has an affine, in pixels of the original grid otherwise;
    ``distance_unit`` says which.

    Args:
        slices: all predictions of one case.
        predicted: their mask in the original grid, see :func:`original_mask`.
        point: the operating point of the model that predicted.

    Raises:
        DataError: the reference is missing, or its grid is another one than the prediction's.
    """
    if not any(s.row.has_mask for s in slices):
        return None
    row, geometry = slices[0].row, slices[0].geometry
    path = data_dir / str(row.source) / "references" / f"{row.case_id}.npz"
    reference = read_reference(path)
    if reference.shape != predicted.shape:
        raise DataError(
            f"{path}: reference {reference.shape} and prediction {predicted.shape} lie on "
            "different grids: prepare the data again"
        )
    masks = predicted > 0, reference > 0
    return {
        "source": row.source,
        "group": row.group,
        "case_id": row.case_id,
        "site": row.site or None,
        "kind": row.kind,
        "synthetic": int(row.synthetic),
        "n_slices": len(slices),
        **_overlap(*masks, voxel_volume_ml(geometry) if geometry.volume is not None else None),
        **_shape(*masks, geometry),
        **_rule(slices, *masks, point),
    }


def _overlap(
    predicted: np.ndarray, reference: np.ndarray, voxel_ml: float | None
) -> dict[str, Any]:
    counts = metrics.overlap(predicted, reference)
    predicted_ml, reference_ml = (
        None if voxel_ml is None else count * voxel_ml for count in counts[1:]
    )
    defined = predicted_ml is not None and reference_ml is not None and counts[2] > 0
    return {
        "dice": metrics.dice_from_counts(*counts),
        "iou": metrics.iou_from_counts(*counts),
        "intersection_voxels": counts[0],
        "predicted_voxels": counts[1],
        "reference_voxels": counts[2],
        "n_voxels": int(predicted.size),
        "predicted_ml": predicted_ml,
        "reference_ml": reference_ml,
        "volume_error_ml": predicted_ml - reference_ml if defined else None,
        "pixel_accuracy": metrics.pixel_accuracy_from_counts(*counts, predicted.size),
    }


def _shape(predicted: np.ndarray, reference: np.ndarray, geometry: SliceGeometry) -> dict[str, Any]:
    volume = geometry.volume
    spacing = None
    if volume is not None and volume.affine is not None:
        spacing = np.linalg.norm(np.array(volume.affine)[:3, :3], axis=0)
    lesions = metrics.lesion_counts(predicted, reference)
    return {
        **metrics.surface_metrics(predicted, reference, spacing, metrics.TOLERANCE),
        "distance_unit": "px" if spacing is None else "mm",
        "tolerance": metrics.TOLERANCE,
        "lesions_reference": lesions["reference"],
        "lesions_found": lesions["found"],
        "false_positive_components": lesions["false_positive"],
    }


def _rule(
    slices: Sequence[Prediction],
    predicted: np.ndarray,
    reference: np.ndarray,
    point: OperatingPoint,
) -> dict[str, Any]:
    """The case as it is served and as the patient rule sees it, from counts per slice."""
    geometry = slices[0].geometry
    volume = geometry.volume
    # Planes along the last axis. Emptying slices only drops their counts: no second assembly.
    ours, theirs = (
        mask[..., None] if volume is None else volume.orient(mask)
        for mask in (predicted, reference)
    )
    per_slice = np.count_nonzero(ours, axis=(0, 1))
    hits = np.count_nonzero(ours & theirs, axis=(0, 1))
    gated, called = (
        [0 if volume is None else s.geometry.slice_index for s in slices if s.calibrated >= limit]
        for limit in (point.seg_gate, point.threshold)
    )
    n_gated, n_reference = int(per_slice[gated].sum()), int(np.count_nonzero(reference))
    voxel_ml = None if volume is None else voxel_volume_ml(geometry)
    rule = point.patient_rule(int(per_slice[called].sum()), voxel_ml)
    return {
        "gated_dice": metrics.dice_from_counts(int(hits[gated].sum()), n_gated, n_reference),
        "gated_predicted_voxels": n_gated,
        "rule_volume": rule.volume,
        "rule_unit": rule.unit,
        "rule_limit": rule.limit,
        "patient_call": int(rule.call),
        "patient_label": int(n_reference > 0),
    }


def save_case_masks(
    slices: Sequence[Prediction], predicted: np.ndarray, folder: Path
) -> list[Path]:
    """Write the mask of one case in its original geometry; returns the files.

    A volume with an affine becomes ``<case_id>.nii.gz`` (uint8 {0, 1}, the input's grid and
    affine), so that a viewer lays it over the input. Images, and stacks of pictures whose place in
    the patient is unknown, become one PNG (0/255, the picture's size) per slice: <image_id>.png.
    """
    folder.mkdir(parents=True, exist_ok=True)
    volume = slices[0].geometry.volume
    if volume is not None and volume.affine is not None:
        path = folder / f"{slices[0].row.case_id}.nii.gz"
        with atomic_path(path) as temporary:
            temporary.write_bytes(mask_nifti(predicted, np.array(volume.affine)))
        return [path]
    return [_save_png(s, folder / f"{s.row.image_id}.png") for s in slices]


def _save_png(prediction: Prediction, path: Path) -> Path:
    from PIL import Image

    plane = prediction.geometry.mask_to_plane(prediction.mask)
    with atomic_path(path) as temporary:
        Image.fromarray(plane.astype(np.uint8) * 255).save(temporary)
    return path
