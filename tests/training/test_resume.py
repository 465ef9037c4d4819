"""Killed at any moment and started again, a run ends at the weights of an uninterrupted one."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from killing import SMALL, STEP, Moment, assert_same_run, ended, started, train_py, wait_for

from brainmtl.training.run_folder.status import read_status

VALIDATE = "brainmtl.training.module:MultiTaskModule.validation_step"
# What happens in one run, in this order: each process is killed and the next one goes on.
MOMENTS = {
    "in an epoch": Moment(STEP, 4),
    "in its validation": Moment(VALIDATE, 2),
    "while a checkpoint is flushed": Moment(
        "brainmtl.training.continuation.checkpoint_io:_flush", 1
    ),
    "between its file and its name": Moment(
        "brainmtl.training.continuation.checkpoint_io:previous", 1
    ),
    "before the record of a finished stage": Moment("brainmtl.training.runner:_finish"),
    "between two stages": Moment("brainmtl.training.curriculum:remember_stage"),
    "in the second stage": Moment(STEP, 8),
    "in the third stage": Moment(STEP, 8 + 3),
}
JOINT = ("stage=joint", "epochs.joint=3")


@pytest.fixture(scope="module")
def data(phantom_dir: Path) -> str:
    return f"data_dir={phantom_dir}"


@pytest.fixture(scope="module")
def whole(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The curriculum without interruption."""
    run = tmp_path_factory.mktemp("whole") / "run"
    done = train_py(*SMALL, data, f"hydra.run.dir={run}")
    assert done.code == 0, done.err
    return run


@pytest.fixture(scope="module")
def joint(data: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A stage without interruption, and the same one killed in its last epoch."""
    folder = tmp_path_factory.mktemp("joint")
    done = train_py(*SMALL, *JOINT, data, f"hydra.run.dir={folder / 'whole/run'}")
    assert done.code == 0, done.err
    killed = folder / "killed/run"
    train_py(*SMALL, *JOINT, data, f"hydra.run.dir={killed}", moment=Moment(STEP, 15))
    return folder / "whole/run", killed


def test_killed_again_and_again(whole: Path, data: str, tmp_path: Path) -> None:
    arguments = (*SMALL, data, f"hydra.run.dir={tmp_path / 'run'}")
    resume: tuple[str, ...] = ()
    for name, moment in MOMENTS.items():
        assert train_py(*arguments, *resume, moment=moment).code == -9, name
        resume = ("resume=true",)
    done = train_py(*arguments, *resume)
    assert done.code == 0, done.err
    assert_same_run(whole, tmp_path / "run")
    assert {path.name for path in tmp_path.iterdir()} == {"run", ".stages"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        path.name for path in whole.iterdir()
    }
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert len(record["attempts"]) == len(MOMENTS) + 1


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_says_so_with_its_status(
    sent: signal.Signals, whole: Path, data: str, tmp_path: Path
) -> None:
    """By Slurm, a container or Ctrl-C: a script must not go on to evaluate half a training."""
    arguments = (*SMALL, data, f"hydra.run.dir={tmp_path / 'run'}")
    told = train_py(*arguments, moment=Moment(STEP, 4, sent))
    assert told.code == 128 + sent
    assert sent.name in told.err
    assert "resume=true" in told.err and "best checkpoint" not in told.out
    assert read_status(tmp_path / "run")["state"] == "interrupted"
    done = train_py(*arguments, "resume=true")
    assert done.code == 0, done.err
    assert_same_run(whole, tmp_path / "run")


def test_killed_while_a_checkpoint_is_written(whole: Path, data: str, tmp_path: Path) -> None:
    """Somebody watches for the temporary file and kills while it is there, twice and for real."""
    run = tmp_path / "run"
    arguments = (*SMALL, data, "checkpoint_every=1", f"hydra.run.dir={run}")
    resume: tuple[str, ...] = ()

    def half_written() -> list[Path]:
        return list(run.glob("*/checkpoints/.tmp-*"))

    hits = 0
    for _ in range(20):
        with started(*arguments, *resume) as process:
            if wait_for(lambda: list(run.glob("*/checkpoints/last.ckpt")), process):
                wait_for(half_written, process)
            process.kill()
        resume = ("resume=true",)
        hits += bool(half_written())
        if hits == 2:
            break
    assert hits == 2
    done = train_py(*arguments, *resume)
    assert done.code == 0, done.err
    assert_same_run(whole, run)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _flip(path: Path) -> None:
    """One bit in the middle of the largest tensor: torch alone would load it without a word."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        record = max(archive.infolist(), key=lambda info: info.file_size)
    # Its data follow a header of 30 bytes, the name, and padding.
    name, padding = struct.unpack_from("<HH", content, record.header_offset + 26)
    content[record.header_offset + 30 + name + padding + record.file_size // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (_cut, ["last.ckpt"]),
        (_flip, ["last.ckpt"]),
        (_flip, ["best.ckpt"]),
        (Path.unlink, ["last.ckpt", "last.prev.ckpt", "best.ckpt"]),
    ],
)
def test_damaged_checkpoints_cost_time_alone(
    joint: tuple[Path, Path],
    data: str,
    tmp_path: Path,
    damage: Callable[[Path], None],
    names: list[str],
) -> None:
    whole, killed = joint
    run = tmp_path / "run"
    shutil.copytree(killed, run)
    for name in names:
        damage(run / "joint/checkpoints" / name)
    done = train_py(*SMALL, *JOINT, data, f"hydra.run.dir={run}", "resume=true")
    assert done.code == 0, done.err
    if damage is not Path.unlink:
        assert f"{names[0]} cannot be read as a checkpoint" in (run / "joint/train.log").read_text()
    assert_same_run(whole, run, ("joint",))


