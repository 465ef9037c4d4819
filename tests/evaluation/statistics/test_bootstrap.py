"""The cluster bootstrap against scipy's BCa, brute force with scikit-learn, and its coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from brainmtl.evaluation.statistics.bootstrap import (
    Replicates,
    basic_interval,
    bca_interval,
    bca_p_value,
    bootstrap_interval,
    point,
    resample,
    resampling_weights,
)
from brainmtl.evaluation.statistics.weighted import mean, ratio


def skewed(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).exponential(size=n)


def test_bca_is_scipys_on_scipys_own_resamples() -> None:
    """The same resamples must give the same interval to the last digits."""
    values = skewed(30)
    found = stats.bootstrap(
        (values,), np.mean, n_resamples=999, method="BCa", rng=np.random.default_rng(1)
    )
    jackknife = np.array([np.delete(values, k).mean() for k in range(30)])
    own = bca_interval(Replicates(values.mean(), found.bootstrap_distribution, jackknife, 0))
    assert own.method == "bca"
    assert (own.low, own.high) == pytest.approx(tuple(found.confidence_interval), abs=1e-12)


def test_basic_interval_is_scipys_on_scipys_own_resamples() -> None:
    values = skewed(30)
    found = stats.bootstrap(
        (values,), np.mean, n_resamples=999, method="basic", rng=np.random.default_rng(1)
    )
    own = basic_interval(Replicates(values.mean(), found.bootstrap_distribution, np.ones(30), 0))
    assert own.method == "basic"
    assert (own.low, own.high) == pytest.approx(tuple(found.confidence_interval), abs=1e-12)
    below_zero = basic_interval(Replicates(0.1, np.linspace(0, 0.5, 99), np.ones(30), 0))
    assert below_zero.low == 0.0 and below_zero.high == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("n", [8, 40])
def test_interval_agrees_with_scipy(n: int) -> None:
    values = skewed(n, seed=n)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20000, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    own = bootstrap_interval(mean(values), n, resamples=20000)
    width = theirs.high - theirs.low
    assert own.estimate == pytest.approx(values.mean())
    assert (own.low, own.high) == pytest.approx(tuple(theirs), abs=0.03 * width)


def test_resampling_weights_are_draws_with_replacement_and_seeded() -> None:
    weights = resampling_weights(7, 500, 3)
    assert (weights.sum(axis=1) == 7).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.15)
    assert weights.var() == pytest.approx(6 / 7, abs=0.08)  # variance of a multinomial count
    resampling_weights.cache_clear()
    assert (resampling_weights(7, 500, 3) == weights).all()
    assert (resampling_weights(7, 500, 4) != weights).any()


def test_every_resample_and_every_group_left_out_counts_however_many_there_are() -> None:
    """More of both than are worked on at a time."""
    values = skewed(150)
    found = resample(mean(values), 150, resamples=170, seed=3)
    drawn = [np.repeat(values, row).mean() for row in resampling_weights(150, 170, 3)]
    np.testing.assert_allclose(found.values, drawn)
    np.testing.assert_allclose(found.jackknife, [np.delete(values, k).mean() for k in range(150)])


def test_same_seed_same_interval_and_more_confidence_wider() -> None:
    statistic = mean(skewed(25))
    first, again = bootstrap_interval(statistic, 25), bootstrap_interval(statistic, 25)
    assert first == again
    wide = bootstrap_interval(statistic, 25, confidence=0.99)
    assert wide.low < first.low < first.estimate < first.high < wide.high


def test_clusters_widen_the_interval() -> None:
    """Forty copies of each of ten values say no more than the ten values."""
    values = skewed(10)
    copies = bootstrap_interval(ratio(40 * values, np.full(10, 40.0)), 10)
    alone = bootstrap_interval(mean(values), 10)
    assert (copies.low, copies.high) == pytest.approx((alone.low, alone.high), rel=1e-9)


@pytest.mark.parametrize(("n", "which"), [(0, "no patient"), (1, "one patient")])
def test_too_few_groups_have_no_interval(n: int, which: str) -> None:
    found = bootstrap_interval(mean(np.full(n, 0.7)), n)
    assert found.low is None and found.high is None
    assert found.note == f"{which} or group: no interval"
    assert found.to_dict() == {"low": None, "high": None, "n": n, "note": found.note}


def test_a_constant_statistic_collapses_to_a_point_and_says_so() -> None:
    found = bootstrap_interval(mean(np.full(12, 0.1 + 0.2)), 12)
    assert found.low == found.high == pytest.approx(0.3)
    assert "no variation between the 12 groups" in found.note
    assert found.to_dict()["note"] == found.note


def test_resamples_where_the_statistic_is_not_defined_are_left_out_and_counted() -> None:
    hits, trials = np.array([1.0, 0.0, 0.0, 0.0]), np.array([1.0, 1.0, 0.0, 0.0])
    found = bootstrap_interval(ratio(hits, trials), 4, resamples=4000)
    # Both groups with trials are missed with probability (1/2)^4.
    assert found.left_out == pytest.approx(4000 / 16, rel=0.25)
    assert found.resamples + found.left_out == 4000
    assert found.to_dict()["left_out"] == found.left_out


def test_percentile_where_leaving_one_group_out_is_not_defined() -> None:
    hits, trials = np.array([3.0, 0.0, 0.0]), np.array([4.0, 0.0, 0.0])
    values = np.random.default_rng(0).random(100)
    undefined = resample(ratio(hits, trials), 3).jackknife
    assert np.isnan(undefined[0])
    found = bca_interval(Replicates(0.5, values, undefined, 0))
    assert found.method == "percentile"
    assert (found.low, found.high) == pytest.approx(np.quantile(values, [0.025, 0.975]))


def test_an_estimate_outside_its_resamples_falls_back_to_percentiles() -> None:
    values = np.linspace(0.2, 0.4, 50)
    found = bca_interval(Replicates(0.9, values, np.array([0.8, 0.9, 1.0]), 0))
    assert found.method == "percentile" and np.isfinite([found.low, found.high]).all()


def test_nothing_defined_is_no_interval() -> None:
    statistic = ratio(np.zeros(5), np.zeros(5))
    assert point(statistic, 5) is None
    found = bootstrap_interval(statistic, 5)
    assert found.estimate is None and found.low is None


@pytest.mark.parametrize("shift", [-0.2, -0.1, 0.0, 0.1, 0.3, 0.6])
def test_p_is_the_level_at_which_the_interval_touches_zero(shift: float) -> None:
    values = np.random.default_rng(5).normal(size=30) + shift
    found = resample(mean(values), 30, resamples=20000)
    p = bca_p_value(found)
    wider, narrower = bca_interval(found, 1 - 0.9 * p), bca_interval(found, 1 - min(1.1 * p, 0.99))
    assert wider.low <= 0 <= wider.high
    assert p > 0.9 or not narrower.low < 0 < narrower.high


def test_p_has_a_floor_and_a_ceiling() -> None:
    assert bca_p_value(resample(mean(np.arange(10, 20.0)), 10, resamples=999)) == 2 / 1000
    assert bca_p_value(resample(mean(np.zeros(10)), 10, resamples=999)) == 1.0


def test_coverage_of_clustered_means() -> None:
    """Nominal 95 % over 300 simulated studies of 25 patients whose slices share a patient effect."""
    rng, hits, studies = np.random.default_rng(11), 0, 300
    for _ in range(studies):
        sizes = rng.integers(1, 15, 25)
        effects = rng.normal(size=25)
        sums = np.array(
            [e * n + rng.normal(size=n).sum() for e, n in zip(effects, sizes, strict=True)]
        )
        found = bootstrap_interval(ratio(sums, sizes.astype(float)), 25, resamples=600)
        hits += found.low <= 0 <= found.high
    # Binomial SD is 1.3 %; a bootstrap over slices would cover about 60 %.
    assert 0.88 <= hits / studies <= 0.99


@pytest.mark.parametrize(
    ("arguments", "word"), [({"resamples": 1}, "resamples"), ({"confidence": 1.0}, "confidence")]
)
def test_misuse(arguments: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        bootstrap_interval(mean(skewed(5)), 5, **arguments)
