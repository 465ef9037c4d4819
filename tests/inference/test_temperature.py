"""Temperature scaling against logistic regression, and what must hold for any probability."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from brainmtl.inference.operating import calibration
from brainmtl.inference.operating.calibration import MIN_CALIBRATION_IMAGES, TEMPERATURE_RANGE


def simulated(
    n: int, temperature: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels drawn from sigmoid(z / T), logits z, and three sources of unequal size."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2 * temperature, n)
    labels = (rng.random(n) < special.expit(logits / temperature)).astype(int)
    return labels, logits, np.array(["big", "middle", "small"])[rng.choice(3, n, p=[0.7, 0.2, 0.1])]


def nll(labels: np.ndarray, logits: np.ndarray, sources: np.ndarray, temperature: float) -> float:
    """Mean over sources of what scikit-learn gives for each."""
    p = special.expit(logits / temperature)
    per_source = [
        log_loss(labels[sources == name], p[sources == name], labels=[0, 1])
        for name in set(sources)
    ]
    return sum(per_source) / len(per_source)


def by_logistic_regression(labels: np.ndarray, logits: np.ndarray, sources: np.ndarray) -> float:
    """1 / slope of a regression without intercept is the temperature of the same likelihood."""
    names, counts = np.unique(sources, return_counts=True)
    weights = 1 / counts[np.searchsorted(names, sources)]
    scale = np.abs(logits).max()
    model = LogisticRegression(fit_intercept=False, C=1e10, tol=1e-10, max_iter=10_000)
    model.fit(logits[:, None] / scale, labels, weights * len(labels))
    return float(scale / model.coef_[0, 0])


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_equals_logistic_regression_without_intercept(temperature: float, seed: int) -> None:
    labels, logits, sources = simulated(300, temperature, seed)
    found = calibration.fit_temperature(labels, logits, sources)
    expected = by_logistic_regression(labels, logits, sources)
    assert found.temperature == pytest.approx(expected, rel=1e-3)
    assert found.remarks == ()


def test_finds_the_temperature_of_the_simulation() -> None:
    found = calibration.fit_temperature(*simulated(50_000, 2.5))
    assert found.temperature == pytest.approx(2.5, rel=0.05)


def test_nll_is_that_of_scikit_learn_and_does_not_grow() -> None:
    labels, logits, sources = simulated(200, 2.0)
    found = calibration.fit_temperature(labels, logits, sources)
    for temperature, value in ((1.0, found.nll_before), (found.temperature, found.nll_after)):
        assert value == pytest.approx(nll(labels, logits, sources, temperature))
    assert found.nll_after < found.nll_before


def test_sources_weigh_equally_however_many_images_they_have() -> None:
    labels, logits, sources = simulated(200, 1.5)
    big = np.flatnonzero(sources == "big")
    more = np.concatenate([np.arange(200), np.tile(big, 9)])
    once = calibration.fit_temperature(labels, logits, sources)
    often = calibration.fit_temperature(labels[more], logits[more], sources[more])
    assert often.temperature == pytest.approx(once.temperature, rel=1e-4)


def test_useless_or_faint_logits_end_at_the_range_with_a_remark() -> None:
    labels, logits, sources = simulated(100, 1.0)
    low, high = TEMPERATURE_RANGE
    for sign, end in ((-1.0, high), (1e-4, low)):
        found = calibration.fit_temperature(labels, sign * logits, sources)
        assert found.temperature == pytest.approx(end, rel=1e-3)
        assert low <= found.temperature <= high
        assert "end of its range" in found.remarks[0]


LABELS, LOGITS, SOURCES = simulated(100, 1.0)


@pytest.mark.parametrize(
    ("labels", "logits", "words"),
    [
        (LABELS[:0], LOGITS[:0], "0 labelled"),
        (LABELS[: MIN_CALIBRATION_IMAGES - 1], LOGITS[: MIN_CALIBRATION_IMAGES - 1], "fewer than"),
        (np.ones(100, int), LOGITS, "one class"),
        (np.zeros(100, int), LOGITS, "one class"),
        ((LOGITS > 0).astype(int), LOGITS, "right side"),
        (LABELS, np.zeros(100), "right side"),
    ],
    ids=["none", "few", "positive", "negative", "separated", "all at 0.5"],
)
def test_where_the_likelihood_says_nothing_p_stays(
    labels: np.ndarray, logits: np.ndarray, words: str
) -> None:
    found = calibration.fit_temperature(labels, logits, SOURCES[: len(labels)])
    assert found.temperature == 1.0 and words in found.remarks[0]
    assert found.nll_before == found.nll_after
    assert (found.nll_before is None) == (len(labels) == 0)
    if len(labels):
        assert found.nll_before == pytest.approx(nll(labels, logits, SOURCES[: len(labels)], 1.0))


def test_enough_images_are_enough() -> None:
    n = MIN_CALIBRATION_IMAGES
    labels, logits, sources = LABELS[:n], LOGITS[:n], SOURCES[:n]
    assert calibration.fit_temperature(labels, logits, sources).temperature != 1.0


def test_the_logit_of_a_softmax_is_the_difference_of_its_logits() -> None:
    logits = torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = calibration.logit(logits.softmax(dim=1)[:, 1].numpy())
    np.testing.assert_allclose(found, (logits[:, 1] - logits[:, 0]).numpy(), rtol=1e-9)


def test_scaling_equals_dividing_both_logits() -> None:
    logits = 4 * torch.randn(
        200, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    found = calibration.apply(logits.softmax(dim=1)[:, 1].numpy(), 2.5)
    np.testing.assert_allclose(found, (logits / 2.5).softmax(dim=1)[:, 1].numpy(), rtol=1e-8)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0, 20.0])
def test_rank_is_kept_at_the_ends_of_float32(temperature: float) -> None:
    ones = np.float32(1.0)
    middle = np.random.default_rng(0).random(100, dtype=np.float32)
    values = np.concatenate(
        [
            [np.float32(0), np.nextafter(np.float32(0), ones), np.float32(1e-30)],
            np.sort(middle),
            [np.nextafter(ones, np.float32(0)), ones],
        ]
    ).astype(np.float32)
    found = calibration.apply(values, temperature)
    assert found.dtype == np.float64 and ((found >= 0) & (found <= 1)).all()
    order = np.diff(found)[np.diff(values) > 0]
    assert (order > 0).all()
    assert np.isfinite(calibration.logit(values)).all()


def test_the_roc_curve_stays() -> None:
    rng = np.random.default_rng(3)
    probabilities = special.expit(rng.normal(0, 8, 500)).astype(np.float32)
    labels = rng.integers(0, 2, 500)
    for temperature in (0.5, 4.0):
        calibrated = calibration.apply(probabilities, temperature)
        assert roc_auc_score(labels, calibrated) == roc_auc_score(labels, probabilities)


def test_temperature_one_changes_no_bit_and_half_stays_half() -> None:
    values = np.random.default_rng(0).random(50, dtype=np.float32)
    np.testing.assert_array_equal(calibration.apply(values, 1.0), values.astype(np.float64))
    assert calibration.apply(0.5, 7.0) == 0.5
    assert calibration.apply(np.zeros((2, 3)), 2.0).shape == (2, 3)
    assert calibration.apply([], 2.0).shape == (0,)


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_what_is_no_probability_is_refused(value: float) -> None:
    for temperature in (1.0, 2.0):
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            calibration.apply([0.5, value], temperature)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.inf, np.nan])
def test_what_is_no_temperature_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        calibration.apply([0.5], temperature)


def test_misuse_of_the_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \(N,\)"):
        calibration.fit_temperature(LABELS, LOGITS[:-1], SOURCES)
    with pytest.raises(ValueError, match="0 or 1"):
        calibration.fit_temperature(LABELS - 1, LOGITS, SOURCES)
    with pytest.raises(ValueError, match="finite"):
        calibration.fit_temperature(LABELS, np.full(100, np.inf), SOURCES)