def test_curves_go_on_without_a_gap_or_a_repeat(
    joint: tuple[Path, Path], data: str, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    whole, killed = joint
    run = tmp_path / "run"
    shutil.copytree(killed, run)
    done = train_py(*SMALL, *JOINT, data, f"hydra.run.dir={run}", "resume=true")
    assert "going on in epoch 3 after" in done.out
    found = []
    for folder in (whole, run):
        events = EventAccumulator(str(folder / "joint/tensorboard"))
        events.Reload()
        tags = sorted(events.Tags()["scalars"])
        found.append({tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags})
    assert found[0].keys() == found[1].keys()
    for tag, points in found[0].items():
        if tag.startswith("train/"):  # means over the rest of the interrupted epoch
            points, found[1][tag] = points[:-1], found[1][tag][:-1]
        assert found[1][tag] == points, tag


@pytest.mark.parametrize(
    ("options", "moment", "place"),
    [
        pytest.param(
            ("balance=dwa", "adversary=source", "data.num_workers=1", "epochs.joint=3"),
            Moment(STEP, 13),
            "going on in epoch 3 after 2",
            id="balance, adversary, workers",
        ),
        pytest.param(
            (
                "balance=pcgrad",
                "loader=alternating",
                "optimizer=sgd",
                "ema_decay=0",
                "logger=csv",
                "trainer.limit_train_batches=6",
                "trainer.accumulate_grad_batches=2",
                "trainer.check_val_every_n_epoch=2",
                "checkpoint_every=1",
            ),
            Moment(STEP, 4),
            "going on in epoch 1 after 2",
            id="accumulated gradients, no average, an epoch without validation",
        ),
        pytest.param(
            (
                "epochs.joint=6",
                "stage.patience=1",
                "optimizer.lr_scale=1e-12",
                "trainer.limit_train_batches=2",
            ),
            Moment("brainmtl.training.runner:_finish"),
            "after 0 batches",
            id="early stopping had spoken",
        ),
    ],
)
def test_whatever_has_a_state(
    data: str, tmp_path: Path, options: tuple[str, ...], moment: Moment, place: str
) -> None:
    arguments = (*SMALL, data, "stage=joint", "reuse_stages=false", *options)
    whole = train_py(*arguments, f"hydra.run.dir={tmp_path / 'whole'}")
    assert whole.code == 0, whole.err
    folder = f"hydra.run.dir={tmp_path / 'run'}"
    assert train_py(*arguments, folder, moment=moment).code == -9
    done = train_py(*arguments, folder, "resume=true")
    assert done.code == 0, done.err
    assert place in done.out
    assert_same_run(tmp_path / "whole", tmp_path / "run", ("joint",))


@pytest.mark.soak
def test_a_hundred_kills_at_random_moments(whole: Path, data: str, tmp_path: Path) -> None:
    """Runs are killed wherever they happen to be; each that comes to its end is compared."""
    rng, kills, runs = random.Random(0), 0, 0
    begun = time.monotonic()
    train_py(*SMALL, data, f"hydra.run.dir={tmp_path / 'pace/run'}")
    pace = time.monotonic() - begun
    while kills < 100:
        runs += 1
        run = tmp_path / str(runs) / "run"
        arguments = (*SMALL, data, f"hydra.run.dir={run}")
        while True:
            resume = ("resume=true",) if (run / "run.json").is_file() else ()
            with started(*arguments, *resume) as process:
                process.join(rng.uniform(0, pace))
                killed = process.is_alive()
            kills += killed
            if read_status(run).get("state") == "finished":  # perhaps killed just after its end
                break
            assert killed, ended(process).err
        assert_same_run(whole, run)
