"""The runs of an inner list: one recipe, several seeds; what is no such list is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compared import LOW, RESAMPLES, data, record, write_evaluation, write_stages

from brainmtl.errors import ConfigError
from brainmtl.evaluation.comparison.run import compare


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda run: record(run, 1, "loss.lambda_cls=0.25"), "is of another recipe than LOW/s0 (loss.lambda_cls: 0.5 -> 0.25)"),
        (lambda run: record(run, 1, manifest="1" * 64), "manifest_sha256: 000000000000... -> 111111111111..."),
        (lambda run: record(run, 0), "several runs have the seed 0"),
        (lambda run: (run / "run.json").unlink(), "the training of LOW/s1 is not known"),
    ],
)  # fmt: skip
def test_runs_that_are_not_one_recipe_are_named(
    change: Callable[[Path], Any], words: str, recipes: list[list[Path]]
) -> None:
    change(recipes[0][1])
    found = compare(recipes, resamples=RESAMPLES)["comparison"]
    (warning,) = found["warnings"]
    assert warning.startswith("low/joint (3 seeds): ")
    assert words.replace("LOW", str(recipes[0][0].parent)) in warning


def test_where_a_run_lies_and_how_it_logs_is_no_recipe(recipes: list[list[Path]]) -> None:
    words = ("data_dir=elsewhere", "experiment_name=other", "logger=csv", "checkpoint_every=7")
    record(recipes[0][1], 1, *words)
    assert compare(recipes, resamples=RESAMPLES)["comparison"]["warnings"] == []


def test_evaluations_outside_of_their_run_find_its_record(
    recipes: list[list[Path]], tmp_path: Path
) -> None:
    apart = []
    for k, run in enumerate(recipes[0]):
        checkpoint = str(run / "joint" / "checkpoints" / "best.ckpt")
        folder = tmp_path / "apart" / f"e{k}"
        write_evaluation(folder, "joint", *data(LOW[k], LOW[k]), checkpoint=checkpoint)
        apart.append(folder)
    found = compare([apart, recipes[1]], resamples=RESAMPLES)["comparison"]
    assert found["warnings"] == []


def test_the_seeds_of_merged_folds(tmp_path: Path) -> None:
    runs = []
    for seed in range(2):
        folder = tmp_path / f"cv{seed}"
        own = data(1.0 + seed, 1.0)
        write_evaluation(folder / "crossval_joint", "joint", *own, folds=[0, 1])
        for fold in range(2):
            record(folder / str(fold), seed, f"fold={fold}")
        runs.append(folder)
    other = write_stages(tmp_path / "other", 1.4)
    before = compare([runs, other], resamples=RESAMPLES)["comparison"]["warnings"]
    record(runs[1] / "0", 1, "fold=0", "epochs.joint=99")
    after = compare([runs, other], resamples=RESAMPLES)["comparison"]["warnings"]
    (warning,) = [text for text in after if text not in before]
    assert "epochs.joint: 16 -> 99" in warning
    assert not any("recipe" in text or "seed" in text for text in before)


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (lambda a, b: [[a, a], b], "an inner list of runs names the run A twice"),
        (lambda a, b: [[a, a / "joint"], b], "an inner list of runs names the run A twice"),
        (lambda a, b: [a, []], "entry 2 of runs is an empty list"),
        (lambda a, b: [], "runs=[] is empty"),
        (lambda a, b: [[[a, b]]], "entry 1 of runs holds a list in its list"),
        (lambda a, b: [[a, b]], "gives 1 evaluation: name at least two (the runs of an inner list"),
        (lambda a, b: [[a, b], a], "A/joint/evaluation_test twice"),
        (lambda a, b: [[a, write_stages(a.parent / "c", 1.0, stages=("heads",))], b], "the runs of an inner list must have the same stages"),
    ],
)  # fmt: skip
def test_lists_that_cannot_be_compared(
    runs: Callable[[Path, Path], Any], words: str, tmp_path: Path
) -> None:
    first, second = write_stages(tmp_path / "a", 1.0), write_stages(tmp_path / "b", 1.2)
    with pytest.raises(ConfigError) as caught:
        compare(runs(first, second), resamples=RESAMPLES)
    assert words.replace("A", str(first)) in str(caught.value)
