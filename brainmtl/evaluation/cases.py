"""From slices back to the original grid: scores and mask files of one case at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brainmtl.data.geometry import assemble_volume, voxel_volume_ml
from brainmtl.data.samples import read_reference
from brainmtl.errors import DataError
from brainmtl.evaluation import metrics
from brainmtl.evaluation.predict import Prediction
from brainmtl.files import atomic_path


def original_mask(slices: Sequence[Prediction]) -> np.ndarray:
    """Predicted mask of one case, uint8 {0, 1}: the file grid of a volume or the plane of an image.

    Slices that preparation left out (no brain in them) are predicted empty.
    """
    first = slices[0].geometry
    if first.volume is None:
        return first.mask_to_plane(slices[0].mask).astype(np.uint8)
    return assemble_volume([s.geometry for s in slices], [s.mask for s in slices])


def score_case(
    slices: Sequence[Prediction], predicted: np.ndarray, data_dir: Path
) -> dict[str, Any] | None:
    """One line of ``cases.csv``: overlap in the original grid; None for a case without reference.

    Args:
        slices: all predictions of one case.
        predicted: their mask in the original grid, see :func:`original_mask`.

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
    counts = metrics.overlap(predicted > 0, reference > 0)
    voxel_ml = voxel_volume_ml(geometry) if geometry.volume is not None else None
    return {
        "source": row.source,
        "group": row.group,
        "case_id": row.case_id,
        "kind": row.kind,
        "synthetic": int(row.synthetic),
        "n_slices": len(slices),
        "dice": metrics.dice_from_counts(*counts),
        "iou": metrics.iou_from_counts(*counts),
        "intersection_voxels": counts[0],
        "predicted_voxels": counts[1],
        "reference_voxels": counts[2],
        "predicted_ml": None if voxel_ml is None else counts[1] * voxel_ml,
        "reference_ml": None if voxel_ml is None else counts[2] * voxel_ml,
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
        import nibabel as nib

        image = nib.Nifti1Image(predicted.astype(np.uint8), np.array(volume.affine))
        image.header.set_xyzt_units("mm")
        path = folder / f"{slices[0].row.case_id}.nii.gz"
        with atomic_path(path) as temporary:
            nib.save(image, temporary)
        return [path]
    return [_save_png(s, folder / f"{s.row.image_id}.png") for s in slices]


def _save_png(prediction: Prediction, path: Path) -> Path:
    from PIL import Image

    plane = prediction.geometry.mask_to_plane(prediction.mask)
    with atomic_path(path) as temporary:
        Image.fromarray(plane.astype(np.uint8) * 255).save(temporary)
    return path
