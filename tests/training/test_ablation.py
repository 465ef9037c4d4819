"""The ablations: every one composes, and all draw the same number of images in as many steps."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import compose

from brainmtl.config import CONF_DIR
from brainmtl.training.build import make_datamodule
from brainmtl.training.stages import StageConfig, stage_configs

ARMS = {
    "seg_only": [("encoder", "decoder")],
    "cls_only": [("encoder", "head")],
    "frozen_head": [("encoder", "decoder"), ("head",)],
    "joint_scratch": [("encoder", "decoder", "head")],
    "curriculum": [("encoder", "decoder"), ("head",), ("encoder", "decoder", "head")],
}
PER_EPOCH, BATCH = 24, 8


def options_of(arm: str, data_dir: Path, *overrides: str) -> dict:
    return compose(
        "train",
        f"experiment=ablation/{arm}",
        "data=phantom",
        f"data_dir={data_dir}",
        f"run_dir={data_dir}/../{arm}",
        f"data.images_per_epoch={PER_EPOCH}",
        f"data.batch_size={BATCH}",
        "data.num_workers=0",
        "callbacks=quiet",
        *overrides,
    )


def stages_of(options: dict) -> list[StageConfig]:
    return stage_configs(options["stage"], options["loader"])


def test_there_is_one_file_per_arm_and_its_header_is_its_command() -> None:
    files = {path.stem: path for path in (CONF_DIR / "experiment/ablation").glob("*.yaml")}
    assert files.keys() == {*ARMS, "budget"}
    for arm in ARMS:
        lines = files[arm].read_text(encoding="utf-8").splitlines()
        assert lines[1] == f"# python train.py experiment=ablation/{arm}"
        assert lines[2].startswith(f"{lines[1]} data=phantom ")


@pytest.mark.parametrize("arm", ARMS)
def test_budget_is_equal(arm: str, phantom_dir: Path) -> None:
    """28 epochs, none cut short; the images of an epoch are counted as its loader draws them."""
    options = options_of(arm, phantom_dir)
    stages = stages_of(options)
    assert [stage.train for stage in stages] == ARMS[arm]
    assert stages[-1].name == arm  # what a comparison calls it
    assert sum(stage.max_epochs for stage in stages) == 28
    images = steps = 0
    for stage in stages:
        assert stage.patience >= stage.max_epochs
        batches = make_datamodule(options, stage).train_batches
        for epoch in range(stage.max_epochs):
            batches.set_epoch(epoch)
            drawn = [len(keys) for keys in batches]
            steps, images = steps + len(drawn), images + sum(drawn)
    assert (steps, images) == (28 * PER_EPOCH // BATCH, 28 * PER_EPOCH)


def test_arms_differ_in_nothing_but_their_stages(phantom_dir: Path) -> None:
    composed = [options_of(arm, phantom_dir, "run_dir=x") for arm in ARMS]
    shared = [
        {key: value for key, value in options.items() if key not in ("stage", "epochs")}
        for options in composed
    ]
    assert all(options == shared[0] for options in shared)


def test_every_label_is_open_to_every_arm_that_classifies(phantom_dir: Path) -> None:
    """The mixed batches of joint_scratch; otherwise an arm would lack the labels of the slices."""
    for arm in ARMS:
        for stage in stages_of(options_of(arm, phantom_dir)):
            if "cls" in stage.tasks:
                assert stage.loader["loader"] == "mixed"
