"""Which setting is chosen and why, and which points nobody beats: on values given by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainmtl.sweeps.jobs import Job
from brainmtl.sweeps.plot import pareto_front
from brainmtl.sweeps.settings import Result, Setting, choose, group_settings, reasons
from brainmtl.training.run_folder.records import Run


def _job(number: int, lambda_cls: str, seed: str) -> Job:
    directory = Path(f"sweep/{number}")
    values = {"loss.lambda_cls": lambda_cls, "seed": seed}
    return Job(directory, [f"{k}={v}" for k, v in values.items()], values, Run(directory, {}, {}))


def _settings(scores: dict[str, list[float]], missing: str | None = None) -> list[Setting]:
    jobs, results = [], []
    for value, own in scores.items():
        for seed, score in enumerate(own):
            jobs.append(_job(len(jobs), value, str(seed)))
            results.append(Result(jobs[-1], "val/combined", score, {"metrics": {}}))
        if value == missing:
            jobs.append(_job(len(jobs), value, str(len(own))))
    return group_settings(jobs, results)


def test_the_best_mean_on_validation_is_chosen() -> None:
    settings = _settings({"0.1": [0.70, 0.74], "1": [0.80, 0.84], "3": [0.60, 0.99]})
    assert choose(settings).name == "lambda_cls=1"
    assert settings[0].values == {"loss.lambda_cls": "0.1"}
    assert "more than one SD" not in " ".join(reasons(settings, choose(settings)))


def test_the_smallest_mean_is_chosen_where_less_is_better() -> None:
    settings = [
        replace(setting, results=[replace(result, mode="min") for result in setting.results])
        for setting in _settings({"0.1": [0.20, 0.21], "1": [0.60, 0.61]})
    ]
    assert choose(settings).name == "lambda_cls=0.1"
    said = " ".join(reasons(settings, choose(settings)))
    assert "0.400 more." in said and "more than one SD over seeds of either" in said


def test_equal_means_are_decided_by_the_smaller_sd() -> None:
    settings = _settings({"0.1": [0.70, 0.90], "1": [0.7999, 0.7997], "3": [0.5, 0.6]})
    assert choose(settings).name == "lambda_cls=1"
    said = " ".join(reasons(settings, choose(settings)))
    assert "0.800 ± 0.141 (n = 2), the same to three decimals." in said


def test_a_setting_with_a_missing_run_is_not_chosen() -> None:
    settings = _settings({"0.1": [0.7, 0.7], "1": [0.9, 0.9]}, missing="1")
    assert choose(settings).name == "lambda_cls=0.1"
    assert choose(settings[1:]) is None
    assert "none is chosen" in reasons(settings[1:], None)[0]


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({"0.1": [0.70, 0.72], "1": [0.71, 0.73]}, "does not show that one is better"),
        ({"0.1": [0.70, 0.72], "1": [0.90, 0.92]}, "more than one SD over seeds of either"),
        ({"0.1": [0.70], "1": [0.90]}, "sweep over seeds too"),
    ],
)
def test_how_sure_the_choice_is(scores: dict[str, list[float]], words: str) -> None:
    settings = _settings(scores)
    assert words in " ".join(reasons(settings, choose(settings)))


@pytest.mark.parametrize("seed", range(5))
def test_pareto_front_equals_a_search_from_the_right(seed: int) -> None:
    """Sorted from right to left, a point is on the front where it is higher than all before it."""
    points = [tuple(p) for p in np.random.default_rng(seed).integers(0, 8, (30, 2)).tolist()]
    expected, height = set(), -1
    for x in sorted({x for x, _ in points}, reverse=True):
        top = max(y for a, y in points if a == x)
        if top > height:
            expected.add((x, top))
            height = top
    found = [points[k] for k in pareto_front(points)]
    assert set(found) == expected
    assert [x for x, _ in found] == sorted(x for x, _ in found)
