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
from brainmtl.inference import calibration
from brainmtl.inference.operating_point import DEFAULT_SEG_GATE, OperatingPoint
from brainmtl.inference.postprocess import PostprocessOptions

# At most 2 ml (a ball of 16 mm): a rule fitted on few patients must not hide what a reader would see.
VOLUME_LIMITS_ML = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0)
VOXELS_PER_ML = 1000  # of 1 mm in each direction, where no spacing is known
MAX_THRESHOLD = 0.999
_TIE = 1e-9


@dataclass(frozen=True)
class ThresholdFit:
    """``threshold``; ``balanced_accuracy`` by source at it; ``plateau`` (above, up to) on which the
    mean over sources is the same; both empty or None where nothing could be fitted."""

    threshold: float
    balanced_accuracy: dict[str, float]
    plateau: tuple[float, float] | None
    remarks: tuple[str, ...] = ()


def fit_threshold(
    labels: np.ndarray, calibrated: np.ndarray, sources: np.ndarray, gate: float
) -> ThresholdFit:
    """The threshold of at least ``gate`` with the largest mean over sources of balanced accuracy.

    Between two neighbouring values of P the calls do not change. Of the best such plateaus the
    widest one above the gate is taken, of equally wide ones the one nearest to 0.5, and of it the
    middle (the gate where the middle lies below). Sources of one class are left out.

    Args:
        labels, calibrated, sources: (N,) 0 or 1, calibrated P, name of the source.

    Raises:
        ConfigError: a gate above MAX_THRESHOLD.
    """
    if not 0 <= gate <= MAX_THRESHOLD:
        raise ConfigError(f"seg_gate={gate} must lie between 0 and {MAX_THRESHOLD}")
    split = {
        source: tuple(np.sort(calibrated[(sources == source) & (labels == k)]) for k in (0, 1))
        for source in np.unique(sources).tolist()
    }
    one_class = [source for source, parts in split.items() if not all(map(len, parts))]
    both = {source: parts for source, parts in split.items() if source not in one_class}
    remarks = (*(f"{s}: one class in validation, not used for the threshold." for s in one_class),)
    if not both:
        remark = "No validation source has both classes: the threshold is not fitted."
        return ThresholdFit(max(0.5, gate), {}, None, (*remarks, remark))
    values = np.unique(np.concatenate([part for parts in both.values() for part in parts]))
    uppers = np.union1d(values, [1.0])
    lowers = np.append(0.0, uppers[:-1])
    means = np.mean([_balanced_accuracy(parts, uppers) for parts in both.values()], axis=0)
    open_to_choice = (uppers >= gate) & (lowers < MAX_THRESHOLD) & (lowers < uppers)
    best = open_to_choice & (means >= means[open_to_choice].max() - _TIE)
    threshold, plateau = _middle_of_widest(lowers, np.minimum(uppers, MAX_THRESHOLD), best, gate)
    at = {s: float(_balanced_accuracy(p, np.array([threshold]))[0]) for s, p in both.items()}
    return ThresholdFit(threshold, at, plateau, remarks)


def _balanced_accuracy(parts: tuple[np.ndarray, np.ndarray], thresholds: np.ndarray) -> np.ndarray:
    """Of the sorted P of negatives and positives, at each threshold (a call is P >= threshold)."""
    below_negative, below_positive = (
        np.searchsorted(part, thresholds, side="left") / len(part) for part in parts
    )
    return (below_negative + 1 - below_positive) / 2


def _middle_of_widest(
    lowers: np.ndarray, uppers: np.ndarray, best: np.ndarray, gate: float
) -> tuple[float, tuple[float, float]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], best, [False]]).astype(int)))
    plateaus = [
        (float(lowers[first]), float(uppers[end - 1]))
        for first, end in zip(edges[::2], edges[1::2], strict=True)
    ]
    widths = [high - max(low, gate) for low, high in plateaus]
    widest = [p for p, width in zip(plateaus, widths, strict=True) if width >= max(widths) - _TIE]
    low, high = min(widest, key=lambda p: abs((p[0] + p[1]) / 2 - 0.5))
    threshold = max((low + high) / 2, gate)
    # two neighbouring floats have no middle
    return (threshold if low < threshold <= high else high), (low, high)


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
        where = f"among validation volumes in {unit}"
        if fit.n_tumour and not fit.n_healthy:
            found.append(f"No healthy patient {where}: patient specificity: not defined.")
        elif fit.n_healthy and not fit.n_tumour:
            found.append(f"No patient with tumour {where}: the limit stays at 0.")
    return tuple(found)
