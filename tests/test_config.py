"""Every choice of every config group composes and instantiates; no key is without effect."""

from __future__ import annotations

import copy
import functools
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from support import compose

from brainmtl.config import CONF_DIR, PROJECT_ROOT, plain
from brainmtl.errors import ConfigError
from brainmtl.evaluation.options import EvaluationOptions
from brainmtl.training.precision import resolve_precision
from brainmtl.training.stages import stage_configs

pytestmark = pytest.mark.no_cover  # tracing Hydra's own lines takes as long again
GROUPS = (
    "adversary",
    "augmentation",
    "balance",
    "callbacks",
    "data",
    "experiment",
    "launcher",
    "loader",
    "logger",
    "loss",
    "model",
    "optimizer",
    "precision",
    "scheduler",
    "stage",
    "sweep",
    "trainer",
)
EVALUATION_GROUPS = ("bands", "postprocess", "tta")
CHOICES = [
    (group, path.stem) for group in GROUPS for path in sorted((CONF_DIR / group).glob("*.yaml"))
]


@functools.cache
def _composed(*overrides: str) -> dict[str, Any]:
    return compose("train", "run_dir=/nowhere", *overrides)


def _compose(*overrides: str) -> dict[str, Any]:
    """The options, for a test of its own; Hydra makes each of them once."""
    return copy.deepcopy(_composed(*overrides))


def test_every_group_of_the_tree_is_listed() -> None:
    """A new group must join GROUPS, or belong to another command."""
    folders = {path.name for path in CONF_DIR.iterdir() if path.is_dir()}
    assert folders == {*GROUPS, *EVALUATION_GROUPS, "split", "hydra"}


@pytest.mark.parametrize(
    "choice",
    [
        f"{group}={path.stem}"
        for group in EVALUATION_GROUPS
        for path in (CONF_DIR / group).iterdir()
    ],
)
@pytest.mark.parametrize(
    ("command", "argument"), [("evaluate", "ckpt=a.ckpt"), ("crossval", "dir=a")]
)
def test_evaluation_takes_every_choice(command: str, argument: str, choice: str) -> None:
    options = compose(command, argument, choice)
    names = {field.name for field in fields(EvaluationOptions)}
    EvaluationOptions(**{name: value for name, value in options.items() if name in names})
    assert names <= set(options)


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=lambda value: value)
def test_choice_composes(group: str, choice: str) -> None:
    options = _compose(f"{group}={choice}")
    assert stage_configs(options["stage"], options["loader"])


@pytest.mark.parametrize(
    ("group", "choice"),
    [
        (group, choice)
        for group, choice in CHOICES
        if group in ("augmentation", "loss", "model", "optimizer", "scheduler")
    ],
    ids=lambda value: value,
)
def test_choice_instantiates_and_refuses_unknown_keys(group: str, choice: str) -> None:
    values = _compose(f"{group}={choice}")[group]
    made = instantiate(values)
    if values.get("_partial_"):
        arguments: list[Any] = [instantiate(_compose("model=unet_2m_fast")["model"])]
        rates = {"encoder": 1e-3, "decoder": 1e-3, "head": 1e-3}
        optimizer = instantiate(_compose("optimizer=adamw")["optimizer"])(*arguments, rates)
        arguments = [*arguments, rates] if group == "optimizer" else [optimizer, 100]
        assert made(*arguments) is not None
        with pytest.raises(TypeError, match="no_such_key"):
            instantiate(values | {"no_such_key": 1})(*arguments)
    else:
        with pytest.raises(Exception, match="no_such_key"):
            instantiate(values | {"no_such_key": 1})


@pytest.mark.parametrize("choice", [c for g, c in CHOICES if g == "callbacks"])
def test_callbacks_instantiate(choice: str) -> None:
    for values in _compose(f"callbacks={choice}")["callbacks"].values():
        assert instantiate(values) is not None


