"""Wilson against its formula and published values; clusters against the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest

from brainmtl.evaluation.statistics.bootstrap import bootstrap_interval
from brainmtl.evaluation.statistics.proportions import proportion_interval, wilson
from brainmtl.evaluation.statistics.weighted import ratio


def test_wilson_published_values() -> None:
    """Newcombe (1998), Statistics in Medicine 17:857-872, table I, method 3."""
    for successes, trials, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        found = wilson(successes, trials)
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
        assert found.method == "wilson" and found.n == trials


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (7, 7), (3, 8)])
def test_wilson_solves_the_score_equation(successes: int, trials: int) -> None:
    """The bounds are where |p - P| = z sqrt(P (1 - P) / n)."""
    found, share = wilson(successes, trials), successes / trials
    for bound in (found.low, found.high):
        reach = 1.959963984540054 * np.sqrt(bound * (1 - bound) / trials)
        assert abs(share - bound) == pytest.approx(reach, abs=1e-9)
    assert 0 <= found.low <= share <= found.high <= 1


def test_wilson_without_trials_and_misused() -> None:
    assert wilson(0, 0).to_dict() == {
        "low": None,
        "high": None,
        "n": 0,
        "note": "no trial: no interval",
    }
    with pytest.raises(ValueError, match="successes 3"):
        wilson(3, 2)


def test_independent_trials_take_wilson_and_groups_without_a_trial_do_not_count() -> None:
    found = proportion_interval(np.array([1, 0, 1, 0, 0]), np.array([1, 1, 1, 0, 0]))
    assert found == wilson(2, 3)


def test_clustered_trials_take_the_bootstrap() -> None:
    rng = np.random.default_rng(0)
    trials = rng.integers(2, 20, 15)
    successes = rng.binomial(trials, 0.7)
    found = proportion_interval(successes, trials)
    expected = bootstrap_interval(ratio(successes.astype(float), trials.astype(float)), 15)
    assert found == expected and found.method == "bca" and found.n == 15
    padded = proportion_interval(np.append(successes, 0), np.append(trials, 0))
    assert padded == found


@pytest.mark.parametrize("share", [0, 1])
def test_nothing_to_resample_counts_each_group_once(share: int) -> None:
    trials = np.array([5, 9, 3, 4])
    found = proportion_interval(share * trials, trials)
    assert (found.low, found.high) == (wilson(4 * share, 4).low, wilson(4 * share, 4).high)
    assert found.n == 4 and "all 4 groups" in found.note


def test_one_cluster_has_no_interval() -> None:
    found = proportion_interval(np.array([3]), np.array([9]))
    assert found.low is None and found.note == "one patient or group: no interval"
