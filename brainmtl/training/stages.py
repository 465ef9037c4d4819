"""What a stage trains, freezes, watches and for how long (``conf/stage/*.yaml``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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

    A stage of several members (:func:`stage_configs`) stands for one training each, number ``member``
    of the stage ``member_of``, and for one without training: the mean of the stages ``mean_of``.
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
    member: int = 0
    member_of: str | None = None
    mean_of: tuple[str, ...] = ()

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

    @property
    def trainings(self) -> int:
        """How many trainings the weights are the mean of."""
        return len(self.mean_of) or 1

    def plain(self) -> dict[str, Any]:
        """All fields in containers that any reader of JSON or a checkpoint has."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(self).items()
        }


def stage_configs(stage: Mapping[str, Any], default_loader: dict[str, Any]) -> list[StageConfig]:
    """The stages in order: those of ``stage.order``, or the single one that ``stage`` describes.

    A stage with ``loader: null`` takes ``default_loader``; one with ``members: 2`` becomes its members
    NAME_1 and NAME_2, which start from the same weights and draw other samples, and NAME, their mean.

    Raises:
        ConfigError: an unknown key or value; names the stage and what is allowed.
    """
    parts = [stage]
    if "order" in stage:
        _subset("stage.order", stage["order"], tuple(name for name in stage if name != "order"))
        parts = [stage[name] for name in stage["order"]]
    stages = []
    for values in parts:
        values = dict(values) | {key: tuple(values[key]) for key in ("train", "tasks")}
        values["loader"] = values["loader"] or default_loader
        members = values.pop("members", 1)
        try:
            stages += _with_members(StageConfig(**values), members)
        except TypeError as error:
            raise ConfigError(
                f"stage {values.get('name')}: {error}; its keys are those of StageConfig"
            ) from error
    return stages


def _with_members(stage: StageConfig, members: Any) -> list[StageConfig]:
    if not isinstance(members, int) or isinstance(members, bool) or members < 1:
        raise ConfigError(
            f"stage {stage.name}: members={members} must be 1, or a number of trainings to average"
        )
    if members == 1:
        return [stage]
    own = [
        replace(stage, name=f"{stage.name}_{k + 1}", member=k, member_of=stage.name)
        for k in range(members)
    ]
    return [*own, replace(stage, mean_of=tuple(part.name for part in own))]


def _subset(what: str, given: Sequence[str], allowed: tuple[str, ...]) -> None:
    if not given or set(given) - set(allowed) or len(set(given)) != len(given):
        raise ConfigError(f"{what}={list(given)} must be a non-empty subset of {list(allowed)}")
