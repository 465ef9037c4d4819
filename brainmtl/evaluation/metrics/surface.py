"""Distances between the surfaces of two masks, and the three metrics that derive from them.

The surface of a mask is the set of its pixels (voxels) with a background neighbour across a face;
what lies outside the array is background. Nearest-neighbour distances are exact (k-d trees over the
surface pixels): ``scipy.ndimage.distance_transform_edt`` gives the same numbers, several times
slower, because it fills the whole box that holds both masks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from brainmtl.evaluation.metrics.common import bounding_box, check_same_grid

TOLERANCE = 2.0  # mm where a spacing is known, pixels otherwise
ROUNDING = 1e-6  # differences of coordinates such as 12 * 0.4 - 7 * 0.4 miss 2.0 by some 1e-16


def surface_metrics(
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing: Sequence[float] | None = None,
    tolerance: float = TOLERANCE,
) -> dict[str, float | None]:
    """``{"nsd", "boundary_f", "hd95"}`` of two masks of one shape, 2-D or 3-D.

    - ``nsd`` in [0, 1]: normalised surface Dice, the share of both surfaces together that lies
      within ``tolerance`` of the other one (Nikolov et al. 2018, arXiv:1809.04430). The size of a
      surface is its number of pixels (as MONAI's default), not an interpolated area.
    - ``boundary_f`` in [0, 1]: harmonic mean of the share of the predicted surface within
      ``tolerance`` of the reference and the share of the reference surface within it of the
      prediction (Csurka et al. 2013, BMVC).
    - ``hd95`` in units of ``spacing``: the larger of the two directed 95th percentiles (linear
      interpolation), as in MONAI and DeepMind's surface-distance. MedPy's HD95, the percentile of
      both directions pooled, is another figure.

    Args:
        spacing: size of a pixel along every axis, in the unit of ``tolerance``; None = 1 each.
        tolerance: distance that still counts as correct, in the same unit.

    Returns:
        All three None on an empty reference; 0, 0 and None where only the prediction is empty.

    Raises:
        ValueError: shapes that differ, a spacing that does not fit them, a negative tolerance.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be 0 or more, got {tolerance}")
    distances = surface_distances(prediction, reference, spacing)
    if distances is None:
        missed = 0.0 if reference.any() else None
        return {"nsd": missed, "boundary_f": missed, "hd95": None}
    near = [int(np.count_nonzero(d <= tolerance + ROUNDING)) for d in distances]
    sizes = [len(d) for d in distances]
    precision, recall = near[0] / sizes[0], near[1] / sizes[1]
    harmonic = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {
        "nsd": sum(near) / sum(sizes),
        "boundary_f": harmonic,
        "hd95": float(max(np.percentile(d, 95) for d in distances)),
    }


def surface_distances(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float] | None = None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Distance of every surface pixel to the nearest one of the other mask, float64.

    Returns:
        ((n predicted surface pixels,), (n reference surface pixels,)); None where a mask is empty.
    """
    from scipy.spatial import KDTree

    check_same_grid(prediction, reference)
    scale = np.ones(prediction.ndim) if spacing is None else np.asarray(spacing, dtype=np.float64)
    if scale.shape != (prediction.ndim,) or not (np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError(
            f"spacing {spacing} must be {prediction.ndim} positive numbers for masks of shape "
            f"{prediction.shape}"
        )
    predicted, true = prediction.astype(bool, copy=False), reference.astype(bool, copy=False)
    if not (predicted.any() and true.any()):
        return None
    box = bounding_box(predicted | true)
    ours, theirs = (np.argwhere(_surface(mask[box])) * scale for mask in (predicted, true))
    return KDTree(theirs).query(ours)[0], KDTree(ours).query(theirs)[0]


def _surface(mask: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_erosion

    return mask & ~binary_erosion(mask)
