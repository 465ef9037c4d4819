"""Two processes train as one: the same steps, figures and files, and clear words where it cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from support import train_options

from brainmtl.errors import ConfigError
from brainmtl.training.build import make_datamodule, make_module
from brainmtl.training.continuation.checkpoints import load_weights, read_checkpoint
from brainmtl.training.curriculum import train
from brainmtl.training.module import NonFiniteLossError
from brainmtl.training.run_folder.status import read_status
from brainmtl.training.runner import StageResult
from brainmtl.training.stages import stage_configs
from brainmtl.training.team import team_size

TWO = ("trainer=ddp", "trainer.accelerator=cpu")
ONE = ("trainer=cpu",)
JOINT = (
    "stage=joint",
    "precision=fp32",
    "data.batch_size=4",
    "data.max_eval_samples=12",
    "model.stem=space_to_depth",
    "model.dropout=0",  # each process draws for itself
    "augmentation=none",
    "reuse_stages=false",
)


def run(data: Path, folder: Path, *overrides: str) -> tuple[StageResult, list[dict[str, Any]]]:
    """The joint stage and the history that it leaves."""
    options = train_options(data, folder, *JOINT, *overrides)
    [result] = train(options)
    return result, json.loads((folder / "joint/stage.json").read_text())["history"]


@pytest.fixture(scope="module")
def pair(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two processes of one batch per step, and one process that adds up two batches per step."""
    folder = tmp_path_factory.mktemp("ddp")
    mixed = ("loader=mixed", "epochs.joint=2")
    run(phantom_dir, folder / "two", *mixed, *TWO, "trainer.limit_train_batches=4")
    run(
        phantom_dir,
        folder / "one",
        *mixed,
        *ONE,
        "trainer.limit_train_batches=8",
        "trainer.accumulate_grad_batches=2",
    )
    return folder / "two", folder / "one"


def _history(folder: Path) -> list[dict[str, float]]:
    history = json.loads((folder / "joint/stage.json").read_text())["history"]
    return [{k: v for k, v in entry.items() if "seconds" not in k} for entry in history]


def test_two_processes_take_the_steps_of_one(pair: tuple[Path, Path]) -> None:
    """Equal weights, and means over all images: no image is in both shares, and none is missing."""
    two, one = (read_checkpoint(f / "joint/checkpoints/last.ckpt") for f in pair)
    assert two["global_step"] == one["global_step"] == 8
    for name, weight in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], weight, rtol=1e-3, atol=1e-5, msg=name)
    for ours, theirs in zip(*map(_history, pair), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)
        assert ours["images"] == 32


def test_validation_is_that_of_one_process(
    pair: tuple[Path, Path], phantom_dir: Path, tmp_path: Path
) -> None:
    """The stored checkpoint, validated anew without any other process."""
    folder = pair[0]
    options = train_options(phantom_dir, tmp_path, *JOINT, *ONE)
    [stage] = stage_configs(options["stage"], options["loader"])
    datamodule = make_datamodule(options, stage)
    module = make_module(options, stage, datamodule)
    best = folder / "joint/checkpoints/best.ckpt"
    load_weights(module.model, read_checkpoint(best)["state_dict"], str(best))
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.validate(module, datamodule=datamodule, verbose=False)
    monitor = stage.monitor
    entry = max(_history(folder), key=lambda e: e[monitor])
    found = {k: v for k, v in entry.items() if k.startswith("val/") and "loss" not in k}
    assert found and {k: float(trainer.callback_metrics[k]) for k in found} == pytest.approx(found)


def test_two_processes_validate_the_mean_of_two_members(
    pair: tuple[Path, Path], phantom_dir: Path, tmp_path: Path
) -> None:
    """The trainings and the validation of their mean are jobs of one team."""
    start = pair[1] / "joint/checkpoints/best.ckpt"
    steps = ("members=2", f"init_from={start}", "trainer.limit_train_batches=2")
    *members, mean = train(train_options(phantom_dir, tmp_path / "run", *JOINT, *TWO, *steps))
    assert [result.name for result in (*members, mean)] == ["joint_1", "joint_2", "joint"]
    first, second, found = (read_checkpoint(r.best)["state_dict"] for r in (*members, mean))
    for name, value in found.items():
        assert torch.equal(value, ((first[name].double() + second[name]) / 2).float()), name
    [entry] = json.loads((mean.directory / "stage.json").read_text())["history"]
    assert entry[mean.monitor] == mean.score
    assert len(list((tmp_path / "run").rglob("*tfevents*"))) == 3


def test_one_folder_with_one_writer(pair: tuple[Path, Path]) -> None:
    two, one = (
        sorted(
            path.relative_to(f).as_posix().replace("hparams.yaml", "")
            for path in f.rglob("*")
            if "tfevents" not in path.name
        )
        for f in pair
    )
    assert two == one
    assert len(list(pair[0].rglob("*tfevents*"))) == 1
    assert read_status(pair[0])["state"] == "finished"
    assert len(json.loads((pair[0] / "run.json").read_text())["attempts"]) == 1
    assert {path.name for path in pair[0].parent.iterdir()} <= {"one", "two", ".stages"}


def test_alternating_shares_are_one_epoch(phantom_dir: Path, tmp_path: Path) -> None:
    """With weights that do not move, the means by task and source are those over the whole epoch."""
    still = ("loader=alternating", "optimizer.lr_scale=1e-12", "ema_decay=0")
    _, [two] = run(phantom_dir, tmp_path / "two", *still, *TWO, "trainer.limit_train_batches=4")
    _, [one] = run(phantom_dir, tmp_path / "one", *still, *ONE, "trainer.limit_train_batches=8")
    names = {name for name in one if name.startswith(("train/", "images"))}
    assert {"train/loss_seg/phantom_brats", "train/loss_cls/phantom_kaggle"} <= names
    assert {n: two[n] for n in names} == pytest.approx({n: one[n] for n in names}, rel=1e-4)


def test_dynamic_weights_follow_the_losses_of_all_shares(phantom_dir: Path, tmp_path: Path) -> None:
    still = ("balance=dwa", "optimizer.lr_scale=1e-12", "ema_decay=0", "epochs.joint=3")
    _, two = run(phantom_dir, tmp_path / "two", *still, *TWO, "trainer.limit_train_batches=2")
    _, one = run(phantom_dir, tmp_path / "one", *still, *ONE, "trainer.limit_train_batches=4")
    assert abs(one[2]["balance/seg"] - 1) > 1e-3
    for ours, theirs in zip(two, one, strict=True):
        for name in ("balance/seg", "balance/cls"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-5)


def test_an_error_ends_all_processes(phantom_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError, match="the loss became"):
        run(phantom_dir, tmp_path / "run", *TWO, "optimizer.lr_scale=1e30", "ema_decay=0")
    assert read_status(tmp_path / "run")["state"] == "failed"
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("trainer=cpu", "trainer.devices=2"), "trainer=ddp"),
        ((*TWO, "model.norm=batch"), r"model\.norm=group"),
        ((*TWO, "balance=pcgrad"), r"trainer\.devices=1"),
        ((*TWO, "trainer.num_nodes=2"), "torchrun"),
        ((*TWO, "trainer.devices=auto"), "a number of processes"),
    ],
)
def test_what_several_devices_cannot_do(
    tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        team_size(train_options(tmp_path, tmp_path / "run", *overrides))
