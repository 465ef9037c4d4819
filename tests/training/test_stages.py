"""Stage descriptions: what is accepted, what is refused and with which words."""

from __future__ import annotations

from typing import Any

import pytest

from brainmtl.errors import ConfigError
from brainmtl.training.stages import StageConfig, stage_configs

MIXED = {"loader": "mixed"}
VALID: dict[str, Any] = {
    "name": "joint",
    "train": ["encoder", "decoder", "head"],
    "tasks": ["seg", "cls"],
    "loader": None,
    "learning_rates": {"encoder": 1e-4, "decoder": 3e-4, "head": 3e-4},
    "max_epochs": 2,
    "monitor": "val/combined",
    "mode": "max",
    "patience": 3,
}


def test_single_stage_takes_the_default_loader() -> None:
    (stage,) = stage_configs(VALID, {"loader": "alternating"})
    assert isinstance(stage, StageConfig)
    assert stage.loader == {"loader": "alternating"}
    assert stage.train == ("encoder", "decoder", "head")


def test_order_decides() -> None:
    stages = {"order": ["b", "a"], "a": VALID | {"name": "a"}, "b": VALID | {"name": "b"}}
    assert [stage.name for stage in stage_configs(stages, MIXED)] == ["b", "a"]


@pytest.mark.parametrize("order", [[], ["a", "a"], ["b"]])
def test_an_order_that_names_no_stage_one_twice_or_another(order: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"stage\.order=.* non-empty subset of \['a'\]"):
        stage_configs({"order": order, "a": VALID | {"name": "a"}}, MIXED)


def test_a_stage_of_three_members_is_three_trainings_and_their_mean() -> None:
    last = VALID | {"name": "last"}
    stages = {"order": ["joint", "last"], "joint": VALID | {"members": 3}, "last": last}
    *members, mean, after = stage_configs(stages, MIXED)
    assert [stage.name for stage in members] == ["joint_1", "joint_2", "joint_3"]
    assert [(stage.member, stage.member_of) for stage in members] == [
        (k, "joint") for k in range(3)
    ]
    assert (mean.name, mean.mean_of) == ("joint", ("joint_1", "joint_2", "joint_3"))
    assert (after.name, after.member_of, after.mean_of) == ("last", None, ())
    assert stage_configs(VALID | {"members": 1}, MIXED) == stage_configs(VALID, MIXED)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": []}, "non-empty subset"),
        ({"train": ["neck"]}, "neck"),
        ({"train": ["encoder", "encoder"]}, "encoder"),
        ({"tasks": ["seg"]}, "head.*cls"),
        ({"train": ["head"], "tasks": ["cls"], "mode": "best"}, "min or max"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"epochs": 3}, "epochs"),
    ],
)
def test_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        stage_configs(VALID | change, MIXED)


@pytest.mark.parametrize("train", [["encoder"], ["decoder"], ["head"], ["encoder", "head"]])
def test_any_subset_of_the_parts_can_train(train: list[str]) -> None:
    (stage,) = stage_configs(VALID | {"train": train}, MIXED)
    assert stage.train == tuple(train)
