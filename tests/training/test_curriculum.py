"""The real three-stage run on the prepared phantom: what moves, what is reused, what is refused."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from support import count_calls, train_options

from brainmtl.errors import ConfigError, DataError
from brainmtl.training.continuation.checkpoints import load_model, read_checkpoint
from brainmtl.training.continuation.stage_keys import stage_key
from brainmtl.training.curriculum import train
from brainmtl.training.runner import StageResult
from brainmtl.training.stages import stage_configs

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def run(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[StageResult]:
    """The curriculum, trained once for this file; batch norm has statistics that could move."""
    run_dir = tmp_path_factory.mktemp("outputs") / "run"
    return train(train_options(phantom_dir, run_dir, "model.norm=batch"))


def _weights(result: StageResult, which: str = "best") -> Weights:
    return read_checkpoint(getattr(result, which))["state_dict"]


def _moved(before: Weights, after: Weights) -> set[str]:
    return {key for key in before if not torch.equal(before[key], after[key])}


def test_stages_run_in_order_and_leave_their_files(run: list[StageResult]) -> None:
    assert [result.name for result in run] == ["seg_warmup", "cls_head", "joint"]
    for result in run:
        assert result.best.is_file()
        assert result.last.is_file()
        assert "=" not in str(result.best)
        record = json.loads((result.directory / "stage.json").read_text())
        assert record["seconds"] > 0
        assert record["monitor"] == result.monitor
        assert list((result.directory / "tensorboard").glob("events*"))
        assert record["history"]
        assert f"stage {result.name}: best" in (result.directory / "train.log").read_text()


def test_the_log_says_what_a_stage_starts_from(run: list[StageResult]) -> None:
    starts = ["random weights", *(f"from {before.best}" for before in run[:-1])]
    for result, start in zip(run, starts, strict=True):
        log = (result.directory / "train.log").read_text(encoding="utf-8")
        (line,) = [line for line in log.splitlines() if f"stage {result.name} starts from" in line]
        assert line.endswith(start)


def test_a_training_too_short_for_its_cohort_says_so(
    phantom_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = []
    for images in ("8", "null"):
        options = (
            "stage=joint",
            f"data.images_per_epoch={images}",
            "trainer.limit_train_batches=1",
        )
        caplog.clear()
        train(train_options(phantom_dir, tmp_path / images, *options))
        said.append([r.getMessage() for r in caplog.records if r.levelname == "WARNING"])
    assert [text.split(",")[0] for text in said[0]] == [
        "stage joint draws 5 images of phantom_brats",
        "stage joint draws 3 images of phantom_kaggle",
    ]
    assert "epochs instead of 1" in said[0][0] and said[1] == []


def test_frozen_head_does_not_move_in_seg_warmup(run: list[StageResult], phantom_dir: Path) -> None:
    """The head of the warm-up equals the freshly initialised one, bit for bit."""
    import pytorch_lightning as pl

    from brainmtl.models import create_multi_task_model

    options = read_checkpoint(run[0].best)["brainmtl"]["config"]
    pl.seed_everything(options["seed"], verbose=False)
    fresh = create_multi_task_model(**options["model"]).state_dict()
    moved = _moved({f"model.{k}": v for k, v in fresh.items()}, _weights(run[0], "last"))
    assert {key.split(".")[1] for key in moved} == {"encoder", "decoder"}


def test_frozen_encoder_and_decoder_do_not_move_in_cls_head(run: list[StageResult]) -> None:
    """Weights AND norm statistics are bit-equal before and after; the head's weights all moved."""
    before, after = _weights(run[0]), _weights(run[1], "last")
    moved = _moved(before, after)
    assert any("running_mean" in key for key in before)
    assert {key.split(".")[1] for key in moved} == {"head"}
    assert moved == {key for key in before if key.startswith("model.head.")}


def test_joint_moves_every_part(run: list[StageResult]) -> None:
    moved = _moved(_weights(run[1]), _weights(run[2], "last"))
    assert {key.split(".")[1] for key in moved} == {"encoder", "decoder", "head"}


