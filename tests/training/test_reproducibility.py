"""A run says all that it takes to repeat it, and ``from_run=...`` repeats it bit for bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from killing import SMALL, assert_same_run, train_py

from brainmtl.errors import ConfigError
from brainmtl.training.continuation.command_line import compose_words, key_of, literal
from brainmtl.training.continuation.rerun import expand
from brainmtl.training.run_folder.run_record import comparable, differences, show


@pytest.fixture(scope="module")
def run(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stage whose options are not the defaults."""
    folder = tmp_path_factory.mktemp("outputs") / "run"
    arguments = ("stage=joint", "seed=7", "loss.lambda_cls=0.7", "model.dropout=0.4")
    done = train_py(*SMALL, *arguments, f"data_dir={phantom_dir}", f"hydra.run.dir={folder}")
    assert done.code == 0, done.err
    return folder


def _record(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text())


def _copy(run: Path, to: Path, **changes: Any) -> Path:
    """A folder with the changed record of ``run``."""
    to.mkdir(parents=True)
    (to / "run.json").write_text(json.dumps(_record(run) | changes))
    return to


def test_record_describes_the_run(run: Path, phantom_dir: Path) -> None:
    import torch

    from brainmtl.data.manifest import manifest_hash

    record = _record(run)
    assert record["config"]["loss"]["lambda_cls"] == 0.7
    assert record["config"]["data"]["seed"] == record["seeds"]["seed"] == 7
    assert record["manifest_sha256"] == manifest_hash(phantom_dir)
    (attempt,) = record["attempts"]
    assert "loss.lambda_cls=0.7" in attempt["command"]
    assert attempt["versions"]["torch"] == torch.__version__
    assert attempt["machine"]["threads"] == 1  # what killing gives each process
    assert attempt["git"] is None or set(attempt["git"]) == {"revision", "dirty"}


def test_two_runs_are_equal_bit_for_bit(run: Path, tmp_path: Path) -> None:
    """The second is trained by ``from_run`` alone, and from nothing of the first."""
    done = train_py(f"from_run={run}", f"hydra.run.dir={tmp_path / 'again'}")
    assert done.code == 0, done.err
    assert f"from_run: repeats {run}" in done.out
    assert "other options" not in done.out and "OTHER" not in done.out
    assert "reused" not in done.out
    assert_same_run(run, tmp_path / "again", ("joint",))
    mine, again = _record(run), _record(tmp_path / "again")
    assert differences(mine["config"], again["config"]) == {"reuse_stages": (True, False)}


