"""Detection of single lesions: connected components found, missed and invented."""

from __future__ import annotations

import numpy as np

from brainmtl.evaluation.metrics.common import bounding_box, check_same_grid


def lesion_counts(prediction: np.ndarray, reference: np.ndarray) -> dict[str, int]:
    """``{"reference", "found", "false_positive"}``: numbers of connected components of two masks.

    Pixels are connected across faces, edges and corners (8 neighbours in 2-D, 26 in 3-D). A
    component of the reference is found when the prediction holds at least one pixel of it; a
    component of the prediction is a false positive when no pixel of it is in the reference.

    Raises:
        ValueError: the shapes differ.
    """
    from scipy.ndimage import label

    check_same_grid(prediction, reference)
    predicted, true = prediction.astype(bool, copy=False), reference.astype(bool, copy=False)
    box = bounding_box(predicted | true)
    predicted, true = predicted[box], true[box]
    neighbours = np.ones((3,) * true.ndim, dtype=bool)
    lesions, n_lesions = label(true, structure=neighbours)
    components, n_components = label(predicted, structure=neighbours)
    both = predicted & true
    return {
        "reference": int(n_lesions),
        "found": len(np.unique(lesions[both])),
        "false_positive": int(n_components) - len(np.unique(components[both])),
    }
