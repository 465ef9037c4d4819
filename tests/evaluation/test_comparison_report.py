"""Sentences, tables, pictures and files of a comparison."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simulated
from compared import RESAMPLES, command, data, differences, write_evaluation
from rich.console import Console
from scipy.stats import norm

from brainmtl.evaluation.comparison.figures import differing_groups
from brainmtl.evaluation.comparison.pairing import SharedCases
from brainmtl.evaluation.comparison.plot import choose_panels
from brainmtl.evaluation.comparison.run import compare
from brainmtl.evaluation.comparison.sentences import sentence
from brainmtl.evaluation.comparison.table import COLUMNS, OPTIONAL, source_markdown, source_table
from brainmtl.evaluation.table import MIN_WIDTH


def test_no_difference_is_put_in_words(tmp_path: Path) -> None:
    first = write_evaluation(tmp_path / "a", "cls_head", *data(1.0, 1.0))
    second = write_evaluation(tmp_path / "b", "joint", *data(1.001, 1.001))
    found = compare([first, second], resamples=RESAMPLES)["comparison"]
    assert any(warning.startswith("None of the 7 tests shows") for warning in found["warnings"])
    dice = differences(found, "phantom_brats", "joint")["dice"]
    text = next(s for s in found["conclusions"] if "Dice per patient" in s)
    assert "no difference between joint and cls_head was shown" in text
    # Half the interval, at the level that Holm's first of seven steps leaves: 1 - 0.05 / 14.
    unseen = (dice["high"] - dice["low"]) / 2 * norm.ppf(1 - 0.05 / 14) / norm.ppf(0.975)
    assert f"With n = 16, differences below about {unseen:.3f} could not be seen." in text


def test_few_patients_cannot_show_anything(tmp_path: Path) -> None:
    first = write_evaluation(tmp_path / "a", "cls_head", *data(0.4, 1.0, 5))
    second = write_evaluation(tmp_path / "b", "joint", *data(2.0, 1.5, 5))
    found = compare([first, second], resamples=RESAMPLES)["comparison"]
    dice = differences(found, "phantom_brats", "joint")["dice"]
    assert dice["n"] == 4 and dice["low"] is None and dice["p"] == pytest.approx(2 / 2**4)
    assert differences(found, "phantom_brats", "joint")["roc_auc"]["p"] is None
    said = [s for s in found["conclusions"] if s.startswith("brats-like")]
    assert len(said) == 4 and all("too few to show any difference" in s for s in said)


def test_files_say_the_same_and_are_complete(run_dir: Path, tmp_path: Path) -> None:
    result = compare([run_dir], out_dir=tmp_path / "out", resamples=RESAMPLES)
    found, out_dir = result["comparison"], result["out_dir"]
    assert sorted(path.name for path in out_dir.iterdir()) == [
        "comparison.json",
        "comparison.md",
        "tradeoff.png",
    ]
    assert json.loads((out_dir / "comparison.json").read_text()) == found
    text = (out_dir / "comparison.md").read_text()
    assert "![" in text and "(tradeoff.png)" in text
    for part in (*found["conclusions"], *found["warnings"], *found["remarks"]):
        assert part in text
    assert "another run of the same recipe" in text
    assert (out_dir / "tradeoff.png").read_bytes().startswith(b"\x89PNG")
    assert compare([run_dir], resamples=RESAMPLES)["out_dir"] == run_dir / "comparison_test"


def test_tables_hold_every_figure_and_number_their_notes(run_dir: Path) -> None:
    found = compare([run_dir], resamples=RESAMPLES)["comparison"]
    values = found["sources"]["phantom_brats"]
    lines = [line for line in source_markdown(values) if line.startswith("|")]
    assert len(lines) == 2 + 4 * 3
    assert {line.count("|") for line in lines} == {len(COLUMNS) - len(OPTIONAL) + 1}
    notes = [line for line in source_markdown(values) if line.startswith("[")]
    assert len(notes) == 2 and all(f"[{k}]" in "".join(lines) for k in (1, 2))
    joint = differences(found, "phantom_brats", "joint")["dice"]
    assert f"{joint['change']:+.3f}" in lines[4] and f"{joint['estimate']:+.3f} (" in lines[4]
    console = Console(file=io.StringIO(), width=MIN_WIDTH)
    console.print(source_table(values))
    printed = console.file.getvalue()
    assert "…" not in printed and "[2] the head was not trained" in printed
    for entry in values["figures"]["roc_auc"]:
        low, high = entry["interval"]["low"], entry["interval"]["high"]
        assert f"{entry['value']:.3f} ({low:.3f} to {high:.3f})" in printed


def named(value: float | None) -> list[dict[str, Any]]:
    return [{"evaluation": "joint", "value": value}]


@pytest.mark.parametrize(
    ("figures", "panels"),
    [
        ({"a": {"dice": 0.8, "balanced_accuracy": 0.7}, "b": {"balanced_accuracy": 0.9}}, [("a", "a"), ("a", "b")]),
        ({"a": {"dice": 0.8}}, [("a", None)]),
        ({"b": {"balanced_accuracy": 0.9}, "c": {"balanced_accuracy": 0.9}}, [(None, "b"), (None, "c")]),
        ({"a": {"dice": 0.8, "balanced_accuracy": None}, "b": {"balanced_accuracy": 0.9}}, [("a", "b")]),
        ({"b": {"balanced_accuracy": None}}, []),
    ],
)  # fmt: skip
def test_panels_pair_the_two_tasks(figures: dict[str, Any], panels: list[Any]) -> None:
    sources = {
        source: {"figures": {key: named(value) for key, value in own.items()}}
        for source, own in figures.items()
    }
    assert choose_panels(sources) == panels


def test_sources_with_one_task_are_drawn_alone(tmp_path: Path) -> None:
    rows, cases = data(1.0, 1.0)
    unlabelled = [row | {"cls": -1} for row in rows if row["source"] != "kaggle"]
    pictures = [row for row in rows if row["source"] == "kaggle"]
    for name, own_rows, own_cases in (("a", unlabelled, cases), ("b", pictures, [])):
        folders = [
            write_evaluation(
                tmp_path / name / stage / "evaluation_test", stage, own_rows, own_cases
            )
            for stage in ("cls_head", "joint")
        ]
        result = compare(folders, resamples=RESAMPLES)
        assert (result["out_dir"] / "tradeoff.png").is_file()
        assert "Nothing could be tested" in result["comparison"]["warnings"][0]


def test_one_class_has_nothing_to_test_or_draw(tmp_path: Path) -> None:
    positives = [row for row in simulated.pictures("kaggle", 30) if row["cls"] == 1]
    changed = [row | {"calibrated": row["calibrated"] ** 2} for row in positives]
    first = write_evaluation(tmp_path / "a", "cls_head", positives, [])
    second = write_evaluation(tmp_path / "b", "joint", changed, [])
    result = compare([first, second], out_dir=tmp_path / "out", resamples=RESAMPLES)
    own = differences(result["comparison"], "kaggle", "joint")
    assert own["roc_auc"]["estimate"] is own["balanced_accuracy"]["estimate"] is None
    assert own["accuracy"]["p"] == 1.0  # the same calls, other probabilities
    assert not (result["out_dir"] / "tradeoff.png").exists()


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (0.06, "no difference between b and a was shown (5 of 40 pairs differ)."),
        (0.001, "b and a differ where they differ at all (5 of 40 pairs differ), in one direction"),
    ],
)
def test_sentence_where_most_pairs_do_not_differ(p: float, said: str) -> None:
    test = {"figure": "dice", "evaluation": "b", "baseline": "a", "estimate": 0.0, "low": 0.0}
    test |= {"high": 0.0, "p": p, "p_holm": p, "n": 40, "note": "5 of 40 pairs differ"}
    assert said in sentence(test, "BraTS", 1)


@pytest.mark.parametrize(
    ("figure", "seeds", "expected"),
    [("balanced_accuracy", 1, 2), ("balanced_accuracy", 2, 1), ("roc_auc", 1, 3)],
)
def test_groups_that_differ(figure: str, seeds: int, expected: int) -> None:
    """Four groups of two images. One seed: the calls of groups 1 and 2 differ, those of group 3 are
    exchanged within it, which changes nothing. The second seed undoes the difference in group 1."""
    groups = np.repeat(np.arange(4), 2)
    labels = np.array([0, 1, 0, 1, 0, 1, 1, 1])
    one = np.array([[0, 1, 0, 1, 0, 1, 0, 1], [0, 1, 1, 1, 0, 1, 0, 1]], float)
    two = np.array([[0, 1, 1, 1, 0, 0, 1, 0], [0, 1, 0, 1, 0, 1, 0, 1]], float)
    calls = [one[:seeds], two[:seeds]]
    scores = [0.2 + 0.6 * own for own in calls]
    cases = SharedCases(labels, groups, scores, calls, [], [], {})
    assert differing_groups(cases, 0, 1, figure) == expected


def test_sentence_of_a_single_test() -> None:
    test = {
        "figure": "dice", "evaluation": "joint", "baseline": "cls_head", "estimate": 0.03,
        "low": 0.01, "high": 0.05, "p": 0.0004, "p_holm": 0.0004, "n": 40, "note": None,
    }  # fmt: skip
    assert sentence(test, "brats", 1) == (
        "brats, Dice per patient: joint is higher than cls_head (difference +0.030, 95 % interval "
        "+0.010 to +0.050, p < 0.001)."
    )
    assert "p < 0.001, adjusted = 0.002 for 5 tests)." in sentence(
        test | {"p_holm": 0.002}, "brats", 5
    )


def test_command_prints_tables_and_writes_the_report(run_dir: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    done = command(here, "runs=[../run/cls_head,../run/joint]", "out_dir=../out", "resamples=200")
    assert done.returncode == 0, done.stderr
    for words in ("brats-like (synthetic)", "kaggle", "Wilcoxon", "DeLong", "(+0.", "cls_head"):
        assert words in done.stdout
    assert "report: ../out/comparison.md" in done.stdout
    assert (tmp_path / "out" / "comparison.json").is_file()
    assert not list(here.iterdir())
