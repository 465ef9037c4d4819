"""How far a run is and how long it will take: in its folder, in the table of runs and in the log."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from support import train_options

from brainmtl.evaluation.table import print_table
from brainmtl.sweeps.overview import overview, overview_table
from brainmtl.training.curriculum import train
from brainmtl.training.run_folder.pace import Pace, pace_of, read_pace, seconds_left
from brainmtl.training.run_folder.records import read_run

SEEN: list[dict[str, Any]] = []  # what the table of runs says of a run while it goes on


class Onlooker(pl.Callback):
    """Asks at the end of each epoch, as somebody at another terminal would."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look."""
        SEEN.append(overview(trainer.stage_dir.parents[1])[0])


def entry(epoch: int, seconds: float | None, images: int | None = 100) -> dict[str, Any]:
    return {"epoch": epoch, "seconds": seconds, "images": images}


def test_the_pace_is_that_of_the_last_three_epochs(tmp_path: Path) -> None:
    history = [entry(k, seconds) for k, seconds in enumerate([90.0, 9.0, 10.0, 14.0])]
    pace = pace_of(history, epochs=10)
    assert pace == Pace(epoch=4, epochs=10, seconds=11.0, images=100)
    assert pace.left == 66.0
    pace.write(tmp_path)
    assert read_pace(tmp_path) == pace


@pytest.mark.parametrize("history", [[], [entry(0, None, None)], [{"epoch": 0, "val/x": 1.0}]])
def test_nothing_trained_has_no_pace(history: list[dict[str, Any]], tmp_path: Path) -> None:
    assert pace_of(history, epochs=10) is None
    assert read_pace(tmp_path) is None


def test_stages_to_come_are_as_slow_as_the_slowest_before() -> None:
    """warmup: 0.2 s an image; head: 0.05 s; joint has 2,000 images to come."""
    warmup, head = Pace(1, 1, 20.0, 100), Pace(1, 4, 5.0, 100)
    images = {"warmup": 100, "head": 400, "joint": 2000}
    assert seconds_left(images, {}, {}) is None
    assert seconds_left(images, {}, {"warmup": warmup}) == pytest.approx(0 + 2400 * 0.2)
    assert seconds_left(images, {"warmup": warmup}, {"head": head}) == pytest.approx(
        15 + 2000 * 0.2
    )
    joint = Pace(5, 20, 30.0, 100)
    both = {"warmup": warmup, "head": head}
    assert seconds_left(images, both, {"joint": joint}) == pytest.approx(450)
    # it stopped early: what it did not see is not to come
    assert seconds_left(images, both | {"joint": joint}, {}) == 0


def test_a_run_says_how_far_it_is_and_how_long_it_will_take(
    phantom_dir: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = train_options(
        phantom_dir,
        tmp_path / "outputs/run",
        "epochs.joint=3",
        "+callbacks.progress={_target_: brainmtl.training.observers.progress.StageProgressBar}",
        "+callbacks.onlooker={_target_: test_pace.Onlooker}",
    )
    SEEN.clear()
    with caplog.at_level(logging.INFO, logger="brainmtl"):
        train(options)
    assert [line["epoch"] for line in SEEN] == [
        "seg_warmup 1/1",
        "cls_head 1/1",
        *(f"joint {k}/3" for k in (1, 2, 3)),
    ]
    assert [line["stage"] for line in SEEN[:3]] == ["- 0/3", "seg_warmup 1/3", "cls_head 2/3"]
    assert {line["state"] for line in SEEN} == {"running"}
    left = [line["minutes_left"] for line in SEEN]
    assert all(minutes > 0 for minutes in left[:2]) and left[-1] == 0
    # three stages to come before the first has an epoch, and each has its share of the images
    images = read_run(tmp_path / "outputs/run").status["to_train"]
    assert set(images) == {"seg_warmup", "cls_head", "joint"} and min(images.values()) > 0
    assert images["joint"] % 3 == 0

    epochs = [re.search(r"joint epoch (\d)/3 .*\(\d+ s(.*)\)", line) for line in caplog.messages]
    said = {found[1]: found[2] for found in epochs if found}
    assert re.fullmatch(r", about \d+ s left", said["1"]) and said["3"] == ""
    assert sum("to go, unless a stage stops early" in line for line in caplog.messages) == 2

    after = overview(tmp_path / "outputs")[0]
    assert (after["stage"], after["epoch"], after["minutes_left"]) == ("joint 3/3", None, None)
    assert not list(tmp_path.rglob("progress.json"))

    print_table(overview_table([SEEN[1] | {"minutes_left": 61.4}], "outputs"))
    printed = capsys.readouterr().out
    assert "seg_warmup 1/3" in printed and "cls_head 1/1" in printed
    assert "1 h 01" in " ".join(printed.split())
