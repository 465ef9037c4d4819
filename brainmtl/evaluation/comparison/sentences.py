"""What the tests allow to be said, in words, and what they do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainmtl.evaluation.comparison.figures import FIGURES

LEVEL = 0.05
ONE_RUN = (
    "Each evaluation is of one training run. A difference says that these checkpoints differ on "
    "patients like these, not that another run of the same recipe would: repeat with other seeds "
    "before calling a recipe better."
)


def conclusions(sources: Mapping[str, Any], n_tests: int) -> list[str]:
    """One sentence per question that could be tested or was too small for a test."""
    return [
        sentence(test, values["display_name"], n_tests)
        for values in sources.values()
        for test in values["comparisons"]
        if test["p"] is not None or "too few" in (test["note"] or "")
    ]


def sentence(test: Mapping[str, Any], source: str, n_tests: int) -> str:
    """What one paired test shows; ``source`` is the display name."""
    what = f"{source}, {FIGURES[test['figure']]}"
    names = f"{test['evaluation']} and {test['baseline']}"
    if test["p"] is None or (test["low"] is None and test["p_holm"] >= LEVEL):
        return f"{what}: no difference between {names} can be shown ({test['note']})."
    if test["low"] == test["high"]:
        return f"{what}: no difference between {names} was shown ({test['note']})."
    numbers = f"difference {test['estimate']:+.3f}{_interval(test)}, {_p_value(test, n_tests)}"
    if test["p_holm"] < LEVEL:
        direction = "higher" if test["estimate"] > 0 else "lower"
        return f"{what}: {test['evaluation']} is {direction} than {test['baseline']} ({numbers})."
    return (
        f"{what}: no difference between {names} was shown ({numbers}). With n = {test['n']}, "
        f"differences below about {smallest_seen(test, n_tests):.3f} could not be seen."
    )


def smallest_seen(test: Mapping[str, Any], n_tests: int) -> float:
    """Half the interval, widened to the level that Holm's first step leaves to one of ``n_tests``."""
    from scipy.special import ndtri

    widening = ndtri(1 - LEVEL / (2 * n_tests)) / ndtri(1 - LEVEL / 2)
    return float(widening * (test["high"] - test["low"]) / 2)


def nothing_shown(sources: Mapping[str, Any], n_tests: int) -> list[str]:
    """A warning where not one test is significant."""
    tests = [test for values in sources.values() for test in values["comparisons"]]
    if any(test["p_holm"] is not None and test["p_holm"] < LEVEL for test in tests):
        return []
    if not n_tests:
        return ["Nothing could be tested: see the notes of the tables."]
    counted = "The one test shows" if n_tests == 1 else f"None of the {n_tests} tests shows"
    negation = "no difference" if n_tests == 1 else "a difference"
    return [
        f"{counted} {negation}. That is no proof of equality: the sentences below say how large a "
        "difference would have had to be."
    ]


def _interval(test: Mapping[str, Any]) -> str:
    if test["low"] is None:
        return ""
    return f", 95 % interval {test['low']:+.3f} to {test['high']:+.3f}"


def _p_value(test: Mapping[str, Any], n_tests: int) -> str:
    p = _p("p", test["p"])
    if n_tests == 1:
        return p
    return f"{p}, {_p('adjusted', test['p_holm'])} for {n_tests} tests"


def _p(name: str, p: float) -> str:
    return f"{name} < 0.001" if p < 0.001 else f"{name} = {p:.3f}"
