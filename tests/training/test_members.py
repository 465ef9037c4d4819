"""A stage of several members: trained from the same weights, averaged, validated, taken up again, refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from support import count_calls, train_options

from brainmtl.data.manifest import case_of
from brainmtl.errors import ConfigError, DataError
from brainmtl.evaluation.comparison.folders import resolve
from brainmtl.training.build import make_datamodule
from brainmtl.training.continuation.checkpoints import load_model, mean_checkpoint, read_checkpoint
from brainmtl.training.curriculum import compare_with_members, train
from brainmtl.training.run_folder.status import read_status
from brainmtl.training.runner import StageResult
from brainmtl.training.stages import stage_configs

TWO = (
    "members=2",
    "data.seed=7",
    "trainer.limit_train_batches=4",
    "trainer.limit_val_batches=1.0",
    "model.norm=group",
    "precision=fp32",
)
NAMES = ["seg_warmup", "cls_head", "joint_1", "joint_2", "joint"]


@pytest.fixture(scope="module")
def run(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[StageResult]:
    """The curriculum with two members of joint, trained once for this file."""
    return train(train_options(phantom_dir, tmp_path_factory.mktemp("outputs") / "run", *TWO))


def _weights(result: StageResult) -> dict[str, torch.Tensor]:
    return read_checkpoint(result.best)["state_dict"]


def _log(result: StageResult) -> str:
    return (result.directory / "train.log").read_text(encoding="utf-8")


def test_members_start_from_the_same_weights_and_draw_differently(run: list[StageResult]) -> None:
    assert [result.name for result in run] == NAMES
    start = f"from {run[1].best}"
    assert all(start in _log(member) for member in run[2:4])
    first, second = map(_weights, run[2:4])
    assert not any(torch.equal(first[k], second[k]) for k in first if "weight" in k)
    seeds = [read_checkpoint(r.best)["brainmtl"]["config"]["seed"] for r in run]
    assert seeds == [0, 0, 0, 1000, 0]


def test_a_member_is_the_training_that_its_seed_makes_by_itself(
    run: list[StageResult], phantom_dir: Path, tmp_path: Path
) -> None:
    single = ("members=1", "stage=joint", "seed=1000", "data.seed=1007", f"init_from={run[1].best}")
    (alone,) = train(train_options(phantom_dir, tmp_path / "run", *TWO, *single))
    for name, value in _weights(alone).items():
        assert torch.equal(value, _weights(run[3])[name]), name


def test_the_stage_is_the_mean_of_the_weights_of_its_members(run: list[StageResult]) -> None:
    mean, first, second = (_weights(run[k]) for k in (4, 2, 3))
    assert mean.keys() == first.keys()
    for name, value in mean.items():
        expected = (first[name].numpy().astype("f8") + second[name].numpy()) / 2
        np.testing.assert_array_equal(value.numpy(), expected.astype("f4"), err_msg=name)
    described = read_checkpoint(run[4].best)["brainmtl"]
    assert described["stage"] == "joint"
    assert described["trained_parts"] == ["decoder", "encoder", "head"]
    assert [read_checkpoint(r.best)["brainmtl"]["trainings"] for r in run] == [1, 1, 1, 1, 2]


def test_the_score_of_the_mean_is_measured_with_its_own_weights(
    run: list[StageResult], phantom_dir: Path, tmp_path: Path
) -> None:
    options = train_options(phantom_dir, tmp_path, *TWO)
    stage = stage_configs(options["stage"], options["loader"])[-1]
    datamodule = make_datamodule(options, stage)
    dice, balanced = [], []
    model, _ = load_model(run[4].best)
    for source, dataset in datamodule.val_datasets.items():
        labels, calls, counts = [], [], {}
        for sample in (dataset[k] for k in range(len(dataset))):
            with torch.no_grad():
                output = model(sample["image"][None])
            mask = torch.sigmoid(output.seg[0, 0]).numpy() >= 0.5
            if sample["has_mask"]:
                true = np.asarray(sample["mask"]).squeeze() == 1
                sums = counts.setdefault(case_of(sample["image_id"]), np.zeros(3))
                sums += (2 * (mask & true).sum(), mask.sum() + true.sum(), true.sum())
            labels.append(int(sample["cls"]))
            calls.append(int(output.cls.argmax()))
        if source in datamodule.seg_sources:
            dice.append(
                np.mean([both / total for both, total, tumour in counts.values() if tumour])
            )
        if source in datamodule.cls_sources:
            balanced.append(balanced_accuracy_score(labels, calls))
    expected = 0.5 * np.mean(dice) + 0.5 * np.mean(balanced)
    assert run[4].score == pytest.approx(expected, abs=1e-4)
    record = json.loads((run[4].directory / "stage.json").read_text())
    assert [entry["val/combined"] for entry in record["history"]] == [run[4].score]
    assert any(name.startswith("val/dice/") for name in record["history"][0])


def test_a_repeated_command_trains_nothing_and_other_runs_take_what_is_there(
    run: list[StageResult], phantom_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(monkeypatch, "brainmtl.training.curriculum.run_stage")
    run_dir = run[0].directory.parent
    again = train(train_options(phantom_dir, run_dir, *TWO))
    other = train(train_options(phantom_dir, run_dir.parent / "other", *TWO))
    assert calls == []
    assert [result.best for result in again] == [result.best for result in run]
    assert [result.reused_from for result in other] == [str(result.directory) for result in run]


def test_a_run_that_ends_in_a_member_goes_on_with_it(
    run: list[StageResult], phantom_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from brainmtl.training import curriculum

    def fail_in_second(options: Any, stage: Any, *rest: Any) -> StageResult:
        if stage.name == "joint_2":
            raise RuntimeError("the machine is gone")
        return original(options, stage, *rest)

    original = curriculum.run_stage
    options = train_options(phantom_dir, tmp_path / "run", *TWO)
    with monkeypatch.context() as patch:
        patch.setattr(curriculum, "run_stage", fail_in_second)
        with pytest.raises(RuntimeError, match="the machine is gone"):
            train(options)
    assert read_status(tmp_path / "run")["stages"] == NAMES
    calls = count_calls(monkeypatch, "brainmtl.training.curriculum.run_stage")
    resumed = train(options)
    assert len(calls) == 2  # the second member and the mean
    for ours, theirs in zip(resumed, run, strict=True):
        for name, value in _weights(ours).items():
            assert torch.equal(value, _weights(theirs)[name]), (ours.name, name)


def test_summary_and_comparison_know_a_mean(run: list[StageResult]) -> None:
    run_dir = run[0].directory.parent
    text = (run_dir / "summary.md").read_text(encoding="utf-8")
    (row,) = [
        line for line in text.splitlines() if line.startswith("| joint |") and "mixed" in line
    ]
    assert "mean of the weights of joint_1, joint_2" in row
    # The commands that it asks for are those of the stages, not of each member.
    with pytest.raises(
        ConfigError, match=r"no evaluation on split test of cls_head, joint, seg_warmup"
    ):
        resolve(run_dir, "test")


def test_the_log_says_what_the_mean_is_worth(
    run: list[StageResult], phantom_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = train_options(phantom_dir, tmp_path, *TWO)
    stage = stage_configs(options["stage"], options["loader"])[-1]
    caplog.set_level(logging.INFO)
    compare_with_members(stage, run[4], run[2:4])
    scores = f"joint_1 {run[2].score:.4f}, joint_2 {run[3].score:.4f}"
    assert f"val/combined: mean {run[4].score:.4f}; {scores}" in caplog.text
    assert "is worse" not in caplog.text
    worst = StageResult(*vars(run[4]).values())
    object.__setattr__(worst, "score", min(r.score for r in run[2:4]) - 0.03)
    caplog.clear()
    compare_with_members(stage, worst, run[2:4])
    assert "is worse on validation data than each of them" in caplog.text


@pytest.mark.parametrize("members", [0, -1, 1.5, "two", True])
def test_a_number_of_members_that_makes_no_sense(
    members: Any, phantom_dir: Path, tmp_path: Path
) -> None:
    options = train_options(phantom_dir, tmp_path / "run", f"members={members}")
    with pytest.raises(ConfigError, match=f"stage joint: members={members} must be 1"):
        train(options)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("model.norm=batch",), "members=2 with model.norm=batch.*use model.norm=group"),
        (("stage=joint", "init_from=null"), "random weights of their own.*give init_from"),
    ],
)
def test_means_that_would_be_worth_nothing_are_refused_before_training(
    overrides: tuple[str, ...], message: str, phantom_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(train_options(phantom_dir, tmp_path / "run", *TWO, *overrides))
    assert not (tmp_path / "run").exists()


def test_checkpoints_of_two_architectures_have_no_mean(
    run: list[StageResult], tmp_path: Path
) -> None:
    other = read_checkpoint(run[2].best)
    name = next(name for name in other["state_dict"] if name.endswith("weight"))
    other["state_dict"][name] = other["state_dict"][name][:1]
    torch.save(other, tmp_path / "other.ckpt")
    with pytest.raises(DataError, match=r"other.ckpt and .*best.ckpt are not of one architecture"):
        mean_checkpoint([run[2].best, tmp_path / "other.ckpt"])
