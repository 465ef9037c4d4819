"""Parameter groups, the rate of each over time, and what the config files construct."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from brainmtl.errors import ConfigError
from brainmtl.models import PARTS, MultiTaskModel, create_multi_task_model
from brainmtl.training.losses import MultiTaskLoss
from brainmtl.training.optim import (
    adamw,
    learning_rates_by_group,
    parameter_groups,
    sgd,
    warmup_constant,
    warmup_cosine,
)

RATES = {"encoder": 1e-4, "decoder": 3e-4, "head": 2e-3}
Schedule = Callable[..., torch.optim.lr_scheduler.LRScheduler]
CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture
def model() -> MultiTaskModel:
    return create_multi_task_model(base_filters=4, depth=1, hidden_dim=8)


@pytest.mark.parametrize("parts", [PARTS, ("head",), ("decoder", "head"), ("encoder", "decoder")])
@pytest.mark.parametrize("decay_norm_and_bias", [False, True])
def test_groups_hold_every_trainable_parameter_exactly_once(
    model: MultiTaskModel, parts: tuple[str, ...], decay_norm_and_bias: bool
) -> None:
    model.set_trainable(parts)
    groups = parameter_groups(model, RATES, 1e-4, parts, decay_norm_and_bias)
    ours = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(ours) == len(set(ours))
    assert set(ours) == {id(p) for p in model.parameters() if p.requires_grad}
    endings = [""] if decay_norm_and_bias else ["", "_no_decay"]
    assert [group["name"] for group in groups] == [
        part + ending for part in PARTS if part in parts for ending in endings
    ]


def test_norms_and_biases_are_not_decayed_and_rates_follow_the_part(
    model: MultiTaskModel,
) -> None:
    groups = {group["name"]: group for group in parameter_groups(model, RATES, weight_decay=0.5)}
    for name, group in groups.items():
        plain = name.endswith("_no_decay")
        assert group["lr"] == RATES[name.removesuffix("_no_decay")]
        assert group["weight_decay"] == (0.0 if plain else 0.5)
        assert {parameter.ndim > 1 for parameter in group["params"]} == {not plain}


@pytest.mark.parametrize(
    ("rates", "parts", "words"),
    [
        (RATES, (), "at least one of encoder, decoder, head"),
        (RATES, ("neck",), "neck"),
        ({"encoder": 1e-4}, ("encoder", "head"), "head is trained and needs"),
        ({"head": 0.0}, ("head",), "positive learning rate"),
    ],
)
def test_groups_that_cannot_work_are_named(
    model: MultiTaskModel, rates: dict[str, float], parts: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        parameter_groups(model, rates, 1e-4, parts)


def rates_over_time(
    model: MultiTaskModel, schedule: Schedule, steps: int
) -> list[dict[str, float]]:
    optimizer = adamw(model, RATES)
    scheduler = schedule(optimizer)
    history = []
    for _ in range(steps):
        history.append(learning_rates_by_group(optimizer))
        optimizer.step()
        scheduler.step()
    return history


def test_cosine_warms_up_falls_and_keeps_the_ratio_of_the_groups(
    model: MultiTaskModel,
) -> None:
    total, warmup, floor = 40, 4, 0.1
    history = rates_over_time(
        model,
        lambda o: warmup_cosine(o, total, warmup_fraction=0.1, min_lr_ratio=floor),
        total + 5,
    )
    for step, rates in enumerate(history):
        if step < warmup:
            factor = (step + 1) / 5
        else:
            done = min((step - warmup) / (total - warmup), 1)
            factor = floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2
        for name, rate in rates.items():
            assert rate == pytest.approx(RATES[name.removesuffix("_no_decay")] * factor)
    heads = [rates["head"] for rates in history]
    assert heads.index(max(heads)) == warmup
    assert heads[-1] == pytest.approx(RATES["head"] * floor)


def test_cosine_without_warm_up_is_that_of_torch(model: MultiTaskModel) -> None:
    ours = rates_over_time(
        model, lambda o: warmup_cosine(o, 20, warmup_fraction=0.0, min_lr_ratio=0.0), 20
    )
    reference = torch.optim.lr_scheduler.CosineAnnealingLR
    theirs = rates_over_time(model, lambda o: reference(o, T_max=20), 20)
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other)


def test_constant_warms_up_and_stays(model: MultiTaskModel) -> None:
    history = rates_over_time(model, lambda o: warmup_constant(o, 20, warmup_fraction=0.1), 20)
    assert [rates["encoder"] / 1e-4 for rates in history] == pytest.approx(
        [1 / 3, 2 / 3] + [1.0] * 18
    )


@pytest.mark.parametrize("total", [1, 2])
def test_schedules_cope_with_very_short_runs(model: MultiTaskModel, total: int) -> None:
    for schedule in (warmup_cosine, warmup_constant):
        history = rates_over_time(model, lambda o, s=schedule: s(o, total), total)
        assert all(rate > 0 for rates in history for rate in rates.values())


@pytest.mark.parametrize(
    ("schedule", "total", "options", "words"),
    [
        (warmup_cosine, 0, {}, "0 steps"),
        (warmup_cosine, 10, {"warmup_fraction": 1.0}, "warmup_fraction=1.0"),
        (warmup_cosine, 10, {"min_lr_ratio": 1.5}, "min_lr_ratio=1.5"),
        (warmup_constant, 10, {"warmup_fraction": -0.1}, "warmup_fraction=-0.1"),
    ],
)
def test_schedules_that_cannot_work_are_named(
    model: MultiTaskModel,
    schedule: Schedule,
    total: int,
    options: dict[str, float],
    words: str,
) -> None:
    with pytest.raises(ConfigError, match=words):
        schedule(sgd(model, RATES), total, **options)


def test_lr_scale_multiplies_every_rate(model: MultiTaskModel) -> None:
    scaled = learning_rates_by_group(sgd(model, RATES, lr_scale=10.0))
    assert scaled["encoder"] == pytest.approx(1e-3)
    assert scaled["head_no_decay"] == pytest.approx(2e-2)
    with pytest.raises(ConfigError, match="lr_scale=0"):
        adamw(model, RATES, lr_scale=0.0)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (adamw, {"betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.3}),
        (sgd, {"momentum": 0.7, "nesterov": False, "weight_decay": 0.3}),
    ],
)
def test_options_reach_every_group_and_what_is_trained_beside_the_model_does_not_decay(
    model: MultiTaskModel, make: Callable[..., Optimizer], options: dict[str, object]
) -> None:
    beside = {"name": "adversary", "params": [torch.nn.Parameter(torch.zeros(2, 2))], "lr": 1e-3}
    optimizer = make(model, RATES, extra=[beside], lr_scale=10.0, **options)
    groups = {group["name"]: group for group in optimizer.param_groups}
    assert groups["adversary"]["lr"] == pytest.approx(1e-2)
    assert groups["adversary"]["params"] == beside["params"]
    for name, group in groups.items():
        decay = options["weight_decay"] if name in PARTS else 0.0
        assert {key: group[key] for key in options} == {**options, "weight_decay": decay}


@pytest.mark.parametrize("optimizer_choice", ["adamw", "sgd"])
@pytest.mark.parametrize("scheduler_choice", ["cosine", "constant"])
def test_config_choices_construct_and_resume_from_plain_state(
    model: MultiTaskModel, optimizer_choice: str, scheduler_choice: str
) -> None:
    def build() -> tuple[Optimizer, LambdaLR]:
        optimizer = instantiate(OmegaConf.load(CONF / "optimizer" / f"{optimizer_choice}.yaml"))(
            model, learning_rates=RATES, parts=["encoder", "head"]
        )
        config = OmegaConf.load(CONF / "scheduler" / f"{scheduler_choice}.yaml")
        return optimizer, instantiate(config)(optimizer, total_steps=10)

    optimizer, scheduler = build()
    for _ in range(3):
        model(torch.rand(2, 1, 8, 8), do_seg=False).cls.sum().backward()
        optimizer.step()
        scheduler.step()
    stream = io.BytesIO()
    torch.save([optimizer.state_dict(), scheduler.state_dict()], stream)
    stream.seek(0)
    saved = torch.load(stream, weights_only=True)  # refuses anything but plain containers
    again, schedule = build()
    again.load_state_dict(saved[0])
    schedule.load_state_dict(saved[1])
    assert learning_rates_by_group(again) == learning_rates_by_group(optimizer)
    for instance in (scheduler, schedule):
        instance.step()
    assert learning_rates_by_group(again) == learning_rates_by_group(optimizer)


@pytest.mark.parametrize(
    "file",
    sorted(
        p
        for g in ("optimizer", "scheduler", "loss", "balance", "model")
        for p in (CONF / g).iterdir()
    ),
)
def test_every_key_of_a_config_choice_reaches_its_function(
    file: Path, model: MultiTaskModel
) -> None:
    config = OmegaConf.load(file)
    config["no_such_option"] = 1

    def build() -> object:
        built = instantiate(config)
        if file.parent.name == "optimizer":
            return built(model, learning_rates=RATES, parts=PARTS)
        if file.parent.name == "scheduler":
            return built(sgd(model, RATES), total_steps=10)
        return built

    with pytest.raises(Exception, match="no_such_option"):
        build()
    del config["no_such_option"]
    build()


def test_loss_config_constructs_with_auto_class_weights() -> None:
    loss = instantiate(OmegaConf.load(CONF / "loss" / "default.yaml"))
    assert isinstance(loss, MultiTaskLoss)
    assert loss.needs_class_weights
    mask_loss = loss.segmentation
    assert (mask_loss.dice_weight, mask_loss.bce_weight, loss.lambda_cls) == (0.5, 0.5, 0.5)
