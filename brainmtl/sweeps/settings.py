"""Runs of one setting taken together: means and SDs over seeds, and which setting is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from brainmtl.evaluation.metrics import mean_sd
from brainmtl.sweeps.jobs import SEED, Job, label, short

FIGURES = {
    "dice": ("Dice per patient", "segmentation.per_patient.dice"),
    "dice_slice": ("Dice per slice", "segmentation.dice"),
    "balanced_accuracy": ("Balanced accuracy", "classification.balanced_accuracy"),
    "roc_auc": ("ROC-AUC", "classification.roc_auc"),
}
RULE = (
    "The setting with the best mean of the monitor on the **validation** split, over its seeds; of means that are "
    "equal to three decimals, the one with the smaller SD. Settings of which a run is missing are not chosen. The "
    "figures of the evaluated split have no say, so that they stay a fair estimate for what was chosen."
)
Spread = dict[str, Any]  # mean, sd, n


@dataclass(frozen=True)
class Result:
    """One run of a sweep with its evaluation; ``score`` is its best monitor on validation data, best by
    ``mode``: "max" or "min"."""

    job: Job
    monitor: str
    score: float
    evaluation: dict[str, Any]
    mode: str = "max"

    def figure(self, source: str, name: str) -> float | None:
        """A figure of :data:`FIGURES` on a source; None where it is not defined."""
        value: Any = self.evaluation["metrics"].get(source)
        for key in FIGURES[name][1].split("."):
            value = None if value is None else value.get(key)
        return value


@dataclass(frozen=True)
class Setting:
    """Values of the swept options beside the seed, and the runs that have them."""

    values: dict[str, str]
    results: list[Result]
    planned: int  # runs that there should be

    @property
    def name(self) -> str:
        """``lambda_cls=0.3``; of a sweep over seeds alone, ``all runs``."""
        return label(self.values) or "all runs"

    @property
    def mark(self) -> str:
        """What stands beside its point: the value of a single option, else the first run's number."""
        if len(self.values) == 1:
            return next(iter(self.values.values()))
        return f"#{self.results[0].job.number}"

    @property
    def sign(self) -> int:
        """1 where more of the monitor is better, -1 where less is."""
        return 1 if self.results[0].mode == "max" else -1

    @property
    def complete(self) -> bool:
        """Whether every planned run is there."""
        return len(self.results) == self.planned

    def score(self) -> Spread:
        """Mean and SD over seeds of the monitor on validation data."""
        return mean_sd([result.score for result in self.results])

    def spread(self, source: str, figure: str) -> Spread:
        """Mean and SD over seeds of a figure on a source."""
        return mean_sd([result.figure(source, figure) for result in self.results])


def group_settings(jobs: Sequence[Job], results: Sequence[Result]) -> list[Setting]:
    """Settings that have a result, in the order of the sweep."""
    keys = list(dict.fromkeys(_key(job) for job in jobs))
    planned = [_key(job) for job in jobs]
    found = {key: [result for result in results if _key(result.job) == key] for key in keys}
    return [Setting(dict(key), found[key], planned.count(key)) for key in keys if found[key]]


def choose(settings: Sequence[Setting]) -> Setting | None:
    """The setting that :data:`RULE` names; None where no setting is complete."""

    def rank(setting: Setting) -> tuple[float, float]:
        score = setting.score()
        return -setting.sign * round(score["mean"], 3), score["sd"] or 0.0

    complete = [setting for setting in settings if setting.complete]
    return min(complete, key=rank) if complete else None


def reasons(settings: Sequence[Setting], chosen: Setting | None) -> list[str]:
    """Why a setting is chosen, and how sure that is, in sentences."""
    if chosen is None:
        return ["No setting has all its runs, so none is chosen: train what is missing first."]
    score = chosen.score()
    monitor = chosen.results[0].monitor.removeprefix("val/")
    found = [f"**{chosen.name}**: {monitor} on validation data {spread_text(score)}."]
    others = [setting for setting in settings if setting.complete and setting is not chosen]
    if not others:
        return [*found, "There is no other complete setting to compare it with."]
    second = choose(others)
    assert second is not None
    other = second.score()
    gap = chosen.sign * (score["mean"] - other["mean"])
    worse = f"{gap:.3f} {'less' if chosen.sign > 0 else 'more'}"
    if round(score["mean"], 3) == round(other["mean"], 3):
        worse = "the same to three decimals"  # of these the mean may even be the better one
    found.append(f"Next is {second.name} with {spread_text(other)}, {worse}.")
    spreads = [value["sd"] for value in (score, other) if value["sd"] is not None]
    if len(spreads) < 2:
        found.append(
            "With one run per setting nobody can tell a better setting from a luckier seed: sweep "
            "over seeds too."
        )
    elif gap < max(spreads):
        found.append(
            "That is within one SD over seeds: this sweep does not show that one is better than the other."
        )
    else:
        found.append("That is more than one SD over seeds of either.")
    return found


def spread_text(values: Spread) -> str:
    """``0.812 ± 0.013 (n = 3)``; without SD for one run, n/d where it is not defined."""
    if values["mean"] is None:
        return "n/d"
    sd = "" if values["sd"] is None else f" ± {values['sd']:.3f}"
    return f"{values['mean']:.3f}{sd} (n = {values['n']})"


def option_names(settings: Sequence[Setting]) -> str:
    """The swept options beside the seed, for headings and axes."""
    return ", ".join(short(name) for name in settings[0].values) or "setting"


def _key(job: Job) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in job.values.items() if name != SEED)
