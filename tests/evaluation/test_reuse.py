"""An evaluation that is there already: when it is taken, and what a new one leaves of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crossvalidated import QUICK, write_run

from brainmtl.evaluation.crossval.run import cross_validate
from brainmtl.evaluation.lines import read_lines
from brainmtl.evaluation.reuse import finished_evaluation
from brainmtl.evaluation.run import evaluate
from brainmtl.files import sha256


def test_a_second_run_reuses_the_folds(
    merged: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = cross_validate(merged["out_dir"].parent, **QUICK | {"out_dir": tmp_path})
    assert "best.ckpt" not in capsys.readouterr().out
    assert again["metrics"] == merged["metrics"]


@pytest.mark.parametrize(
    "change",
    [
        {"cls_threshold": 0.9},
        {"seg_gate": 0.1},
        {"seg_threshold": 0.4},
        {"tta": {"mode": "flip"}},
        {"postprocess": {"fill_holes": True}},
        {"operating_point": "fit"},
        {"resamples": 101},
        {"seed": 5},
        {"save_masks": True},
        {"bf16": True},
        {"sections": ("robustness",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_options_are_another_evaluation(
    change: dict[str, Any], folder: Path, model: Any, merged: dict[str, Any]
) -> None:
    stage = merged["out_dir"].parent / "0/joint"
    arguments = (stage / "evaluation_test", sha256(stage / "checkpoints/best.ckpt"), folder)
    made = QUICK | {"figures": True, "sections": ("shortcuts",)}
    for less in ({}, {"figures": False}, {"sections": ()}, {"postprocess": {"fill_holes": None}}):
        assert finished_evaluation(*arguments, "test", made | less) is not None
    assert finished_evaluation(*arguments, "test", made | change) is None
    assert finished_evaluation(*arguments, "val", made) is None


def test_an_evaluation_of_some_sources_is_not_taken_for_one_of_all(
    folder: Path, model: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_run(folder, tmp_path, model, (0, 1, 2))
    evaluate(root / "0/joint/checkpoints/best.ckpt", folder, sources=["phantom_brats"], **QUICK)
    merged = cross_validate(root, **QUICK)
    assert "fold 0: " in capsys.readouterr().out
    rows = read_lines(merged["out_dir"] / "predictions.csv")
    assert {row["source"] for row in rows if row["fold"] == 0} == {"kaggle", "phantom_brats"}


def test_sections_of_an_older_evaluation_do_not_stay(
    folder: Path, model: Any, tmp_path: Path
) -> None:
    root = write_run(folder, tmp_path, model, (0,))
    path, out = root / "0/joint/checkpoints/best.ckpt", root / "0/joint/evaluation_test"
    evaluate(path, folder, **QUICK | {"sections": ("shortcuts",)})
    assert (out / "shortcuts.json").is_file()
    evaluate(path, folder, **QUICK)
    assert not (out / "shortcuts.json").exists()


def test_a_gate_that_was_fitted_stays(folder: Path, model: Any, tmp_path: Path) -> None:
    path = write_run(folder, tmp_path, model, (0,)) / "0/joint/checkpoints/best.ckpt"
    evaluate(path, folder, seg_gate=0.2, operating_point="fit", **QUICK)
    found = evaluate(path, folder, **QUICK)["run"]["operating_point"]
    assert found["seg_gate"] == 0.2
    assert not any("Set by hand" in remark for remark in found["remarks"])
