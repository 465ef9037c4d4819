"""Cluster bootstrap over patients or duplicate groups, with bias-corrected accelerated intervals.

Slices of one patient resemble each other, so the unit that is drawn is the group. A statistic is a
function of group weights, ``(R, G) -> (R,)``: a resample is a row of multinomial counts, the
jackknife is the matrix ``1 - eye``, and the estimate itself is a row of ones. Weights of 0 stand for
groups that were not drawn; what is not defined under some weights is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]

RESAMPLES = 2000
CONFIDENCE = 0.95
BLOCK = 64  # weight rows at a time, which bounds the memory of statistics over all slices
TIE = 1e-12  # sums in another order differ by rounding alone


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval; ``low`` and ``high`` are None where there is none.

    ``method`` is "bca", "percentile", "basic" or "wilson", ``n`` the groups (Wilson: trials),
    ``resamples`` those that counted, ``left_out`` those in which the statistic was not defined,
    ``note`` what a reader must know.
    """

    estimate: float | None
    low: float | None
    high: float | None
    method: str | None
    n: int
    resamples: int | None = None
    left_out: int = 0
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the estimate; see docs/comparison.md."""
        if self.low is None:
            return {"low": None, "high": None, "n": self.n, "note": self.note}
        found = {"low": self.low, "high": self.high, "method": self.method, "n": self.n}
        found["resamples"] = self.resamples
        if self.left_out:
            found["left_out"] = self.left_out
        return found if self.note is None else found | {"note": self.note}


@dataclass(frozen=True)
class Replicates:
    """``values`` (at most R,) of a statistic over resamples, ``jackknife`` (G,) without each group."""

    estimate: float
    values: np.ndarray
    jackknife: np.ndarray
    left_out: int

    @property
    def constant(self) -> bool:
        """Whether no resample differs from the estimate."""
        return bool((np.abs(self.values - self.estimate) <= TIE * (1 + abs(self.estimate))).all())


def bootstrap_interval(
    statistic: Statistic,
    n_groups: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    method: str = "bca",
) -> Interval:
    """Interval of a statistic of group weights, by default BCa (Efron 1987).

    ``method="basic"`` is for figures that chance alone raises, see :func:`basic_interval`.

    Returns:
        No interval with fewer than two groups or an estimate that is not defined; a point, with a
        note, where no resample differs from the estimate.

    Raises:
        ValueError: fewer than 2 resamples, a confidence outside (0, 1), or an unknown method.
    """
    builders = {"bca": bca_interval, "basic": basic_interval}
    if method not in builders:
        raise ValueError(f"method {method} is unknown: choose {', '.join(builders)}")
    if n_groups < 2:
        estimate = point(statistic, n_groups)
        which = "one patient or group" if n_groups else "no patient or group"
        return Interval(estimate, None, None, None, n_groups, note=f"{which}: no interval")
    found = resample(statistic, n_groups, resamples=resamples, seed=seed)
    return builders[method](found, confidence)


def point(statistic: Statistic, n_groups: int) -> float | None:
    """The statistic of the data as they are, None where it is not defined."""
    if not n_groups:
        return None
    value = float(_evaluate(statistic, [np.ones((1, n_groups))])[0])
    return value if np.isfinite(value) else None


def resample(
    statistic: Statistic, n_groups: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> Replicates:
    """The statistic under ``resamples`` draws of ``n_groups`` groups with replacement."""
    if resamples < 2:
        raise ValueError(f"resamples must be at least 2, got {resamples}")
    estimate = float(_evaluate(statistic, [np.ones((1, n_groups))])[0])
    values = _evaluate(statistic, _blocks(resampling_weights(n_groups, resamples, seed)))
    defined = np.isfinite(values)
    jackknife = _evaluate(statistic, _leave_one_out(n_groups))
    return Replicates(estimate, values[defined], jackknife, int((~defined).sum()))


@lru_cache(maxsize=4)
def resampling_weights(n_groups: int, resamples: int, seed: int) -> np.ndarray:
    """(R, G) uint16, each row the counts of G draws with replacement; the same for the same seed."""
    rng = np.random.default_rng(seed)
    weights = np.empty((resamples, n_groups), dtype=np.uint16)
    for row in weights:
        row[:] = np.bincount(rng.integers(0, n_groups, n_groups), minlength=n_groups)
    weights.flags.writeable = False
    return weights


def bca_interval(found: Replicates, confidence: float = CONFIDENCE) -> Interval:
    """Interval from replicates: BCa, or percentile where bias or acceleration is not defined.

    Bias correction z0 is the normal quantile of the share of resamples below the estimate (ties
    count one half), acceleration a = sum(d^3) / (6 sum(d^2)^1.5) with d the jackknife's deviations
    (Efron 1987; Efron and Tibshirani 1993, ch. 14).
    """
    from scipy.special import ndtr, ndtri

    levels = _levels(confidence)
    degenerate = _degenerate(found)
    if degenerate is not None:
        return degenerate
    method, shape = "percentile", bca_shape(found)
    if shape is not None:
        bias, acceleration = shape
        shifted = bias + ndtri(levels)
        if (1 - acceleration * shifted > 0).all():
            method, levels = "bca", ndtr(bias + shifted / (1 - acceleration * shifted))
    low, high = np.quantile(found.values, levels)
    return _interval(found, float(low), float(high), method)


def basic_interval(found: Replicates, confidence: float = CONFIDENCE) -> Interval:
    """``(2 t - upper quantile, 2 t - lower quantile)``, not below 0 (Davison and Hinkley 1997, 5.2).

    For a figure that cannot be negative and that chance alone raises, such as the calibration error:
    resamples lie above the estimate t as it lies above the truth, which BCa answers with intervals
    that hardly ever hold the truth of a well calibrated model.
    """
    levels = _levels(confidence)
    degenerate = _degenerate(found)
    if degenerate is not None:
        return degenerate
    high, low = np.maximum(2 * found.estimate - np.quantile(found.values, levels), 0.0)
    return _interval(found, float(low), float(high), "basic")


def _levels(confidence: float) -> np.ndarray:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    return np.array([(1 - confidence) / 2, (1 + confidence) / 2])


def _degenerate(found: Replicates) -> Interval | None:
    """What there is where resampling cannot give an interval, else None."""
    n, kept = len(found.jackknife), len(found.values)
    if not np.isfinite(found.estimate) or kept < 2:
        estimate = found.estimate if np.isfinite(found.estimate) else None
        return Interval(estimate, None, None, None, n, note="not defined: no interval")
    if not found.constant:
        return None
    note = f"no variation between the {n} groups: resampling cannot show how uncertain this is"
    return _interval(found, found.estimate, found.estimate, "percentile", note)


def _interval(
    found: Replicates, low: float, high: float, method: str, note: str | None = None
) -> Interval:
    n, kept = len(found.jackknife), len(found.values)
    return Interval(found.estimate, low, high, method, n, kept, found.left_out, note)


def bca_p_value(found: Replicates) -> float:
    """Two-sided p of "the statistic is 0": the level at which the BCa interval just touches 0.

    So p < 0.05 exactly where the 95 % interval excludes 0. At least 2 / (resamples + 1); 1.0 where
    no resample differs from an estimate of 0.
    """
    from scipy.special import ndtr, ndtri

    kept = len(found.values)
    below = (found.values < -TIE).sum() + 0.5 * (np.abs(found.values) <= TIE).sum()
    share = np.clip(below / kept, 1 / (kept + 1), kept / (kept + 1))
    shape = bca_shape(found)
    if shape is not None:
        bias, acceleration = shape
        distance = ndtri(share) - bias
        if 1 + acceleration * distance > 0:
            share = ndtr(distance / (1 + acceleration * distance) - bias)
    return float(np.clip(2 * min(share, 1 - share), 2 / (kept + 1), 1.0))


def bca_shape(found: Replicates) -> tuple[float, float] | None:
    """(bias correction z0, acceleration a), None where either is not finite."""
    from scipy.special import ndtri

    tie = TIE * (1 + abs(found.estimate))
    distance = found.values - found.estimate
    below = (distance < -tie).mean() + 0.5 * (np.abs(distance) <= tie).mean()
    deviations = found.jackknife.mean() - found.jackknife
    spread = (deviations**2).sum() ** 1.5
    if not 0 < below < 1 or not np.isfinite(spread) or spread == 0:
        return None
    return float(ndtri(below)), float((deviations**3).sum() / (6 * spread))


def _evaluate(statistic: Statistic, blocks: Iterable[np.ndarray]) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.concatenate([np.asarray(statistic(block), dtype=float) for block in blocks])


def _blocks(weights: np.ndarray) -> Iterable[np.ndarray]:
    for start in range(0, len(weights), BLOCK):
        yield weights[start : start + BLOCK].astype(np.float64)


def _leave_one_out(n_groups: int) -> Iterable[np.ndarray]:
    for start in range(0, n_groups, BLOCK):
        rows = np.arange(start, min(start + BLOCK, n_groups))
        block = np.ones((len(rows), n_groups))
        block[np.arange(len(rows)), rows] = 0.0
        yield block