def test_checkpoint_describes_the_run(run: list[StageResult], phantom_dir: Path) -> None:
    from brainmtl.data.manifest import manifest_hash
    from brainmtl.data.preprocessing.preprocess import PREPROCESSING_VERSION

    model, meta = load_model(run[2].best)
    assert meta["preprocessing_version"] == PREPROCESSING_VERSION
    assert meta["manifest_sha256"] == manifest_hash(phantom_dir)
    assert meta["synthetic_training"] is True
    assert meta["sources"] == ["phantom_brats", "phantom_kaggle"]
    assert meta["trained_parts"] == ["decoder", "encoder", "head"]
    assert read_checkpoint(run[0].best)["brainmtl"]["trained_parts"] == ["decoder", "encoder"]
    assert meta["config"]["stage"]["name"] == "joint"
    assert not model.training


def test_sweep_over_lambda_trains_one_task_stages_once(
    run: list[StageResult], phantom_dir: Path
) -> None:
    """Another lambda, another run folder: the first two stages are reused, joint is trained."""
    run_dir = run[0].directory.parents[1] / "lambda"
    again = train(train_options(phantom_dir, run_dir, "model.norm=batch", "loss.lambda_cls=0.1"))
    assert [bool(result.reused_from) for result in again] == [True, True, False]
    assert again[0].best.is_file()
    assert again[0].best.is_relative_to(run_dir)
    assert _weights(again[1]).keys() == _weights(run[1]).keys()
    assert not _moved(_weights(again[1]), _weights(run[1]))


