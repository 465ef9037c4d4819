"""The threshold on P: where tumour and no tumour are equally likely, on images made for it and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, special
from sklearn.metrics import balanced_accuracy_score

from brainmtl.errors import ConfigError
from brainmtl.evaluation.fitting import MAX_THRESHOLD, fit_threshold


def pictures(n: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n,) labels, P whose log-odds are normal about ``shift`` -1 and +1 (so even there), sources."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    calibrated = special.expit(rng.normal(shift + 2 * labels - 1, 1.5))
    return labels, calibrated, rng.choice(["a", "b", "c"], n)


def best_counted(labels: np.ndarray, calibrated: np.ndarray, gate: float) -> float:
    """The threshold with the largest balanced accuracy on these very images."""
    tried = np.concatenate([[gate], calibrated[calibrated >= gate]])
    return max(tried, key=lambda t: balanced_accuracy_score(labels, calibrated >= t))


@pytest.mark.parametrize("shift", [-0.5, 0.0, 1.5])
def test_the_threshold_is_where_both_classes_are_equally_likely(shift: float) -> None:
    found = fit_threshold(*pictures(20_000, 0, shift), 0.3)
    assert special.logit(found.threshold) == pytest.approx(shift, abs=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_it_minimises_the_weighted_likelihood(seed: int) -> None:
    labels, calibrated, sources = pictures(80, seed)
    z = special.logit(calibrated)

    def loss(line: np.ndarray) -> float:
        # every class of every source weighs alike; the slope alone is shrunk
        negative = np.logaddexp(0, -np.where(labels == 1, 1, -1) * (line[0] * z + line[1]))
        means = [
            negative[(sources == s) & (labels == k)].mean()
            for s in np.unique(sources)
            for k in (0, 1)
        ]
        return len(z) * float(np.mean(means)) + line[0] ** 2 / 2

    slope, intercept = optimize.minimize(loss, [1.0, 0.0]).x
    found = fit_threshold(labels, calibrated, sources, 0.0)
    assert special.logit(found.threshold) == pytest.approx(-intercept / slope, abs=1e-2)
    for source, value in found.balanced_accuracy.items():
        own = sources == source
        calls = calibrated[own] >= found.threshold
        assert value == pytest.approx(balanced_accuracy_score(labels[own], calls))


def test_on_new_images_it_beats_the_threshold_that_was_best_on_the_few_old_ones() -> None:
    new_labels, new, _ = pictures(20_000, 99, 0.5)
    gains = []
    for seed in range(40):
        labels, calibrated, _ = pictures(50, seed, 0.5)
        fitted = fit_threshold(labels, calibrated, np.full(50, "a"), 0.3).threshold
        counted = best_counted(labels, calibrated, 0.3)
        calls = [balanced_accuracy_score(new_labels, new >= t) for t in (fitted, counted)]
        gains.append(calls[0] - calls[1])
    standard_error = np.std(gains, ddof=1) / np.sqrt(len(gains))
    assert np.mean(gains) > 2 * standard_error


@pytest.mark.parametrize(
    ("negatives", "positives", "gate", "threshold"),
    [
        ([0.2, 0.4], [0.6, 0.8], 0.3, 0.5),  # symmetric about a half, apart
        ([0.2, 0.6], [0.4, 0.8], 0.3, 0.5),  # ... and mixed
        ([0.0, 0.0], [1.0, 1.0], 0.3, 0.5),  # certain and right
        ([0.01, 0.02], [0.1, 0.2], 0.3, 0.3),  # even odds below the gate
        ([0.9995, 0.9996], [0.9999, 1.0], 0.3, MAX_THRESHOLD),
        ([0.9, 0.95], [0.1, 0.2], 0.3, 0.5),  # worse than chance: not fitted
        ([0.5], [0.5], 0.7, 0.7),  # one P for all: not fitted, and not below the gate
    ],
)
def test_by_hand(
    negatives: list[float], positives: list[float], gate: float, threshold: float
) -> None:
    labels = np.repeat([0, 1], [len(negatives), len(positives)])
    calibrated = np.array(negatives + positives)
    found = fit_threshold(labels, calibrated, np.full(len(labels), "a"), gate)
    assert found.threshold == pytest.approx(threshold, abs=1e-4)
    expected = balanced_accuracy_score(labels, calibrated >= found.threshold)
    assert found.balanced_accuracy == {"a": pytest.approx(expected)}
    assert bool(found.remarks) == (np.mean(positives) <= np.mean(negatives))


def test_one_confidently_wrong_image_does_not_move_it_far() -> None:
    labels, calibrated, sources = pictures(200, 3)
    before = fit_threshold(labels, calibrated, sources, 0.0).threshold
    calibrated[np.flatnonzero(labels == 1)[0]] = 0.0
    after = fit_threshold(labels, calibrated, sources, 0.0).threshold
    assert after == pytest.approx(before, abs=0.05)


def test_sources_and_classes_weigh_equally_and_sources_of_one_class_do_not_count() -> None:
    few = pictures(60, 5)
    again = (few[0] == 1) & (few[2] == "a")
    many = [np.concatenate([part, np.repeat(part[again], 30)]) for part in few]
    only = (np.ones(50, int), np.full(50, 0.35), np.full(50, "only"))
    both = [np.concatenate(parts) for parts in zip(many, only, strict=True)]
    found, expected = fit_threshold(*both, 0.0), fit_threshold(*few, 0.0)
    # copies change nothing but how much the slope is shrunk
    assert found.threshold == pytest.approx(expected.threshold, abs=0.01)
    assert set(found.balanced_accuracy) == {"a", "b", "c"}
    assert found.remarks == ("only: one class in validation, not used for the threshold.",)


@pytest.mark.parametrize("labels", [[], [1, 1], [0]])
def test_without_both_classes_the_threshold_is_a_half(labels: list[int]) -> None:
    arrays = np.array(labels, int), np.full(len(labels), 0.9), np.full(len(labels), "a")
    found = fit_threshold(*arrays, 0.3)
    assert (found.threshold, found.balanced_accuracy) == (0.5, {})
    assert "not fitted" in found.remarks[-1]
    assert fit_threshold(*arrays, 0.7).threshold == 0.7


def test_a_gate_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"seg_gate=0\.9995"):
        fit_threshold(*pictures(20, 0), 0.9995)
