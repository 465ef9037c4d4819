"""Verdicts of `python -m brainmtl.compare margins.dice=...` against intervals known by hand."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared import RESAMPLES, command, data, differences, write_evaluation
from rich.console import Console

from brainmtl.errors import ConfigError
from brainmtl.evaluation.comparison.noninferiority import (
    check_margins,
    judge,
    margin_rule,
    verdict_sentence,
)
from brainmtl.evaluation.comparison.run import compare
from brainmtl.evaluation.comparison.table import source_markdown, source_table
from brainmtl.evaluation.statistics.paired import delong
from brainmtl.evaluation.table import MIN_WIDTH

# Of six patients the 95 % interval of the Hodges-Lehmann median reaches from the smallest to the
# largest difference: P(W <= 0) = 1/64 < 0.025 <= 2/64 = P(W <= 1).
AROUND = (-0.03, -0.02, -0.01, 0.0, 0.01, 0.02)
BELOW = (-0.06, -0.05, -0.04, -0.03, -0.02, -0.01)
NOTE = "Dice per patient"


def with_dice(folder: Path, stage: str, changes: tuple[float, ...], **run: Any) -> Path:
    """An evaluation whose patients with tumour have Dice 0.8 plus ``changes``, one per patient."""
    rows, cases = data(1.0, 1.0, 7)
    groups = sorted({case["group"] for case in cases if case["reference_voxels"]})
    dice = {group: 0.8 + change for group, change in zip(groups, changes, strict=False)}
    kept = [group for group in groups if group not in dice]
    cases = [
        case | {"dice": dice[case["group"]] if case["reference_voxels"] else None}
        for case in cases
        if case["group"] not in kept
    ]
    rows = [row for row in rows if row["group"] not in kept]
    return write_evaluation(folder, stage, rows, cases, **run)


def against(tmp_path: Path, changes: tuple[float, ...], **margins: Any) -> dict[str, Any]:
    folders = [
        with_dice(tmp_path / stage, stage, own)
        for stage, own in (("cls_head", (0.0,) * len(changes)), ("joint", changes))
    ]
    return compare(folders, margins=margins, resamples=RESAMPLES, out_dir=tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "margin", "verdict", "words"),
    [
        (AROUND, 0.04, "non-inferior", "joint is non-inferior to cls_head with the margin 0.04 (Hodges-Lehmann median of the patients' differences -0.005, 95 % interval -0.030 to +0.020: the lower end lies above -0.04)."),
        (AROUND, 0.03, "not shown", "with the margin 0.03 was not shown (Hodges-Lehmann median of the patients' differences -0.005, 95 % interval -0.030 to +0.020 holds -0.03)."),
        (AROUND, 0.01, "not shown", "holds -0.01)."),
        (BELOW, 0.07, "non-inferior", "lies above -0.07). It is lower all the same: the interval excludes 0."),
        (BELOW, 0.03, "not shown", "95 % interval -0.060 to -0.010 holds -0.03)."),
        (BELOW, 0.01, "not shown", "holds -0.01)."),
        (BELOW, 0.005, "inferior", "joint is inferior to cls_head by more than the margin 0.005 (Hodges-Lehmann median of the patients' differences -0.035, 95 % interval -0.060 to -0.010: the upper end lies below -0.005)."),
        (BELOW[1:], 0.3, "not shown", "non-inferiority of joint to cls_head was not shown (n = 5: too few"),
    ],
)  # fmt: skip
def test_verdicts_on_dice(
    changes: tuple[float, ...], margin: float, verdict: str, words: str, tmp_path: Path
) -> None:
    result = against(tmp_path, changes, dice=margin)
    found = result["comparison"]
    dice = differences(found, "phantom_brats", "joint")["dice"]
    assert (dice["margin"], dice["verdict"], dice["n"]) == (margin, verdict, len(changes))
    text = (result["out_dir"] / "comparison.md").read_text()
    assert any(words in sentence for sentence in found["conclusions"])
    assert words in text and f"{verdict} ({margin:g})" in text
    assert found["margins"] == {"dice": margin}
    rule = found["conclusions"][0]
    assert rule == margin_rule({"dice": margin}) and "before anyone looked" in rule
    assert "Piaggio et al. 2012" in text
    # The test of superiority says what it says without a margin.
    plain = against(tmp_path / "plain", changes)["comparison"]
    other = differences(plain, "phantom_brats", "joint")["dice"]
    assert {k: v for k, v in other.items() if "verdict" not in k and k != "margin"} == {
        k: v for k, v in dice.items() if "verdict" not in k and k != "margin"
    }
    assert other["verdict"] is other["margin"] is None
    own = [s for s in found["conclusions"] if "non-inferior" not in s.lower()]
    assert [s for s in own if "is inferior" not in s] == plain["conclusions"]


def test_auc_is_judged_by_delongs_interval(tmp_path: Path) -> None:
    both = [data(1.0, skill) for skill in (1.2, 1.0)]
    folders = [
        write_evaluation(tmp_path / stage, stage, *own)
        for stage, own in zip(("cls_head", "joint"), both, strict=True)
    ]
    pictures = [[row for row in rows if row["source"] == "kaggle"] for rows, _ in both]
    labels = np.array([row["cls"] for row in pictures[0]])
    scores = [np.array([row["calibrated"] for row in own]) for own in pictures]
    low = delong(labels, *scores).low
    assert -0.5 < low < -0.01
    for margin, verdict in ((-low + 1e-6, "non-inferior"), (-low - 1e-6, "not shown")):
        found = compare(
            folders, margins={"roc_auc": margin}, resamples=RESAMPLES, out_dir=tmp_path / "out"
        )["comparison"]
        own = differences(found, "kaggle", "joint")
        assert own["roc_auc"]["low"] == pytest.approx(low)
        assert own["roc_auc"]["verdict"] == verdict
        assert own["balanced_accuracy"]["verdict"] is None
        clustered = differences(found, "phantom_brats", "joint")["roc_auc"]
        assert clustered["test"] == "cluster bootstrap" and clustered["margin"] == margin


def test_what_is_no_question_has_a_reason_and_no_sentence(tmp_path: Path) -> None:
    rows, cases = data(1.0, 1.0)
    trained = {"seg_warmup": "decoder", "cls_head": "decoder head"}
    folders = [write_evaluation(tmp_path / s, s, rows, cases, t) for s, t in trained.items()]
    margins = {"dice": 0.1, "balanced_accuracy": 0.1}
    found = compare(folders, margins=margins, resamples=RESAMPLES)["comparison"]
    own = differences(found, "phantom_brats", "cls_head")
    assert own["dice"]["verdict"] == own["balanced_accuracy"]["verdict"] == "not shown"
    assert "predict the same throughout" in own["dice"]["verdict_note"]
    assert "not trained up to seg_warmup" in own["balanced_accuracy"]["verdict_note"]
    assert found["conclusions"] == [margin_rule(margins)]
    lines = source_markdown(found["sources"]["phantom_brats"])
    notes = [line.partition("] ") for line in lines if line.startswith("[")]
    assert len({text for _, _, text in notes}) == len(notes)
    assert all(f"{number}]" in "".join(lines[: -2 * len(notes)]) for number, _, _ in notes)


TEST = {
    "figure": "roc_auc", "evaluation": "joint", "baseline": "cls_head", "estimate": -0.01,
    "low": -0.04, "high": 0.02, "n": 40, "note": None, "seed_se": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"n": 5}, "n = 5: too few to judge by an interval, it takes at least 6"),
        ({"low": 0.0, "high": 0.0, "note": "no pair differs"}, "no pair differs: no interval shows"),
        ({"low": None, "high": None, "note": "variance 0"}, "variance 0"),
        ({"low": None, "high": None}, "no interval of the difference"),
    ],
)  # fmt: skip
def test_no_verdict_without_an_interval(changed: dict[str, Any], reason: str) -> None:
    found = judge(TEST | changed, 0.05)
    assert found["verdict"] == "not shown" and reason in found["verdict_note"]
    assert judge(TEST, 0.05)["verdict"] == "non-inferior"


@pytest.mark.parametrize(
    ("error", "changed", "end"),
    [
        (None, {}, None),
        # hypot(0.03, 1.96 * 0.01) = 0.0358: the lower end moves from -0.04 to -0.046.
        (0.01, {}, None),
        # hypot(0.03, 1.96 * 0.02) = 0.0494, and -0.01 - 0.0494 is below -0.05.
        (0.02, {}, "-0.059"),
        # -0.1 + 0.0494 is still below -0.05, -0.1 + hypot(0.03, 1.96 * 0.03) is not.
        (0.02, {"estimate": -0.1, "low": -0.13, "high": -0.07}, None),
        (0.03, {"estimate": -0.1, "low": -0.13, "high": -0.07}, "-0.034"),
    ],
)
def test_luck_of_the_seeds_that_could_turn_a_verdict_is_named(
    error: float | None, changed: dict[str, Any], end: str | None
) -> None:
    test = TEST | changed | {"seed_se": error}
    verdict = judge(test, 0.05)
    assert verdict["verdict"] == ("inferior" if changed else "non-inferior")
    said = verdict_sentence(test | verdict, "brats")
    assert ("Other seeds could turn this" in said) is (end is not None)
    assert end is None or said.endswith(f"that end would lie at about {end}.")


@pytest.mark.parametrize(
    ("margins", "message"),
    [
        ({"dice": 0}, "margins.dice=0 must lie between 0 and 1"),
        ({"dice": -0.02}, "margins.dice=-0.02 must lie"),
        ({"roc_auc": 1}, "margins.roc_auc=1 must lie"),
        ({"roc_auc": float("nan")}, "margins.roc_auc=nan must lie"),
        ({"roc_auc": "small"}, "margins.roc_auc=small must lie"),
        ({"dice": True}, "margins.dice=True must lie"),
        ({"accuracy": 0.1}, "margins.accuracy: there is no margin of that figure; choose dice"),
        (0.02, "margins=0.02: name the figure, margins.dice=0.02"),
    ],
)
def test_wrong_margins(margins: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_margins(margins)
    assert message in str(caught.value)


def test_margins_that_are_not_given_are_none() -> None:
    assert check_margins(None) == check_margins({"dice": None, "roc_auc": None}) == {}
    assert check_margins({"roc_auc": 0.1, "dice": 0.02}) == {"dice": 0.02, "roc_auc": 0.1}


def test_tables_have_the_verdict(tmp_path: Path) -> None:
    values = against(tmp_path, AROUND, dice=0.04)["comparison"]["sources"]["phantom_brats"]
    assert "Verdict (margin)" in source_markdown(values)[0]
    console = Console(file=io.StringIO(), width=MIN_WIDTH)
    console.print(source_table(values))
    printed = console.file.getvalue()
    assert "non-inferior (0.04)" in printed and "…" not in printed


def test_command_has_margins(tmp_path: Path) -> None:
    for stage, changes in (("cls_head", (0.0,) * 6), ("joint", AROUND)):
        with_dice(tmp_path / stage, stage, changes)
    done = command(tmp_path, "runs=[cls_head,joint]", "margins.dice=0.04", "resamples=200")
    assert done.returncode == 0, done.stderr
    assert "joint is non-inferior to cls_head with the margin 0.04" in done.stdout
    assert "chosen before anyone looked" in done.stdout
    failed = command(tmp_path, "runs=[cls_head,joint]", "margins.dice=2")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: margins.dice=2 must lie between 0 and 1")