@pytest.mark.parametrize("choice", [c for g, c in CHOICES if g == "trainer"])
def test_trainer_instantiates_where_its_device_is(choice: str, tmp_path: Path) -> None:
    import torch

    if choice == "gpu" and not torch.cuda.is_available():
        from brainmtl.training.precision import resolve_accelerator

        with pytest.raises(ConfigError, match="trainer=cpu"):
            resolve_accelerator("gpu")
        return
    values = _compose(f"trainer={choice}")["trainer"]
    trainer = instantiate(values, logger=False, default_root_dir=str(tmp_path))
    assert trainer.gradient_clip_val == 1.0


@pytest.mark.parametrize("choice", [c for g, c in CHOICES if g == "logger"])
def test_logger_instantiates(choice: str, tmp_path: Path) -> None:
    logger = instantiate(_compose(f"logger={choice}")["logger"])(save_dir=str(tmp_path))
    assert Path(logger.log_dir).is_relative_to(tmp_path)


@pytest.mark.parametrize("stage", ["seg_warmup", "cls_head", "heads", "joint", "curriculum"])
def test_quick_test_composes_with_every_stage(stage: str) -> None:
    options = _compose("experiment=quick_test", f"stage={stage}")
    full = _compose(f"stage={stage}")
    default = full["loader"]
    quick = stage_configs(options["stage"], default)
    for short, long in zip(quick, stage_configs(full["stage"], default), strict=True):
        assert (short.name, short.train, short.tasks) == (long.name, long.train, long.tasks)
        # a default of one or two epochs cannot be undercut; of larger epochs it may still be far longer
        assert short.max_epochs < long.max_epochs or long.max_epochs <= 2
        # images with masks that a stage sees: minutes, whatever the cohort
        assert short.max_epochs * options["data"]["max_train_samples"] <= 5000


def test_precision_is_never_a_silent_fallback() -> None:
    with pytest.raises(ConfigError, match="needs a GPU"):
        resolve_precision("16-mixed", "cpu")
    with pytest.raises(ConfigError, match="one of auto"):
        resolve_precision("half", "cpu")
    assert resolve_precision("auto", "cpu") in ("bf16-mixed", "32-true")
    assert resolve_precision("32-true", "cpu") == "32-true"


def test_an_empty_value_is_no_path_to_the_current_folder() -> None:
    with pytest.raises(ConfigError, match="raw_dir= is empty"):
        compose("prepare", "source=brats", "raw_dir=")


@pytest.mark.parametrize("name", ["2024", "2024_01", "007", "1e3", "-1", "3.10", "./2024"])
def test_a_path_of_digits_keeps_its_spelling(name: str) -> None:
    assert compose("check", f"data_dir={name}")["data_dir"] == name


def test_a_path_that_is_a_number_in_a_file() -> None:
    with pytest.raises(ConfigError, match=r"data_dir=2024 is a number: write .* in quotes"):
        plain(OmegaConf.create({"data_dir": 2024}))


def test_a_command_keeps_the_spelling_of_digits() -> None:
    command = [
        sys.executable,
        "train.py",
        "experiment_name=2024_01",
        "data_dir=007",
        "--cfg",
        "job",
    ]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    shown = OmegaConf.create(done.stdout)
    assert (shown.experiment_name, shown.data_dir) == ("2024_01", "007")


@pytest.mark.parametrize("word", ["data_dir=[a,b]", "data_dir={a:1}"])
def test_a_path_is_no_list(word: str) -> None:
    with pytest.raises(ConfigError, match=r"data_dir=.* is read as a list: give one path"):
        compose("check", word)
    assert compose("check", "data_dir='a[1],b'")["data_dir"] == "a[1],b"


def test_only_what_takes_several_paths_takes_a_list() -> None:
    with pytest.raises(ConfigError, match=r"dir=.* is read as a list"):
        compose("runs", "dir=[a,b]")
    several = OmegaConf.create({"dir": ["a", "b"], "data_dir": "c"})
    assert plain(several, several=("dir",)) == {"dir": ["a", "b"], "data_dir": "c"}
    with pytest.raises(ConfigError, match=r"data_dir=.* is read as a list"):
        plain(OmegaConf.create({"dir": "a", "data_dir": ["b"]}), several=("dir",))


def test_missing_value_is_named() -> None:
    with pytest.raises(ConfigError, match=r"raw_dir=\.\.\., source=\.\.\."):
        compose("prepare")
