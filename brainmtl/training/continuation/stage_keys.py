"""What decides the weights of a stage, as one hash: by it a finished stage is found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brainmtl import __version__
from brainmtl.data.preprocessing.preprocess import PREPROCESSING_VERSION
from brainmtl.files import sha256
from brainmtl.training.stages import StageConfig

Options = dict[str, Any]
MEMBER_SEED = 1000  # between the members of a stage: seed=0,1,2 of a sweep shall not meet them
# What decides the weights of a stage, beside the stage itself, its data and where it started.
DECIDING = (
    "data",
    "augmentation",
    "model",
    "loss",
    "balance",
    "adversary",
    "optimizer",
    "scheduler",
    "precision",
    "trainer",
    "seed",
    "channels_last",
    "ema_decay",
    "combined_weights",
)


def stage_options(options: Options, stage: StageConfig) -> Options:
    """``options`` with the seed of a stage, which the members of one do not share."""
    step = MEMBER_SEED * stage.member
    data = options["data"] | {"seed": options["data"]["seed"] + step}
    return options | {"seed": options["seed"] + step, "data": data}


def stage_keys(
    options: Options,
    stages: Sequence[StageConfig],
    init_from: Path | None,
    manifest_sha256: str,
) -> list[str]:
    """:func:`stage_key` of each stage, from the weights of the one before; members share a start."""
    origin = sha256(init_from) if init_from else "scratch"
    keys: dict[str, str] = {}
    for stage in stages:
        start = "+".join(keys[name] for name in stage.mean_of) or origin
        keys[stage.name] = stage_key(stage_options(options, stage), stage, start, manifest_sha256)
        if stage.member_of is None:
            origin = keys[stage.name]
    return list(keys.values())


def stage_key(options: Options, stage: StageConfig, origin: str, manifest_sha256: str) -> str:
    """SHA-256 over all that decides a stage's weights; ``origin`` stands for its initial weights."""
    deciding = {name: options[name] for name in DECIDING}
    # lambda_cls and the balance weigh two tasks against each other, and the adversary is at work
    # where both are trained: one task has no use for any of them.
    if len(stage.tasks) == 1:
        deciding |= {"balance": None, "adversary": None}
        deciding["loss"] = {
            name: value for name, value in options["loss"].items() if name != "lambda_cls"
        }
    deciding |= {
        "stage": vars(stage),
        "origin": origin,
        "manifest": manifest_sha256,
        "versions": [__version__, PREPROCESSING_VERSION],
    }
    return hashlib.sha256(json.dumps(deciding, sort_keys=True, default=list).encode()).hexdigest()
