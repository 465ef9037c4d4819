"""A mistyped option is answered with the one that was meant, or with those that there are."""

from __future__ import annotations

import subprocess
import sys

import pytest

from brainmtl.config import CONF_DIR, PROJECT_ROOT
from brainmtl.suggestions import suggest, unnamed_groups


@pytest.mark.parametrize(
    ("command", "arguments", "meant"),
    [
        ("train", ["data.batchsize=3"], "did you mean data.batch_size?"),
        ("train", ["-m", "epoch.joint=1,2"], "did you mean epochs.joint?"),
        ("train", ["lambda_cls=3"], "did you mean loss.lambda_cls?"),
        ("train", ["loss=boundary", "loss.segmentation.exponnt=1"], "loss.segmentation.exponent?"),
        ("train", ["balance=dwa", "balance.temp=2"], "did you mean balance.temperature?"),
        ("train", ["balanse=pcgrad"], "did you mean balance?"),
        ("train", ["experimnt=quick_test"], "did you mean experiment or experiment_name?"),
        (
            "train",
            ["loss.foo=1"],
            "loss has lambda_cls, segmentation, label_smoothing, class_weights",
        ),
        ("compare", ["margins.foo=1"], "margins has dice, balanced_accuracy, roc_auc"),
        ("prepare", ["phantom.subject=3"], "did you mean phantom.subjects?"),
        ("evaluate", ["checkpoint=a"], "it has split, "),
        ("train", ["nowhere.near=1"], "--help lists all"),
        ("predict", ["model=a/folder"], "did you mean model_dir?"),  # a group of train
    ],
)
def test_a_mistyped_option(command: str, arguments: list[str], meant: str) -> None:
    (line,) = suggest(CONF_DIR, command, arguments)
    name = arguments[-1].partition("=")[0]
    assert line.startswith(f"there is no option {name} in conf/{command}.yaml: ")
    assert line.endswith(meant) or (meant.endswith(", ") and meant in line)


@pytest.mark.parametrize(
    "arguments",
    [
        ["optimizer.lr_scale=3", "data_dir=/x", "+added=1", "augmentation=strong,light"],
        ["-m", "sweep=lambda", "seed=1,2"],
        ["augmentation.skull=null", "init_from=null", "hydra.run.dir=x", "loss.segmentation=null"],
        ["adversary=source", "adversary.strength=2"],
        ["stage=nowhere"],  # a group's choice: Hydra names the choices
        ["data_dir=[", "no_equals_sign", "--help"],
        ["run_dir=/tmp/x", "hydra/launcher=basic"],  # run_dir refers to the running command
    ],
)
def test_nothing_to_say_of_options_that_exist_or_are_hydras_own(arguments: list[str]) -> None:
    assert suggest(CONF_DIR, "train", arguments) == []


def test_two_mistakes_make_two_lines() -> None:
    assert len(suggest(CONF_DIR, "train", ["sed=1", "data.batchsize=3", "seed=1"])) == 2


def test_the_command_ends_with_what_was_meant() -> None:
    ended = subprocess.run(
        [sys.executable, "train.py", "data.batchsize=3"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        "error: there is no option data.batchsize in conf/train.yaml: did you mean data.batch_size?"
    )


@pytest.mark.parametrize(
    ("word", "choices"),
    [
        ("sweep=null", "lambda, optuna"),
        ("balance=null", "dwa, fixed, pcgrad, uncertainty"),
        ("balance=3", "dwa, fixed, pcgrad, uncertainty"),
        ("balance=true", "dwa, fixed, pcgrad, uncertainty"),
        ("balance=[fixed]", "dwa, fixed, pcgrad, uncertainty"),
    ],
)
def test_a_group_takes_a_name(word: str, choices: str) -> None:
    group = word.partition("=")[0]
    others = ["init_from=null", "~sweep", "seed=1,2", "balance=fixed,dwa", "model='unet_2m'"]
    (line,) = unnamed_groups(CONF_DIR, ["-m", word, *others])
    assert line == f"{word}: {group} takes one of {choices}; leave it out for the default"
    command = [sys.executable, str(PROJECT_ROOT / "train.py"), word]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"error: {line}\n")
