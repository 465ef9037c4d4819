"""The figures of one source: values of every arm, and the paired test of every pair."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from brainmtl.evaluation.comparison.arms import Arm
from brainmtl.evaluation.comparison.figures import (
    FIGURES,
    Options,
    figure_interval,
    measured,
    paired_test,
    same_predictions,
    seed_values,
)
from brainmtl.evaluation.comparison.folders import PARTS
from brainmtl.evaluation.comparison.noninferiority import judge
from brainmtl.evaluation.comparison.pairing import SharedCases
from brainmtl.evaluation.metrics import mean_sd

Values = dict[str, list[dict[str, Any]]]


def figure_values(cases: SharedCases, arms: Sequence[Arm], options: Options) -> Values:
    """Per figure that the source has, one entry per arm; ``per_seed`` are the values of its runs."""
    return {
        figure: [_value(cases, arms[k], k, figure, options) for k in range(len(arms))]
        for figure in FIGURES
        if measured(cases, figure)
    }


def _value(cases: SharedCases, arm: Arm, k: int, figure: str, options: Options) -> dict[str, Any]:
    found = figure_interval(cases, k, figure, options)
    per_seed = seed_values(cases, k, figure)
    return {
        "evaluation": arm.name,
        "value": found.estimate,
        "interval": found.to_dict(),
        "per_seed": per_seed,
        "sd": mean_sd(per_seed)["sd"],
        "untrained": arm.untrained(figure),
    }


def paired_tests(
    cases: SharedCases,
    arms: Sequence[Arm],
    pairs: Sequence[tuple[int, int]],
    values: Values,
    margins: Mapping[str, float],
    options: Options,
) -> list[dict[str, Any]]:
    """One entry per pair and figure; ``change`` is the difference of the values.

    ``seed_se`` is the standard error that the luck of the seeds leaves in a change between two arms of
    several seeds: sqrt(SD1^2 / k1 + SD2^2 / k2), and between stages of the same k runs the SD of the
    runs' changes / sqrt(k).
    """
    found = []
    for first, second in pairs:
        same_runs = arms[first].roots == arms[second].roots
        for figure, entries in values.items():
            before, after = entries[first]["value"], entries[second]["value"]
            test = asdict(paired_test(cases, first, second, figure, options))
            reason = _no_question(cases, arms, first, second, figure)
            if reason is not None:
                test |= {"low": None, "high": None, "p": None, "note": reason}
            found.append(
                {
                    "figure": figure,
                    "baseline": arms[first].name,
                    "evaluation": arms[second].name,
                    "asked": reason is None,
                    "change": None if before is None or after is None else after - before,
                    **test,
                    "seed_se": _seed_se(entries[first], entries[second], same_runs),
                    **judge(test, margins.get(figure)),
                }
            )
    return found


def _seed_se(first: Mapping[str, Any], second: Mapping[str, Any], same_runs: bool) -> float | None:
    if first["sd"] is None or second["sd"] is None:
        return None
    if same_runs:
        pairs = zip(first["per_seed"], second["per_seed"], strict=True)
        return mean_sd([b - a for a, b in pairs])["sd"] / math.sqrt(len(first["per_seed"]))
    return math.sqrt(sum(arm["sd"] ** 2 / len(arm["per_seed"]) for arm in (first, second)))


def _no_question(
    cases: SharedCases, arms: Sequence[Arm], first: int, second: int, figure: str
) -> str | None:
    """Why there is nothing to ask: random weights on one side, or the same predictions on both."""
    for k in (first, second):
        if arms[k].untrained(figure):
            return (
                f"the {PARTS[figure]} was not trained up to {arms[k].name}: a change against "
                "random weights, not tested"
            )
    if same_predictions(cases, first, second, figure):
        names = f"{arms[second].name} and {arms[first].name}"
        return f"{names} predict the same throughout: nothing to test"
    return None
