"""Intervals for proportions: Wilson where trials are independent, cluster bootstrap where not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from brainmtl.evaluation.statistics.bootstrap import (
    CONFIDENCE,
    RESAMPLES,
    Interval,
    bootstrap_interval,
)
from brainmtl.evaluation.statistics.weighted import ratio


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson score interval (Wilson 1927) of ``successes / trials``; none without trials.

    Raises:
        ValueError: successes outside 0..trials.
    """
    from statsmodels.stats.proportion import proportion_confint

    if not 0 <= successes <= trials:
        raise ValueError(f"successes {successes} must lie between 0 and trials {trials}")
    if not trials:
        return Interval(None, None, None, None, 0, note="no trial: no interval")
    low, high = proportion_confint(successes, trials, alpha=1 - confidence, method="wilson")
    # Rounding can leave the bounds a hair outside what the score interval gives exactly.
    low, high = max(0.0, float(low)), min(1.0, float(high))
    return Interval(successes / trials, low, high, "wilson", int(trials))


def proportion_interval(
    successes: np.ndarray,
    trials: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Interval of ``sum(successes) / sum(trials)``, both (G,) counts per group.

    Groups without a trial are left out. With one trial in every group the trials are independent:
    Wilson. Otherwise the bootstrap over groups; where all groups have the same proportion 0 or 1,
    which no resampling can vary, Wilson with each group as a single trial, the most cautious
    reading of a cluster.
    """
    successes, trials = np.asarray(successes), np.asarray(trials)
    successes, trials = successes[trials > 0], trials[trials > 0]
    n, total = len(trials), int(trials.sum())
    if (trials <= 1).all():
        return wilson(int(successes.sum()), total, confidence)
    if n > 1 and successes.sum() in (0, total):
        found = wilson(n if successes.sum() else 0, n, confidence)
        note = f"the same in all {n} groups: each counted as one trial"
        return replace(found, note=note)
    return bootstrap_interval(
        ratio(successes.astype(np.float64), trials.astype(np.float64)),
        n,
        resamples=resamples,
        seed=seed,
        confidence=confidence,
    )
