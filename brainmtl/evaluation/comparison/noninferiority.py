"""Non-inferiority: is an evaluation worse than its baseline by less than a margin named beforehand?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from brainmtl.errors import ConfigError
from brainmtl.evaluation.comparison.figures import FIGURES
from brainmtl.evaluation.statistics.paired import MIN_PAIRS

MARGINED = ("dice", "balanced_accuracy", "roc_auc")
NON_INFERIOR, INFERIOR, NOT_SHOWN = "non-inferior", "inferior", "not shown"
ESTIMATES = {"dice": "Hodges-Lehmann median of the patients' differences"}
NORMAL = 1.96  # standard errors to the ends of a 95 % interval
Margins = dict[str, float]


def check_margins(margins: Any) -> Margins:
    """The margins that are given, by figure, in the order of :data:`MARGINED`; None counts as none.

    Raises:
        ConfigError: no mapping, an unknown figure, or a margin that is no number between 0 and 1 (both
            excluded).
    """
    margins = {} if margins is None else margins
    if not isinstance(margins, Mapping):
        raise ConfigError(
            f"margins={margins}: name the figure, margins.dice={margins} for instance"
        )
    for figure, margin in margins.items():
        if figure not in MARGINED:
            raise ConfigError(
                f"margins.{figure}: there is no margin of that figure; choose {', '.join(MARGINED)}"
            )
        number = isinstance(margin, (int, float)) and not isinstance(margin, bool)
        if margin is not None and not (number and 0 < margin < 1):
            raise ConfigError(
                f"margins.{figure}={margin} must lie between 0 and 1: the largest loss of the figure "
                "that would still not matter, 0.02 for instance; null leaves the question out"
            )
    given = {figure: margins.get(figure) for figure in MARGINED}
    return {figure: float(margin) for figure, margin in given.items() if margin is not None}


def judge(test: Mapping[str, Any], margin: float | None) -> dict[str, Any]:
    """``margin``, ``verdict`` and ``verdict_note`` of one paired test; None without a margin.

    The two-sided 95 % interval of the difference (evaluation - baseline) decides, so each answer is
    a one-sided test at 2.5 % (Piaggio, Elbourne, Pocock, Evans and Altman 2012, JAMA 308:2594-2604,
    the extension of the CONSORT 2010 statement for non-inferiority and equivalence trials):

    - "non-inferior": its lower end lies above -margin;
    - "inferior": its upper end lies below -margin;
    - "not shown": it holds -margin, or there is no interval to judge by, as ``verdict_note`` says.

    For Dice the difference is the Hodges-Lehmann median, with the interval of the signed-rank test.
    A point is no interval, and neither DeLong's nor another one counts with fewer than
    :data:`~brainmtl.evaluation.statistics.paired.MIN_PAIRS` pairs.
    """
    if margin is None:
        return {"margin": None, "verdict": None, "verdict_note": None}
    reason = _no_interval(test)
    verdict = NOT_SHOWN
    if reason is None and test["low"] > -margin:
        verdict = NON_INFERIOR
    elif reason is None and test["high"] < -margin:
        verdict = INFERIOR
    return {"margin": margin, "verdict": verdict, "verdict_note": reason}


def _no_interval(test: Mapping[str, Any]) -> str | None:
    if test["low"] is None:
        return test["note"] or "there is no interval of the difference"
    if test["n"] < MIN_PAIRS:
        return f"n = {test['n']}: too few to judge by an interval, it takes at least {MIN_PAIRS}"
    if test["low"] == test["high"]:
        return f"{test['note'] or 'no case differs'}: no interval shows how uncertain that is"
    return None


def margin_rule(margins: Mapping[str, float]) -> str:
    """What stands before all verdicts."""
    given = ", ".join(f"{FIGURES[figure]} {margin:g}" for figure, margin in margins.items())
    return (
        f"Non-inferiority is judged with the margins {given}, by the two-sided 95 % interval of the "
        "paired difference (one-sided 2.5 %), not adjusted for the number of tests. A verdict holds "
        "only if its margin was chosen before anyone looked at these results, and for these trained "
        "models."
    )


def verdict_sentence(test: Mapping[str, Any], source: str) -> str:
    """The verdict of one paired test in words; ``source`` is the display name."""
    what = f"{source}, {FIGURES[test['figure']]}"
    names = (test["evaluation"], test["baseline"])
    margin = f"the margin {test['margin']:g}"
    if test["verdict_note"] is not None:
        reason = test["verdict_note"]
        return f"{what}: non-inferiority of {names[0]} to {names[1]} was not shown ({reason})."
    estimate = ESTIMATES.get(test["figure"], "paired difference")
    low, high = f"{test['low']:+.3f}", f"{test['high']:+.3f}"
    numbers = f"{estimate} {test['estimate']:+.3f}, 95 % interval {low} to {high}"
    bound = f"{-test['margin']:g}"
    if test["verdict"] == NON_INFERIOR:
        found = (
            f"{what}: {names[0]} is non-inferior to {names[1]} with {margin} ({numbers}: the lower end "
            f"lies above {bound})."
        )
        if test["high"] < 0:
            found += " It is lower all the same: the interval excludes 0."
    elif test["verdict"] == INFERIOR:
        found = (
            f"{what}: {names[0]} is inferior to {names[1]} by more than {margin} ({numbers}: the upper "
            f"end lies below {bound})."
        )
    else:
        return (
            f"{what}: non-inferiority of {names[0]} to {names[1]} with {margin} was not shown "
            f"({numbers} holds {bound})."
        )
    return found + _caution(test)


def _caution(test: Mapping[str, Any]) -> str:
    """Where the verdict falls once the luck of the seeds widens the interval of the cases."""
    if test["seed_se"] is None:
        return ""
    non_inferior = test["verdict"] == NON_INFERIOR
    end, side = (test["low"], -1) if non_inferior else (test["high"], 1)
    reach = math.hypot(end - test["estimate"], NORMAL * test["seed_se"])
    widened = test["estimate"] + side * reach
    if widened > -test["margin"] if non_inferior else widened < -test["margin"]:
        return ""
    return (
        f" Other seeds could turn this: their luck leaves a standard error of {test['seed_se']:.3f} in "
        f"the difference, with which that end would lie at about {widened:+.3f}."
    )
