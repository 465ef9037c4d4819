"""Optimisers with named parameter groups, and learning-rate schedules that keep their ratios."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from brainmtl.errors import ConfigError
from brainmtl.models.multitask import PARTS, MultiTaskModel

NO_DECAY = "_no_decay"  # ending of the name of a group of norm parameters and biases


def parameter_groups(
    model: MultiTaskModel,
    learning_rates: Mapping[str, float],
    weight_decay: float = 1e-4,
    parts: Collection[str] = PARTS,
    decay_norm_and_bias: bool = False,
) -> list[dict[str, Any]]:
    """Return the optimiser groups of `parts`, each with name, params, lr and weight_decay.

    The name is that of the part, with "_no_decay" after it for norm parameters and biases, which
    are not decayed unless decay_norm_and_bias is set. All groups exist from the first step, since
    schedulers and resuming break on groups that are added later. ConfigError if `parts` is empty
    or unknown, or a learning rate is missing or not positive.
    """
    if not parts or set(parts) - set(PARTS):
        raise ConfigError(f"train={list(parts)}: name at least one of {', '.join(PARTS)}")
    groups: list[dict[str, Any]] = []
    for part in (name for name in PARTS if name in parts):
        if not learning_rates.get(part, 0) > 0:
            raise ConfigError(
                f"learning_rates={dict(learning_rates)}: {part} is trained and needs a positive"
                f" learning rate, e.g. {part}: 3e-4"
            )
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for parameter in getattr(model, part).parameters():
            # vectors are the norms' scales and shifts and the biases; their decay only shrinks
            # the features and does not regularise
            (decayed if parameter.ndim > 1 or decay_norm_and_bias else plain).append(parameter)
        for name, params, decay in (
            (part, decayed, weight_decay),
            (part + NO_DECAY, plain, 0.0),
        ):
            if params:
                lr = float(learning_rates[part])
                groups.append({"name": name, "params": params, "lr": lr, "weight_decay": decay})
    return groups


def adamw(
    model: MultiTaskModel,
    learning_rates: Mapping[str, float],
    parts: Collection[str] = PARTS,
    extra: Sequence[Mapping[str, Any]] = (),
    *,
    weight_decay: float = 1e-4,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    lr_scale: float = 1.0,
    decay_norm_and_bias: bool = False,
) -> torch.optim.AdamW:
    """Return AdamW over the groups of `parts` and `extra`; all rates are multiplied by lr_scale.

    `extra`: groups (name, params, lr) of what is trained beside the model; they are not decayed.
    Never the fused kernel, which fails together with clipping under float16 AMP.
    """
    rates = _scaled(learning_rates, lr_scale)
    groups = parameter_groups(model, rates, weight_decay, parts, decay_norm_and_bias)
    groups += _extra_groups(extra, lr_scale)
    return torch.optim.AdamW(groups, betas=(betas[0], betas[1]), eps=eps)


def sgd(
    model: MultiTaskModel,
    learning_rates: Mapping[str, float],
    parts: Collection[str] = PARTS,
    extra: Sequence[Mapping[str, Any]] = (),
    *,
    weight_decay: float = 1e-4,
    momentum: float = 0.9,
    nesterov: bool = True,
    lr_scale: float = 1.0,
    decay_norm_and_bias: bool = False,
) -> torch.optim.SGD:
    """Return SGD over the groups of `parts` and `extra`, see `adamw`."""
    rates = _scaled(learning_rates, lr_scale)
    groups = parameter_groups(model, rates, weight_decay, parts, decay_norm_and_bias)
    groups += _extra_groups(extra, lr_scale)
    return torch.optim.SGD(groups, momentum=momentum, nesterov=nesterov)


def warmup_cosine(
    optimizer: Optimizer,
    total_steps: int,
    *,
    warmup_fraction: float = 0.05,
    min_lr_ratio: float = 0.01,
) -> LambdaLR:
    """Return a schedule by step: linear warm-up, then a half cosine down to min_lr_ratio.

    One factor multiplies every group's own rate, so the groups keep their ratios. After
    `total_steps` the factor stays at min_lr_ratio.
    """
    if not 0 <= min_lr_ratio <= 1:
        raise ConfigError(f"scheduler.min_lr_ratio={min_lr_ratio}: must lie in [0, 1]")
    warmup = _warmup_steps(total_steps, warmup_fraction)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)  # not 0: the first step shall train
        progress = min((step - warmup) / max(total_steps - warmup, 1), 1.0)
        return min_lr_ratio + (1 - min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)


def warmup_constant(
    optimizer: Optimizer, total_steps: int, *, warmup_fraction: float = 0.0
) -> LambdaLR:
    """Return a schedule by step: linear warm-up, then every group's own rate."""
    warmup = _warmup_steps(total_steps, warmup_fraction)
    return LambdaLR(optimizer, lambda step: min((step + 1) / (warmup + 1), 1.0))


def learning_rates_by_group(optimizer: Optimizer) -> dict[str, float]:
    """Return {group name: current learning rate}, for logging."""
    return {group["name"]: float(group["lr"]) for group in optimizer.param_groups}


def _extra_groups(extra: Sequence[Mapping[str, Any]], lr_scale: float) -> list[dict[str, Any]]:
    return [{**group, "lr": group["lr"] * lr_scale, "weight_decay": 0.0} for group in extra]


def _scaled(learning_rates: Mapping[str, float], lr_scale: float) -> dict[str, float]:
    if not lr_scale > 0:
        raise ConfigError(f"optimizer.lr_scale={lr_scale}: must be positive")
    return {part: rate * lr_scale for part, rate in learning_rates.items()}


def _warmup_steps(total_steps: int, warmup_fraction: float) -> int:
    if total_steps < 1:
        raise ConfigError(f"the schedule spans {total_steps} steps: train for at least one")
    if not 0 <= warmup_fraction < 1:
        raise ConfigError(f"scheduler.warmup_fraction={warmup_fraction}: must lie in [0, 1)")
    return round(total_steps * warmup_fraction)
