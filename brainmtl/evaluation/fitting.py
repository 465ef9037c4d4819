"""Fit the operating point on validation predictions: mask options, T, threshold, patient rule.

Options of the mask come first, since test-time augmentation changes P as well; then the temperature,
the threshold on calibrated P, and last the volume from which a patient is called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainmtl.errors import ConfigError
from brainmtl.evaluation.candidates import Candidate, CandidateTally, choose_candidate
from brainmtl.inference.operating import calibration
from brainmtl.inference.operating.operating_point import DEFAULT_SEG_GATE, OperatingPoint
from brainmtl.inference.operating.postprocess import PostprocessOptions

# At most 2 ml (a ball of 16 mm): a rule fitted on few patients must not hide what a reader would see.
VOLUME_LIMITS_ML = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0)
VOXELS_PER_ML = 1000  # of 1 mm in each direction, where no spacing is known
MAX_THRESHOLD = 0.999
_MAX_LOG_ODDS = 10.0  # P of 0.00005 and of 0.99995
_TIE = 1e-9


@dataclass(frozen=True)
class ThresholdFit:
    """``threshold``; ``balanced_accuracy`` by source at it, empty where no source has both classes;
    ``remarks`` are sentences on what limits the fit."""

    threshold: float
    balanced_accuracy: dict[str, float]
    remarks: tuple[str, ...] = ()


def fit_threshold(
    labels: np.ndarray, calibrated: np.ndarray, sources: np.ndarray, gate: float
) -> ThresholdFit:
    """The P, of at least ``gate``, at which an image is as likely to show a tumour as not.

    A logistic regression of the label on the log-odds of P (Platt 1999), in which both classes of
    every source weigh alike: its even odds are where balanced accuracy, averaged over sources, is
    expected to be largest. Choosing the threshold that is best on the validation images themselves
    follows single images instead, and was worse on those of the test split (docs/experiments.md).
    Sources of one class are left out.

    Args:
        labels, calibrated, sources: (N,) 0 or 1, calibrated P, name of the source.

    Raises:
        ConfigError: a gate above MAX_THRESHOLD.
    """
    from sklearn.metrics import balanced_accuracy_score

    if not 0 <= gate <= MAX_THRESHOLD:
        raise ConfigError(f"seg_gate={gate} must lie between 0 and {MAX_THRESHOLD}")
    one_class = [s for s in np.unique(sources).tolist() if len(set(labels[sources == s])) < 2]
    remarks = [f"{s}: one class in validation, not used for the threshold." for s in one_class]
    used = ~np.isin(sources, one_class)
    labels, calibrated, sources = labels[used], calibrated[used], sources[used]
    threshold = None
    if not used.any():
        remarks.append("No validation source has both classes: the threshold is not fitted.")
    elif (threshold := _even_odds(labels, calibrated, sources)) is None:
        remarks.append("P does not rise with tumour in validation: the threshold is not fitted.")
    threshold = float(np.clip(0.5 if threshold is None else threshold, gate, MAX_THRESHOLD))
    at = {
        s: float(
            balanced_accuracy_score(labels[sources == s], calibrated[sources == s] >= threshold)
        )
        for s in np.unique(sources).tolist()
    }
    return ThresholdFit(threshold, at, tuple(remarks))


def _even_odds(labels: np.ndarray, calibrated: np.ndarray, sources: np.ndarray) -> float | None:
    """P where the fitted odds are even; None where they do not rise with P."""
    from scipy import special
    from sklearn.linear_model import LogisticRegression
    from sklearn.utils.class_weight import compute_sample_weight

    # further out one confidently wrong image would decide the slope
    log_odds = np.clip(calibration.logit(calibrated), -_MAX_LOG_ODDS, _MAX_LOG_ODDS)
    pairs = [f"{source} {label}" for source, label in zip(sources, labels, strict=True)]
    weights = compute_sample_weight("balanced", pairs)
    model = LogisticRegression().fit(log_odds[:, None], labels, sample_weight=weights)
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    if slope <= _TIE:
        return None
    return float(special.expit(-intercept / slope))


@dataclass(frozen=True)
class LimitFit:
    """``limit`` in its unit; patients by reference, and rates at the limit (None: not defined)."""

    limit: float
    n_tumour: int
    n_healthy: int
    sensitivity: float | None
    specificity: float | None


def fit_volume_limit(
    volumes: np.ndarray, has_tumour: np.ndarray, limits: tuple[float, ...]
) -> LimitFit:
    """The volume above which a patient is called, of ``limits`` (ascending, first 0).

    With patients of both kinds the one of the largest balanced accuracy; with tumour patients alone
    the largest that misses no more of them than 0 does. Of equals the largest. 0 without tumours.
    """
    tumours, healthy = volumes[has_tumour], volumes[~has_tumour]
    sensitivity = [float((tumours > v).mean()) if len(tumours) else None for v in limits]
    specificity = [float((healthy <= v).mean()) if len(healthy) else None for v in limits]
    chosen = 0
    if len(tumours):
        # without healthy patients the specificity is the same unknown at every limit
        scores = np.array(sensitivity) + np.array([s or 0.0 for s in specificity])
        chosen = int(np.flatnonzero(scores >= scores.max() - _TIE)[-1])
    return LimitFit(
        float(limits[chosen]), len(tumours), len(healthy), sensitivity[chosen], specificity[chosen]
    )


@dataclass(frozen=True)
class FittedOperatingPoint:
    """The operating point and how it came about; ``limits`` has one entry per unit ("ml", "voxels").

    ``operating_point.candidates`` is :meth:`CandidateTally.table`, with ``chosen`` on each line.
    """

    operating_point: OperatingPoint
    temperature: calibration.TemperatureFit
    threshold: ThresholdFit
    limits: dict[str, LimitFit]


def fit_operating_point(
    labels: Any,
    probabilities: Mapping[str, Any],
    sources: Any,
    tally: CandidateTally,
    *,
    checkpoint_sha256: str,
    manifest_sha256: str,
    seg_gate: float = DEFAULT_SEG_GATE,
) -> FittedOperatingPoint:
    """Fit every value of the operating point on the validation split.

    Args:
        labels: (N,) 1, 0, or -1 for images without a label, which are left out.
        probabilities: raw P(tumour) (N,) per mode of test-time augmentation of ``tally``.
        sources: (N,) name of the source of each image.
        tally: the slices that have a reference mask, all added; may be empty.

    Raises:
        ConfigError: a gate above MAX_THRESHOLD.
        ValueError: unequal lengths, probabilities outside [0, 1], or a mode without probabilities.
    """
    table = tally.table()
    candidate, remark = choose_candidate(table)
    labels, raw, sources = _labelled(labels, probabilities, sources, candidate.tta)
    temperature = calibration.fit_temperature(labels, calibration.logit(raw), sources)
    calibrated = calibration.apply(raw, temperature.temperature)
    threshold = fit_threshold(labels, calibrated, sources, seg_gate)
    limits = _fit_limits(tally, candidate, temperature.temperature, threshold.threshold)
    remarks = [*([remark] if remark else []), *temperature.remarks, *threshold.remarks]
    point = OperatingPoint(
        temperature=temperature.temperature,
        threshold=threshold.threshold,
        seg_gate=seg_gate,
        seg_threshold=tally.seg_threshold,
        postprocess=PostprocessOptions(candidate.min_component_pixels, candidate.fill_holes),
        tta=candidate.tta,
        limit_ml=limits["ml"].limit,
        limit_voxels=limits["voxels"].limit,
        checkpoint_sha256=checkpoint_sha256,
        manifest_sha256=manifest_sha256,
        counts=_counts(labels, sources, table, limits),
        remarks=(*remarks, *_limit_remarks(limits)),
        candidates=tuple(
            line | {"chosen": all(line[k] == v for k, v in candidate._asdict().items())}
            for line in table
        ),
        fitted=True,
    )
    return FittedOperatingPoint(point, temperature, threshold, limits)


def _labelled(
    labels: Any, probabilities: Mapping[str, Any], sources: Any, mode: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if mode not in probabilities:
        raise ValueError(f"probabilities lack the mode {mode}")
    arrays = (
        np.asarray(labels),
        np.asarray(probabilities[mode], dtype=np.float64),
        np.asarray(sources).astype(str),
    )
    if len({array.shape for array in arrays}) > 1 or arrays[0].ndim != 1:
        raise ValueError("labels, probabilities and sources must be (N,) alike")
    labels, raw, sources = (array[arrays[0] >= 0] for array in arrays)
    return labels, raw, sources


def _fit_limits(
    tally: CandidateTally, candidate: Candidate, temperature: float, threshold: float
) -> dict[str, LimitFit]:
    grids = {"ml": VOLUME_LIMITS_ML, "voxels": tuple(VOXELS_PER_ML * v for v in VOLUME_LIMITS_ML)}
    return {
        unit: fit_volume_limit(
            *tally.patient_volumes(candidate, temperature, threshold, unit), grid
        )
        for unit, grid in grids.items()
    }


def _counts(
    labels: np.ndarray,
    sources: np.ndarray,
    table: list[dict[str, Any]],
    limits: dict[str, LimitFit],
) -> dict[str, Any]:
    seen = Counter(zip(sources.tolist(), labels.tolist(), strict=True))
    return {
        "images": {
            source: {"tumour": seen[source, 1], "no_tumour": seen[source, 0]}
            for source in np.unique(sources).tolist()
        },
        "patients_with_masks": table[0]["n"],
        "patients": {
            unit: {"tumour": fit.n_tumour, "healthy": fit.n_healthy} for unit, fit in limits.items()
        },
    }


def _limit_remarks(limits: dict[str, LimitFit]) -> tuple[str, ...]:
    if not any(fit.n_tumour + fit.n_healthy for fit in limits.values()):
        return ("No validation volume has a mask: a patient is called from the first voxel on.",)
    found = []
    for unit, fit in limits.items():
        where = f"among the validation volumes {'with' if unit == 'ml' else 'without'} a known voxel size"
        if fit.n_tumour and not fit.n_healthy:
            found.append(f"No healthy patient {where}: patient specificity: not defined.")
        elif fit.n_healthy and not fit.n_tumour:
            found.append(f"No patient with tumour {where}: the limit stays at 0.")
    return tuple(found)
