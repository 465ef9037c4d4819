"""What `python -m brainmtl.compare` refuses to compare, and what it says then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from compared import RESAMPLES, command, data, write_evaluation

from brainmtl.errors import ConfigError, DataError
from brainmtl.evaluation.comparison.run import compare
from brainmtl.evaluation.lines import PREDICTIONS


def missing_evaluation(run: Path) -> list[Path]:
    (run / "cls_head" / "evaluation_test" / "run.json").unlink()
    return [run]


def other_split(run: Path) -> list[Path]:
    rows, cases = data(1.0, 1.0)
    return [run, write_evaluation(run.parent / "val", "joint", rows, cases, split="val")]


def old_columns(run: Path) -> list[Path]:
    path = run / "joint" / "evaluation_test" / PREDICTIONS
    path.write_text(path.read_text().replace("calibrated", "something", 1))
    return [run]


def other_label(run: Path) -> list[Path]:
    rows, cases = data(1.0, 1.0)
    rows[-1]["cls"] = 1 - rows[-1]["cls"]
    return [run, write_evaluation(run.parent / "other", "joint", rows, cases)]


def other_reference(run: Path) -> list[Path]:
    rows, cases = data(1.0, 1.0)
    cases[0]["reference_voxels"] += 1
    return [run, write_evaluation(run.parent / "other", "joint", rows, cases)]


def other_group(run: Path, kind: int = 0) -> list[Path]:
    """The picture, or the volume, is another patient's there."""
    lines = data(1.0, 1.0)
    lines[kind][0]["group"] = "somebody"
    return [run, write_evaluation(run.parent / "other", "joint", *lines)]


def other_cases(run: Path) -> list[Path]:
    """As the folds of one cross-validation are: the same source, and no case in common."""
    rows, cases = data(1.0, 1.0)
    for line in (*rows, *cases):
        line |= {key: f"other_{line[key]}" for key in ("image_id", "case_id") if key in line}
    return [run / "joint", write_evaluation(run.parent / "other", "joint", rows, cases)]


def jobs(run: Path) -> list[Path]:
    for job in ("0", "1"):
        folder = run.parent / "sweep" / job / "joint"
        folder.mkdir(parents=True)
        (folder / "stage.json").write_text("{}")
    return [run.parent / "sweep"]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (missing_evaluation, ConfigError, "python evaluate.py ckpt=RUN/cls_head/checkpoints/best.ckpt split=test"),
        (lambda run: [run / "joint"], ConfigError, "at least two"),
        (lambda run: [run, run / "joint"], ConfigError, "twice"),
        (lambda run: [run.parent / "nowhere"], ConfigError, "does not exist"),
        (lambda run: [run.parent / "run" / "joint" / "checkpoints"], ConfigError, "holds no run"),
        (jobs, ConfigError, "python -m brainmtl.crossval dir="),
        (other_cases, DataError, "no case in common"),
        (other_split, ConfigError, "['test', 'val']"),
        (old_columns, DataError, "lacks calibrated"),
        (other_label, DataError, "has cls"),
        (other_reference, DataError, "has reference_voxels"),
        (other_group, DataError, "has group"),
        (lambda run: other_group(run, 1), DataError, "has group"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared(
    make: Callable[[Path], list[Path]], error: type[Exception], words: str, run_dir: Path
) -> None:
    with pytest.raises(error) as caught:
        compare(make(run_dir), resamples=RESAMPLES)
    assert words.replace("RUN", str(run_dir)) in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "runs=... must be given"),
        (("runs=[]",), "runs=[] is empty"),
        (("runs=nowhere", "split=val"), "nowhere does not exist"),
        (("runs=[a,b]", "resamples=5"), "resamples=5"),
        (("runs=[a,b]", "resamples=many"), "resamples=many must be a whole number"),
    ],
)
def test_command_errors_are_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = command(tmp_path, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
