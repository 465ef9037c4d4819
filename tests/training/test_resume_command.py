"""``resume=...``: which run it means, what it refuses before anything trains, and sweeps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from killing import SMALL, STEP, Moment, assert_same_run, train_py

from brainmtl.errors import ConfigError, DataError
from brainmtl.training.continuation.rerun import expand
from brainmtl.training.run_folder.status import read_status, run_status

OPTIONS = (*SMALL, "stage=joint", "loss.lambda_cls=1")


@pytest.fixture(scope="module")
def data_dir(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the prepared folder, for a test that changes it."""
    folder = tmp_path_factory.mktemp("data") / "prepared"
    shutil.copytree(phantom_dir, folder)
    return folder


@pytest.fixture(scope="module")
def interrupted(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed in its first epoch."""
    run = tmp_path_factory.mktemp("outputs") / "first"
    arguments = (*OPTIONS, f"data_dir={data_dir}", f"hydra.run.dir={run}")
    assert train_py(*arguments, moment=Moment(STEP, 4)).code == -9
    return run


def _words(interrupted: Path, data_dir: Path, *more: str) -> list[str]:
    """The command of a run that would lie beside the interrupted one."""
    run_dir = f"hydra.run.dir={interrupted.parent / 'new'}"
    return [*OPTIONS, f"data_dir={data_dir}", run_dir, *more]


@pytest.mark.parametrize("value", ["true", "path"])
def test_the_run_is_found(interrupted: Path, data_dir: Path, value: str) -> None:
    value = str(interrupted) if value == "path" else value
    words = expand(_words(interrupted, data_dir, f"resume={value}"))
    assert words[-1] == f"hydra.run.dir='{interrupted}'"
    assert words[:-1] == [*OPTIONS, f"data_dir={data_dir}"]
    assert expand(_words(interrupted, data_dir)) == _words(interrupted, data_dir)
    assert not (interrupted.parent / "new").exists()


def test_the_folder_of_an_evaluation_is_no_run(interrupted: Path, data_dir: Path) -> None:
    """Not one to go on with or to repeat, nor in the way of the run beside it, nor overwritten."""
    folder = interrupted.parent / "evaluated"
    folder.mkdir()
    (folder / "run.json").write_text('{"checkpoint": "best.ckpt"}', encoding="utf-8")
    assert expand(_words(interrupted, data_dir, "resume=true"))[-1].endswith(f"'{interrupted}'")
    other = r"evaluated holds no run\.json: the one there is of another command"
    for word in (f"resume={folder}", f"from_run={folder}"):
        with pytest.raises(ConfigError, match=other):
            expand(_words(interrupted, data_dir, word))
    done = train_py(*OPTIONS, f"data_dir={data_dir}", f"hydra.run.dir={folder}")
    assert done.code == 1 and "holds the run.json of another command" in done.err
    shutil.rmtree(folder)


def test_another_configuration_is_shown_and_refused(interrupted: Path, data_dir: Path) -> None:
    changed = ("loss.lambda_cls=0.3", "augmentation=none", "resume=true")
    with pytest.raises(ConfigError) as refused:
        expand(_words(interrupted, data_dir, *changed))
    text = str(refused.value)
    assert "loss.lambda_cls: 1 -> 0.3" in text
    assert "augmentation.geometric: {" in text and "-> null" in text
    assert f"{interrupted} was begun under other conditions" in text
    assert "It was begun with: python train.py data=phantom" in text


def test_a_run_of_the_same_options_is_preferred(interrupted: Path, data_dir: Path) -> None:
    newer = interrupted.parent / "newer"
    shutil.copytree(interrupted, newer)
    record = json.loads((newer / "run.json").read_text())
    record["config"]["seed"] = 1
    (newer / "run.json").write_text(json.dumps(record))
    words = expand(_words(interrupted, data_dir, "resume=true"))
    assert words[-1] == f"hydra.run.dir='{interrupted}'"
    assert expand(_words(interrupted, data_dir, "resume=True")) == words  # as Hydra reads it
    for nothing in ("resume=False", "resume=null", "from_run=None"):
        assert expand(["seed=1", nothing]) == ["seed=1"]
    shutil.rmtree(newer)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resume=nowhere"], r"resume=nowhere holds no run\.json: give the folder of a run"),
        (["resume=true", "loss.foo=1"], r"Could not override 'loss\.foo'"),
        (["resume=true", "hydra.run.dir=elsewhere/run"], r"no run was begun in elsewhere: start"),
        (["-m", "resume=true", "seed=0,1", "hydra.sweep.dir=elsewhere/s"], "no sweep was begun"),
        (
            ["resume=true", "sweep=optuna", "hydra.sweeper.storage=sqlite:///a.db"],
            "goes on by itself",
        ),
    ],
)
def test_nothing_to_go_on_with(words: list[str], message: str, phantom_dir: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        expand([*OPTIONS, f"data_dir={phantom_dir}", *words])


def test_a_run_that_goes_on_or_has_ended_is_not_resumed(interrupted: Path, data_dir: Path) -> None:
    other = interrupted.parent.with_name("other") / "run"
    shutil.copytree(interrupted, other)
    words = [*OPTIONS, f"data_dir={data_dir}", f"hydra.run.dir={other}"]
    with run_status(other, ["joint"], {}):
        with pytest.raises(ConfigError, match="finished or still going on"):
            expand([*words, "resume=true"])
        with pytest.raises(ConfigError, match="still going on in another process"):
            expand([*words, f"resume={other}"])
    assert read_status(other)["state"] == "finished"
    with pytest.raises(ConfigError, match="finished or still going on"):
        expand([*words, "resume=true"])


def test_a_refused_job_leaves_the_folder_of_another_run_alone(
    interrupted: Path, data_dir: Path
) -> None:
    """A sweep into a folder where another run lies: refused, and nothing said in its name."""
    sweep = interrupted.parent.with_name("sweep")
    shutil.copytree(interrupted, sweep / "0")
    before = (sweep / "0/status.json").read_bytes()
    end = train_py("-m", *OPTIONS, f"data_dir={data_dir}", "seed=7", f"hydra.sweep.dir={sweep}")
    assert end.code == 1
    assert "was begun under other conditions (" in end.out and "seed: 0 -> 7)" in end.out
    assert "missing: 0 " in end.err
    assert (sweep / "0/status.json").read_bytes() == before
    assert read_status(sweep / "0")["state"] == "interrupted"


def test_other_data_are_refused(interrupted: Path, data_dir: Path) -> None:
    manifest = data_dir / "manifest.csv"
    kept = manifest.read_bytes()
    pd.read_csv(manifest, dtype=str, keep_default_na=False).iloc[1:].to_csv(manifest, index=False)
    with pytest.raises(ConfigError, match=r"manifest_sha256: \w{12}\.\.\. -> \w{12}\.\.\."):
        expand(_words(interrupted, data_dir, "resume=true"))
    manifest.unlink()
    with pytest.raises(DataError, match="is no prepared folder"):
        expand(_words(interrupted, data_dir, "resume=true"))
    manifest.write_bytes(kept)


def test_another_run_into_its_folder_is_refused(interrupted: Path, data_dir: Path) -> None:
    before = (interrupted / "run.json").read_text()
    done = train_py(*OPTIONS, f"data_dir={data_dir}", f"hydra.run.dir={interrupted}", "seed=1")
    assert done.code == 1
    assert "seed: 0 -> 1" in done.err and "choose another folder" in done.err
    assert (interrupted / "run.json").read_text() == before


def test_a_killed_sweep_goes_on_where_it_was(phantom_dir: Path, tmp_path: Path) -> None:
    """Three runs, one of them impossible, killed in the second: one is kept, one goes on."""
    sweep = ("-m", *OPTIONS, f"data_dir={phantom_dir}", "loss.lambda_cls=0.3,3,-1")
    sweep = (
        *sweep,
        "hydra/launcher=basic",
    )  # a choice for Hydra itself, which is no option of the runs
    folder = tmp_path / "sweeps/one"
    killed = train_py(*sweep, f"hydra.sweep.dir={folder}", moment=Moment(STEP, 10 + 4))
    assert killed.code == -9
    first = folder / "0/joint/checkpoints/best.ckpt"
    written = first.stat().st_mtime_ns
    # Beside it, so that it has to be found; other options are refused before any of it changes.
    beside = f"hydra.sweep.dir={tmp_path / 'sweeps/two'}"
    refused = train_py(*sweep, "seed=3", beside, "resume=true")
    assert refused.code == 1
    assert "new: ['seed=3']" in refused.err
    done = train_py(*sweep, beside, "resume=true")
    assert done.code == 1  # as one run cannot work
    assert "2 of 3 runs finished" in done.out
    assert "going on in epoch 1 after 2 batches" in done.out
    assert [read_status(folder / k)["state"] for k in "012"] == ["finished", "finished", "failed"]
    assert first.stat().st_mtime_ns == written
    assert [path.name for path in (tmp_path / "sweeps").iterdir()] == ["one"]
    whole = train_py(
        *OPTIONS,
        f"data_dir={phantom_dir}",
        "loss.lambda_cls=3",
        f"hydra.run.dir={tmp_path / 'whole/run'}",
    )
    assert whole.code == 0, whole.err
    assert_same_run(tmp_path / "whole/run", folder / "1", ("joint",))
