"""What the tests allow to be said, in words, and what they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brainmtl.evaluation.comparison.figures import FIGURES
from brainmtl.evaluation.comparison.noninferiority import margin_rule, verdict_sentence

LEVEL = 0.05
ONE_RUN = (
    "A difference says that these checkpoints differ on patients like these, not that another run of "
    "the same recipe would: repeat with other seeds, and compare runs=[[A0,A1,A2],[B0,B1,B2]], before "
    "calling a recipe better."
)
SEVERAL_RUNS = (
    "A figure of several seeds is the mean over them (for Dice of every patient), and its interval is "
    "over cases, with the luck of the seeds averaged: it holds for these runs taken together. The SD "
    "over seeds says how far one more run would move the figure. Of k seeds, SD / sqrt(k) of that luck "
    "is left in the mean, which no interval here contains."
)


def training_notes(evaluations: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the number of runs behind each evaluation lets a reader say of a recipe."""
    single = [entry["name"] for entry in evaluations if len(entry["runs"]) == 1]
    notes = [] if len(single) == len(evaluations) else [SEVERAL_RUNS]
    if single:
        who = f"One training run each stands behind {', '.join(single)}."
        notes.append(f"{who if notes else 'Each evaluation is of one training run.'} {ONE_RUN}")
    return notes


def conclusions(
    sources: Mapping[str, Any], margins: Mapping[str, float], n_tests: int
) -> list[str]:
    """A sentence per question that could be tested or was too small for a test, and per verdict."""
    found = [margin_rule(margins)] if margins else []
    for values in sources.values():
        name = values["display_name"]
        for test in values["comparisons"]:
            if test["p"] is not None or "too few" in (test["note"] or ""):
                found.append(sentence(test, name, n_tests))
            if test["asked"] and test["verdict"] is not None:
                found.append(verdict_sentence(test, name))
    return found


def sentence(test: Mapping[str, Any], source: str, n_tests: int) -> str:
    """What one paired test shows; ``source`` is the display name."""
    what = f"{source}, {FIGURES[test['figure']]}"
    names = f"{test['evaluation']} and {test['baseline']}"
    if test["p"] is None or (test["low"] is None and test["p_holm"] >= LEVEL):
        return f"{what}: no difference between {names} can be shown ({test['note']})."
    if test["low"] == test["high"] and test["p_holm"] >= LEVEL:
        return f"{what}: no difference between {names} was shown ({test['note']})."
    numbers = f"difference {test['estimate']:+.3f}{_interval(test)}, {_p_value(test, n_tests)}"
    if test["p_holm"] < LEVEL and not test["estimate"]:
        return (
            f"{what}: {names} differ where they differ at all ({test['note']}), in one direction, but "
            f"the median difference is 0 ({numbers})."
        )
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
        f"{counted} {negation}. That is no proof of equality: the sentence on each test says how "
        "large a difference would have had to be."
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