def test_a_stage_of_other_packages_is_reused_with_a_warning(
    phantom_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = [train_options(phantom_dir, tmp_path / k, "stage=seg_warmup") for k in "abc"]
    train(options[0])
    assert train(options[1])[0].reused_from
    assert "other surroundings" not in caplog.text
    path = tmp_path / "a/run.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["attempts"][-1]["versions"]["torch"] = "1.0.0"
    path.write_text(json.dumps(record), encoding="utf-8")
    assert train(options[2])[0].reused_from
    assert f"other surroundings (torch: 1.0.0 -> {version('torch')})" in caplog.text


def test_same_seed_same_weights_other_seed_other_weights(
    run: list[StageResult], phantom_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a manifest that is read once, however many want to know of it."""
    outputs = run[0].directory.parents[1]
    overrides = ("stage=seg_warmup", "reuse_stages=false", "model.norm=batch")
    looked_for = count_calls(monkeypatch, "brainmtl.data.manifest._existing")
    same = train(train_options(phantom_dir, outputs / "same", *overrides))
    assert looked_for == [str(phantom_dir)]
    other = train(train_options(phantom_dir, outputs / "other", *overrides, "seed=1"))
    assert not _moved(_weights(run[0], "last"), _weights(same[0], "last"))
    assert _moved(_weights(run[0], "last"), _weights(other[0], "last"))


def test_init_from_must_fit(run: list[StageResult], phantom_dir: Path, tmp_path: Path) -> None:
    """All stages are checked before the first one trains; so is what only a later stage needs."""
    start = (f"init_from={run[0].best}", "model.norm=batch")
    with pytest.raises(ConfigError, match=r"encoder.*\(4, .*there.*\(8, .*here.*model="):
        train(train_options(phantom_dir, tmp_path, *start, "model.base_filters=8"))
    with pytest.raises(ConfigError, match="adversary=source tells sources apart"):
        one = ("adversary=source", "data.cls_sources=[phantom_brats]")
        train(train_options(phantom_dir, tmp_path, *start, *one))
    assert list(tmp_path.iterdir()) == []


def test_missing_source_is_named_before_training(phantom_dir: Path, tmp_path: Path) -> None:
    options = train_options(phantom_dir, tmp_path, "data.cls_sources=[kaggle]")
    with pytest.raises((ConfigError, DataError), match=r"kaggle.*phantom_kaggle"):
        train(options)
    assert not (tmp_path / "seg_warmup").exists()


def test_missing_start_is_named_before_training(phantom_dir: Path, tmp_path: Path) -> None:
    options = train_options(phantom_dir, tmp_path, "stage=joint", "init_from=nowhere/best.ckpt")
    with pytest.raises(DataError, match=r"nowhere/best\.ckpt: no such checkpoint"):
        train(options)
    assert list(tmp_path.iterdir()) == []


def test_last_is_the_last_epoch_and_best_the_best(run: list[StageResult]) -> None:
    """Also where no later epoch has a better monitor, which Lightning's save_last leaves out."""
    for result in run:
        history = json.loads((result.directory / "stage.json").read_text())["history"]
        last, best = (read_checkpoint(path)["progress"] for path in (result.last, result.best))
        assert len(last["history"]) == len(history) == last["epoch"]
        assert last["score"] == best["score"] == result.score
        assert max(entry[result.monitor] for entry in history) == result.score
        assert best["history"][-1][result.monitor] == result.score


def test_of_several_epochs_the_best_counts_and_a_stage_stops_where_none_is_better(
    phantom_dir: Path, tmp_path: Path
) -> None:
    """A rate that spoils the weights: later epochs are worse than an earlier one."""
    words = ("optimizer.lr_scale=30", "ema_decay=0", "combined_weights=[0.2,0.8]")
    words += ("stage=joint", "epochs.joint=5", "stage.patience=2")
    (result,) = train(train_options(phantom_dir, tmp_path, *words))
    history = json.loads((result.directory / "stage.json").read_text())["history"]
    scores = [entry["val/combined"] for entry in history]
    assert min(scores) < max(scores), "any epoch would do"
    assert max(scores) == result.score
    best, last = (read_checkpoint(path) for path in (result.best, result.last))
    assert len(best["progress"]["history"]) == scores.index(max(scores)) + 1
    assert len(scores) == min(scores.index(max(scores)) + 3, 5)
    for entry in history:
        parts = (entry["val/seg_dice"], entry["val/cls_balanced_accuracy"])
        assert entry["val/combined"] == pytest.approx(0.2 * parts[0] + 0.8 * parts[1])
    # The schedule goes by step.
    assert last["lr_schedulers"][0]["last_epoch"] == last["global_step"] == 3 * len(scores)


def test_a_monitor_that_validation_does_not_give_is_told_after_the_first_one(
    phantom_dir: Path, tmp_path: Path
) -> None:
    stage = ("stage=joint", "epochs.joint=3", "trainer.check_val_every_n_epoch=2")
    options = train_options(phantom_dir, tmp_path / "a", *stage, "stage.monitor=val/loss_seg")
    with pytest.raises(ConfigError, match=r"its monitor val/loss_seg.* It gives .*val/combined"):
        train(options)
    log = (tmp_path / "a" / "joint" / "train.log").read_text()
    assert "epoch 1: " in log and "epoch 2: " not in log
    # What training gives is there as soon.
    lowest = ("stage.monitor=train/loss", "stage.mode=min")
    (result,) = train(train_options(phantom_dir, tmp_path / "b", *stage, *lowest))
    assert result.best.is_file()


def test_not_a_checkpoint(phantom_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.ckpt"
    path.write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(DataError, match=r"broken\.ckpt"):
        read_checkpoint(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(DataError, match="no checkpoint of brainmtl"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("loss.lambda_cls=3", True),
        ("loss.segmentation.dice_weight=0.7", False),
        ("seed=7", False),
        ("data.batch_size=4", False),
        ("loader=alternating", True),
        ("run_dir=/elsewhere", True),
    ],
)
def test_stage_key_of_the_warm_up(
    phantom_dir: Path, tmp_path: Path, override: str, same: bool
) -> None:
    """Exactly what decides the weights of the warm-up changes its key."""
    keys = []
    for overrides in ((), (override,)):
        options = train_options(phantom_dir, tmp_path, *overrides)
        stage = stage_configs(options["stage"], options["loader"])[0]
        keys.append(stage_key(options, stage, "scratch", "0" * 64))
    assert (keys[0] == keys[1]) is same
