"""What decides the weights of a stage changes its key, so that no run takes the stage of another recipe."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support import train_options

from brainmtl.training.continuation.stage_keys import stage_keys
from brainmtl.training.stages import stage_configs

STAGES = ["seg_warmup", "cls_head", "joint"]


@cache
def options(*overrides: str) -> dict[str, Any]:
    return train_options(Path("data"), Path("run"), *overrides)


def keys(*overrides: str, start: Path | None = None, manifest: str = "0") -> list[str]:
    own = options(*overrides)
    return stage_keys(own, stage_configs(own["stage"], own["loader"]), start, manifest)


def changed(*overrides: str, **origin: Any) -> list[str]:
    """The stages of another key than without ``overrides``."""
    pairs = zip(STAGES, keys(), keys(*overrides, **origin), strict=True)
    return [name for name, one, other in pairs if one != other]


@pytest.mark.parametrize(
    "override",
    [
        "data.batch_size=4",
        "augmentation=none",
        "model.dropout=0.4",
        "loss.segmentation.dice_weight=0.7",
        "optimizer.weight_decay=0.5",
        "scheduler=constant",
        "precision=bf16",
        "trainer.gradient_clip_val=7",
        "seed=7",
        "channels_last=false",
        "ema_decay=0.5",
        "combined_weights=[0.2,0.8]",
        "stage.seg_warmup.learning_rates.decoder=0.5",
        "stage.seg_warmup.patience=9",
        "epochs.seg_warmup=9",
    ],
)
def test_what_changes_the_first_stage_changes_all(override: str) -> None:
    assert changed(override) == STAGES


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("checkpoint_every=7", []),
        ("reuse_stages=false", []),
        ("stage.cls_head.learning_rates.head=0.5", STAGES[1:]),
        ("loss.lambda_cls=3", STAGES[2:]),
        ("balance=dwa", STAGES[2:]),
        ("adversary=source", STAGES[2:]),
        ("loader=alternating", STAGES[2:]),
    ],
)
def test_what_changes_a_later_stage_leaves_those_before(override: str, expected: list[str]) -> None:
    assert changed(override) == expected


def test_data_and_first_weights_count(tmp_path: Path) -> None:
    start = tmp_path / "best.ckpt"
    start.write_bytes(b"weights")
    assert changed(manifest="1") == changed(start=start) == STAGES
    before = keys(start=start)
    start.write_bytes(b"other weights")
    assert not set(before) & set(keys(start=start))


def test_members_have_keys_of_their_own_and_their_mean_has_another() -> None:
    two, three = (keys(f"members={n}") for n in (2, 3))
    assert len(set(two)) == 5 and two[:4] == three[:4]
    assert two[4] != three[5] and two[4] != keys()[2]