def test_overrides_on_top_are_applied_and_shown(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = expand([f"from_run={run}", "-m", "loss.lambda_cls=2", "seed=1,2"])
    assert words[0] == "-m"
    options, places = compose_words([*words, "seed=9"])
    assert places.multirun
    assert (options["loss"]["lambda_cls"], options["seed"]) == (2, 9)
    assert options["model"]["dropout"] == 0.4
    assert options["reuse_stages"] is False
    assert "with other options: loss.lambda_cls: 0.7 -> 2" in capsys.readouterr().out


def test_changed_defaults_do_not_change_a_repeated_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As if conf/ had had other values then, and one option less."""
    config = _record(run)["config"]
    config["optimizer"]["weight_decay"] = 0.03
    config["epochs"]["joint"] = 5
    config["stage"] |= {"max_epochs": 5, "patience": 5}  # both follow the epochs
    config["experiment_name"] = "it's"
    del config["combined_weights"]
    copy = _copy(run, tmp_path / "run", config=config)
    options = comparable(compose_words(expand([f"from_run={copy}"]))[0])
    changed = differences(config, options)
    assert changed == {"combined_weights": (None, [0.5, 0.5]), "reuse_stages": (True, False)}
    assert "combined_weights: null -> [0.5, 0.5]" in capsys.readouterr().out
    on_top = expand([f"from_run={copy}", "optimizer=sgd", "optimizer.weight_decay=0.2"])
    options = compose_words(on_top)[0]
    assert options["optimizer"]["weight_decay"] == 0.2
    assert options["optimizer"]["_target_"].endswith("sgd")


@pytest.mark.parametrize(
    ("words", "epochs"),
    [
        ([], 12),
        (["epochs.joint=30"], 30),
        (["epochs={joint:30}"], 30),
        (["stage.max_epochs=5"], 5),
    ],
)
def test_stages_are_as_long_as_the_epochs_on_top_say(
    run: Path, tmp_path: Path, words: list[str], epochs: int
) -> None:
    """Of a run whose epochs were the defaults of then."""
    record = _record(run)
    record["config"]["epochs"] |= {"joint": 12, "heads": 9}
    record["config"]["stage"] |= {"max_epochs": 12, "patience": 12}
    kept = [word for word in record["overrides"] if not word.startswith("epochs")]
    copy = _copy(run, tmp_path / "run", config=record["config"], overrides=kept)
    options = compose_words(expand([f"from_run={copy}", *words]))[0]
    assert options["stage"]["max_epochs"] == epochs
    assert options["stage"]["patience"] == options["epochs"]["joint"]
    assert (options["loss"]["lambda_cls"], options["epochs"]["heads"]) == (0.7, 9)
    changed = differences(record["config"], comparable(options))
    assert {key.split(".")[0] for key in changed} <= {"epochs", "stage", "reuse_stages"}
    assert bool(changed.keys() - {"reuse_stages"}) == bool(words)


def test_other_data_and_surroundings_are_said(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attempts = _record(run)["attempts"]
    attempts[-1]["versions"]["torch"] = "2.0.0"
    expand([f"from_run={_copy(run, tmp_path / 'a', manifest_sha256='0' * 64, attempts=attempts)}"])
    shown = capsys.readouterr().out
    assert "on OTHER DATA" in shown
    assert "in other surroundings: torch: 2.0.0 -> " in shown


def test_what_cannot_be_repeated(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no run\.json: give the folder of a run"):
        expand([f"from_run={tmp_path / 'nowhere'}"])
    old = _copy(run, tmp_path / "old", preprocessing_version="0")
    with pytest.raises(ConfigError, match="preprocessing version 0, and this code prepares"):
        expand([f"from_run={old}"])
    config = _record(run)["config"]
    config["data"]["every_nth_slice"] = 3
    older = _copy(run, tmp_path / "older", config=config)
    with pytest.raises(
        ConfigError, match=r"options that this code has not \(data\.every_nth_slice\)"
    ):
        expand([f"from_run={older}"])
    sweep = tmp_path / "sweep"
    shutil.copytree(run / ".hydra", sweep)
    (sweep / "multirun.yaml").write_text("hydra: {}\n")
    with pytest.raises(ConfigError, match="it is a sweep; give one of its runs"):
        expand([f"from_run={sweep}"])


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, -3, 1e-05, 0.1, "a=b, c", "it's", "back\\'slash", "", "true", "1e3"),
        *([1, "x", [None]], {}, {"a": {"b": [1.5, "two"]}}),
    ],
)
def test_literals_are_read_back_by_hydra(value: Any) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    read = OverridesParser.create().parse_override(f"++key={literal(value)}").value()
    assert _plain(read) == value
    assert type(_plain(read)) is type(value)


def _plain(value: Any) -> Any:
    """Hydra marks quoted strings."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value.text if hasattr(value, "text") else value


def test_differences_and_their_words() -> None:
    old = {"a": 1, "b": {"c": [1], "d": None}, "same": {"x": 0}}
    new = {"a": 1.5, "b": {"c": [1, 2]}, "same": {"x": 0}, "e": "f" * 64}
    found = differences(old, new)
    assert list(found) == ["a", "b.c", "b.d", "e"]
    assert (
        show(found)
        == "a: 1 -> 1.5; b.c: [1] -> [1, 2]; b.d: null -> null; e: null -> ffffffffffff..."
    )
    assert key_of("++loader@stage.loader=mixed") == "loader"
