"""Pure metric functions on numpy arrays; what is not defined is ``None``, never NaN and never 0.

Conventions (also in docs/evaluation.md):

- Positive class = tumour = 1. A score is called positive when ``score >= threshold``.
- A rate with denominator 0 (sensitivity without positives, precision without a positive call, ...)
  is not defined. ROC-AUC, PR-AUC and balanced accuracy need both classes.
- Dice, IoU and the surface metrics are defined on non-empty references only. An empty reference
  never enters a mean of them, whether the prediction is empty (perfect) or not (a false positive);
  such masks have their own columns: false-positive rate and mean predicted pixels.
- On a non-empty reference an empty prediction has Dice = IoU = NSD = boundary F = 0. Its HD95 is
  not defined (no surface to measure from): such misses are counted beside the mean.
- SD is the sample standard deviation (n - 1) and needs two values.
"""

from brainmtl.evaluation.metrics.calibration import (
    brier_score,
    expected_calibration_error,
    reliability_bins,
)
from brainmtl.evaluation.metrics.classification import (
    average_precision,
    classification_metrics,
    confusion,
    matthews,
    roc_auc,
)
from brainmtl.evaluation.metrics.common import bounding_box, group_means, mean_sd, ratio
from brainmtl.evaluation.metrics.lesions import lesion_counts
from brainmtl.evaluation.metrics.operating import (
    sensitivity_at_specificity,
    specificity_at_sensitivity,
    threshold_table,
)
from brainmtl.evaluation.metrics.overlap import (
    dice,
    dice_from_counts,
    iou,
    iou_from_counts,
    overlap,
    overlap_metrics,
    patient_metrics,
    pixel_accuracy_from_counts,
    pooled_dice,
)
from brainmtl.evaluation.metrics.surface import TOLERANCE, surface_distances, surface_metrics
from brainmtl.evaluation.metrics.volumes import bland_altman

__all__ = [
    "TOLERANCE",
    "average_precision",
    "bland_altman",
    "bounding_box",
    "brier_score",
    "classification_metrics",
    "confusion",
    "dice",
    "dice_from_counts",
    "expected_calibration_error",
    "group_means",
    "iou",
    "iou_from_counts",
    "lesion_counts",
    "matthews",
    "mean_sd",
    "overlap",
    "overlap_metrics",
    "patient_metrics",
    "pixel_accuracy_from_counts",
    "pooled_dice",
    "ratio",
    "reliability_bins",
    "roc_auc",
    "sensitivity_at_specificity",
    "specificity_at_sensitivity",
    "surface_distances",
    "surface_metrics",
    "threshold_table",
]
