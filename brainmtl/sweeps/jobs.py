"""The runs of a sweep: those that there should be, and what has become of each."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainmtl.errors import ConfigError
from brainmtl.training.continuation.command_line import word
from brainmtl.training.run_folder.records import Run, read_run

SEED = "seed"
MULTIRUN = "multirun.yaml"  # Hydra's copy of the sweep's configuration
Overrides = list[str]


@dataclass(frozen=True)
class Job:
    """One run of a sweep; ``values`` are those of the swept options, as text, by their full names."""

    directory: Path
    overrides: Overrides
    values: dict[str, str]
    run: Run

    @property
    def number(self) -> int:
        """Its place in the sweep, and the name of its folder."""
        return int(self.directory.name)

    @property
    def state(self) -> str:
        """finished, failed, running, interrupted; missing where it never began."""
        return self.run.state if self.run.status or self.run.stages else "missing"

    @property
    def label(self) -> str:
        """``lambda_cls=0.3, seed=1``."""
        return label(self.values) or f"run {self.number}"

    @property
    def error(self) -> str:
        """Why it is not finished, in one line."""
        return " ".join((self.run.status.get("error") or self.state).split())

    def rerun(self) -> str:
        """The command that runs this job by itself into its place in the sweep."""
        words = ["python", "train.py", *map(shlex.quote, self.overrides)]
        words.append(word("hydra.run.dir", self.directory))
        if any(override.startswith("sweep=") for override in self.overrides):
            words.append("hydra.mode=RUN")
        return " ".join(words)


def label(values: dict[str, str]) -> str:
    """``lambda_cls=0.3, seed=1`` of full names and values."""
    return ", ".join(f"{short(name)}={value}" for name, value in values.items())


def short(name: str) -> str:
    """The last part of an option's name: ``lambda_cls`` of ``loss.lambda_cls``."""
    return name.rsplit(".", 1)[-1]


def find_jobs(folder: Path) -> list[Job]:
    """All runs of the sweep in ``folder``, by number; those that never began have no stages.

    Raises:
        ConfigError: the folder is no sweep.
    """
    path = folder / MULTIRUN
    if not path.is_file():
        raise ConfigError(
            f"dir={folder} is no sweep (it has no {MULTIRUN}): give the folder of a command such as "
            "`python train.py sweep=lambda`, outputs/lambda/DATE_TIME"
        )
    expected, swept = _planned(path)
    if expected is None:  # proposed one after the other: what there is, is what was asked for
        numbers = sorted(int(p.name) for p in folder.iterdir() if p.is_dir() and p.name.isdigit())
        runs = {number: read_run(folder / str(number)) for number in numbers}
        plan = {number: list(run.status.get("overrides", [])) for number, run in runs.items()}
    else:
        plan = dict(enumerate(expected))
        runs = {number: _own_run(folder / str(number), plan[number]) for number in plan}
    return [
        Job(folder / str(number), plan[number], _values(plan[number], swept), runs[number])
        for number in plan
    ]


def _planned(path: Path) -> tuple[list[Overrides] | None, list[str]]:
    """(overrides per job or None where a search proposes them, names of the swept options)."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    hydra = OmegaConf.load(path).hydra
    texts = [f"{name}={value}" for name, value in (hydra.sweeper.get("params") or {}).items()]
    texts += list(hydra.overrides.task)
    overrides = OverridesParser.create().parse_overrides(texts)
    # A later override of the same option replaces an earlier one, as in the sweepers.
    last = {override.get_key_element(): override for override in overrides}
    swept = [name for name, override in last.items() if override.is_sweep_override()]
    if not hydra.sweeper._target_.endswith(".BasicSweeper"):
        return None, swept
    return BasicSweeper.split_arguments(overrides, None)[0], swept


def _own_run(directory: Path, overrides: Overrides) -> Run:
    """The run in a job's folder, unless it is one of an earlier sweep into the same folder."""
    run = read_run(directory)
    if run.status and sorted(run.status["overrides"]) != sorted(overrides):
        return Run(directory, {}, {})
    return run


def _values(overrides: Overrides, swept: list[str]) -> dict[str, Any]:
    given = dict(text.partition("=")[::2] for text in overrides)
    return {name: given[name] for name in swept if name in given}
