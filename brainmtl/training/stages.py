"""What a stage trains, freezes, watches and for how long (``conf/stage/*.yaml``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from brainmtl.errors import ConfigError
from brainmtl.models.multitask import PARTS

TASK_PART = {"seg": "decoder", "cls": "head"}


@dataclass(frozen=True)
class StageConfig:
    """One stage of the curriculum.

    ``train`` are the parts that learn (the others are frozen, weights and norm statistics),
    ``tasks`` the losses that count, ``loader`` the loader options of its training batches,
    ``learning_rates`` one rate per part, ``monitor`` the metric that chooses ``best.ckpt`` and
    stops the stage after ``patience`` epochs without a better value.
    """

    name: str
    train: tuple[str, ...]
    tasks: tuple[str, ...]
    loader: dict[str, Any]
    learning_rates: dict[str, float]
    max_epochs: int
    monitor: str
    mode: str
    patience: int

    def __post_init__(self) -> None:
        _subset(f"stage {self.name}: train", self.train, PARTS)
        _subset(f"stage {self.name}: tasks", self.tasks, tuple(TASK_PART))
        for task, part in TASK_PART.items():
            if part in self.train and task not in self.tasks:
                raise ConfigError(
                    f"stage {self.name}: train={list(self.train)} holds the {part}, which only the task "
                    f"{task} reaches; add {task} to tasks={list(self.tasks)} or leave the {part} out"
                )
        if "encoder" not in self.train and not any(
            TASK_PART[task] in self.train for task in self.tasks
        ):
            raise ConfigError(
                f"stage {self.name}: no trained part is reached by tasks={list(self.tasks)}"
            )
        if self.mode not in ("min", "max"):
            raise ConfigError(f"stage {self.name}: mode={self.mode} must be min or max")
        if self.max_epochs < 1:
            raise ConfigError(f"stage {self.name}: max_epochs={self.max_epochs} must be 1 or more")


def stage_configs(stage: Mapping[str, Any], default_loader: dict[str, Any]) -> list[StageConfig]:
    """The stages in order: those of ``stage.order``, or the single one that ``stage`` describes.

    A stage with ``loader: null`` takes ``default_loader``.

    Raises:
        ConfigError: an unknown key or value; names the stage and what is allowed.
    """
    parts = [stage[name] for name in stage["order"]] if "order" in stage else [stage]
    stages = []
    for values in parts:
        values = dict(values) | {key: tuple(values[key]) for key in ("train", "tasks")}
        values["loader"] = values["loader"] or default_loader
        try:
            stages.append(StageConfig(**values))
        except TypeError as error:
            raise ConfigError(
                f"stage {values.get('name')}: {error}; its keys are those of StageConfig"
            ) from error
    return stages


def _subset(what: str, given: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    if not given or set(given) - set(allowed) or len(set(given)) != len(given):
        raise ConfigError(f"{what}={list(given)} must be a non-empty subset of {list(allowed)}")
