"""Temperature scaling: probabilities that mean what they say.

Guo et al. 2017, "On Calibration of Modern Neural Networks": one number T divides the logits, chosen to
minimise the negative log-likelihood of images that the network was not trained on. The order of the
images does not change, so neither does the ROC curve (below T = 0.5 the most certain ones may tie at
P = 1); T > 1 takes certainty back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

# T beyond these says "certain" or "no idea" of everything: no validation set of ours can support it.
TEMPERATURE_RANGE = (0.05, 20.0)
MIN_CALIBRATION_IMAGES = 20
# A softmax in float32 ends at 1 - 2**-24 and 2**-149 before it reaches 1 and 0. Probabilities of
# exactly 1 and 0 are read as the next step, so that their logit is finite and their rank is kept.
_HIGHEST, _LOWEST = 1 - 2.0**-25, 2.0**-150


@dataclass(frozen=True)
class TemperatureFit:
    """``temperature``; ``nll_before`` (T = 1) and ``nll_after`` in nats per image, None without
    images; ``remarks`` are sentences on what limits the fit."""

    temperature: float
    nll_before: float | None
    nll_after: float | None
    remarks: tuple[str, ...] = ()


def logit(probability: Any) -> np.ndarray:
    """log(p / (1 - p)) of probabilities in [0, 1] (any shape), finite float64.

    For a two-class softmax this is the difference of its two logits.

    Raises:
        ValueError: a value outside [0, 1], or NaN.
    """
    from scipy import special

    p = np.asarray(probability, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("probabilities must lie in [0, 1] and not be NaN")
    return special.logit(np.clip(p, _LOWEST, _HIGHEST))


def apply(probability: Any, temperature: float) -> np.ndarray:
    """Calibrated probabilities, float64 of the same shape: sigmoid(logit(p) / T); p itself at T = 1.

    Raises:
        ValueError: a probability outside [0, 1] or NaN, or a temperature that is not above 0.
    """
    from scipy import special

    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature {temperature} must be a number above 0")
    logits = logit(probability)
    if temperature == 1.0:
        return np.array(probability, dtype=np.float64)
    return special.expit(logits / temperature)


def fit_temperature(labels: Any, logits: Any, sources: Any) -> TemperatureFit:
    """The temperature that minimises the negative log-likelihood, every source weighted equally.

    T stays 1, with a remark, where the likelihood says nothing about it: fewer than
    MIN_CALIBRATION_IMAGES images, one class only, or logits whose sign is right for every image
    (the likelihood then only grows as T goes to 0).

    Args:
        labels: (N,) 0 or 1.
        logits: (N,) log-odds of tumour, see :func:`logit`.
        sources: (N,) name of the source of each image.

    Raises:
        ValueError: unequal lengths, other labels, or logits that are not finite.
    """
    from scipy import optimize

    labels, logits = np.asarray(labels), np.asarray(logits, dtype=np.float64)
    sources = np.asarray(sources).astype(str)
    _check(labels, logits, sources)
    if reason := _not_estimable(labels, logits):
        before = _nll(1.0, labels, logits, sources) if len(labels) else None
        return TemperatureFit(1.0, before, before, (f"{reason}: P is not calibrated (T = 1).",))
    low, high = TEMPERATURE_RANGE
    found = optimize.minimize_scalar(
        lambda log_t: _nll(math.exp(log_t), labels, logits, sources),
        bounds=(math.log(low), math.log(high)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    temperature = float(np.clip(math.exp(found.x), low, high))
    remarks = ()
    if min(temperature / low, high / temperature) < 1.001:
        remarks = (f"The temperature lies at the end of its range ({low:g} to {high:g}).",)
    before, after = (_nll(t, labels, logits, sources) for t in (1.0, temperature))
    return TemperatureFit(temperature, before, after, remarks)


def _check(labels: np.ndarray, logits: np.ndarray, sources: np.ndarray) -> None:
    if labels.ndim != 1 or not labels.shape == logits.shape == sources.shape:
        raise ValueError(
            f"labels {labels.shape}, logits {logits.shape} and sources {sources.shape} must be (N,)"
        )
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels must be 0 or 1, found {np.unique(labels).tolist()}")
    if not np.isfinite(logits).all():
        raise ValueError(
            "logits must be finite: see brainmtl.inference.operating.calibration.logit"
        )


def _not_estimable(labels: np.ndarray, logits: np.ndarray) -> str | None:
    if len(labels) < MIN_CALIBRATION_IMAGES:
        return f"{len(labels)} labelled validation images, fewer than {MIN_CALIBRATION_IMAGES}"
    if len(np.unique(labels)) < 2:
        return "The validation images are all of one class"
    if (np.where(labels == 1, logits, -logits) >= 0).all():
        return "Every validation image lies on the right side of P = 0.5"
    return None


def _nll(temperature: float, labels: np.ndarray, logits: np.ndarray, sources: np.ndarray) -> float:
    """Mean over sources of the mean negative log-likelihood of their images."""
    signed = np.where(labels == 1, logits, -logits) / temperature
    losses = np.logaddexp(0.0, -signed)
    return float(np.mean([losses[sources == source].mean() for source in np.unique(sources)]))
