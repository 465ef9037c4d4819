"""`runs=[[A0,A1,A2],[B0,B1,B2]]`: several seeds of one recipe as one arm."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from compared import (
    HIGH,
    LOW,
    RESAMPLES,
    Lines,
    command,
    data,
    differences,
    patient_dice,
    write_evaluation,
    write_stages,
)
from rich.console import Console
from scipy.stats import wilcoxon
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from brainmtl.evaluation.comparison.run import compare
from brainmtl.evaluation.comparison.table import source_markdown, source_table
from brainmtl.evaluation.table import MIN_WIDTH

SCORES = {
    "balanced_accuracy": ("call", balanced_accuracy_score),
    "roc_auc": ("calibrated", roc_auc_score),
    "accuracy": ("call", accuracy_score),
}


def column(rows: Lines, key: str, source: str) -> np.ndarray:
    return np.array([row[key] for row in rows if row["source"] == source and row["cls"] >= 0])


def test_values_are_means_over_seeds_with_their_sd(recipes: list[list[Path]]) -> None:
    found = compare(recipes, resamples=RESAMPLES)["comparison"]
    lines = [[data(skill, skill) for skill in skills] for skills in (LOW, HIGH)]
    names = [entry["name"] for entry in found["evaluations"]]
    assert names == ["low/joint (3 seeds)", "high/joint (2 seeds)"]
    for source in ("kaggle", "phantom_brats"):
        own = differences(found, source, names[1])
        for figure, (key, score) in SCORES.items():
            by_seed = [
                [score(column(rows, "cls", source), column(rows, key, source)) for rows, _ in arm]
                for arm in lines
            ]
            entries = found["sources"][source]["figures"][figure]
            for entry, expected in zip(entries, by_seed, strict=True):
                assert entry["per_seed"] == pytest.approx(expected)
                assert entry["value"] == pytest.approx(np.mean(expected))
                assert entry["sd"] == pytest.approx(np.std(expected, ddof=1))
            assert own[figure]["estimate"] == pytest.approx(
                np.mean(by_seed[1]) - np.mean(by_seed[0])
            )
            assert own[figure]["test"] == "cluster bootstrap"
            left = np.var(by_seed[0], ddof=1) / 3 + np.var(by_seed[1], ddof=1) / 2
            assert own[figure]["seed_se"] == pytest.approx(np.sqrt(left))
    dice = differences(found, "phantom_brats", names[1])["dice"]
    first, second = (np.mean([patient_dice(cases) for _, cases in arm], axis=0) for arm in lines)
    assert dice["n"] == 16 == len(first)
    assert dice["p"] == pytest.approx(wilcoxon(second - first).pvalue)
    averages = [(a + b) / 2 for k, a in enumerate(second - first) for b in (second - first)[k:]]
    assert dice["estimate"] == pytest.approx(np.median(averages))
    assert dice["change"] == pytest.approx(second.mean() - first.mean())
    # Nothing to warn of: one recipe each, other seeds.
    assert found["warnings"] == []


def test_copies_of_one_run_have_its_intervals(tmp_path: Path) -> None:
    """A group is drawn with all its seeds: drawn apart, the copies would halve the interval."""
    single = [write_stages(tmp_path / f"a{k}", skill) for k, skill in enumerate((1.0, 1.3))]
    copies = [
        [write_stages(tmp_path / f"copy{skill}" / str(k), skill) for k in range(3)]
        for skill in (1.0, 1.3)
    ]
    one = compare(single, resamples=RESAMPLES)["comparison"]
    three = compare(copies, resamples=RESAMPLES)["comparison"]
    for name, tests in (("phantom_brats", 4), ("kaggle", 1)):
        values = [found["sources"][name] for found in (one, three)]
        compared = 0
        for before, after in zip(*(value["comparisons"] for value in values), strict=True):
            if before["test"] in ("DeLong", "McNemar exact"):  # of single runs alone
                continue
            for key in ("estimate", "low", "high", "p", "n"):
                assert after[key] == pytest.approx(before[key], abs=1e-12), (before["figure"], key)
            assert after["seed_se"] == pytest.approx(0, abs=1e-12) and before["seed_se"] is None
            compared += 1
        assert compared == tests
        for figure in ("dice", "balanced_accuracy", "roc_auc"):
            for before, after in zip(
                *(value["figures"].get(figure, []) for value in values), strict=True
            ):
                for end in ("low", "high"):
                    assert after["interval"][end] == pytest.approx(before["interval"][end])
                assert (before["sd"], after["sd"]) == (None, pytest.approx(0, abs=1e-12))


def test_noise_that_cancels_over_seeds_leaves_the_interval(tmp_path: Path) -> None:
    """Two seeds at 0.02 above the baseline, plus and minus the same noise of the patients."""
    rows, cases = data(1.0, 1.0)
    noise = {case["group"]: 0.05 * ((7 * k) % 11 - 5) for k, case in enumerate(cases)}

    def evaluation(name: str, shift: float, sign: int) -> Path:
        own = [
            case | {"dice": 0.5 + shift + sign * noise[case["group"]]}
            if case["dice"] is not None
            else case
            for case in cases
        ]
        return write_evaluation(tmp_path / name, "joint", rows, own)

    baseline = evaluation("baseline", 0.0, 0)
    seeds = [evaluation(f"seed{k}", 0.02, sign) for k, sign in enumerate((1, -1))]
    for runs, reach in ((seeds[0], 0.1), (seeds, 0.0)):
        found = compare([baseline, runs], resamples=RESAMPLES)["comparison"]
        dice = found["sources"]["phantom_brats"]["comparisons"][0]
        assert dice["figure"] == "dice"
        if reach:
            assert dice["high"] - dice["low"] > reach
        else:
            ends = [dice[key] for key in ("low", "estimate", "high")]
            assert ends == pytest.approx([0.02] * 3)


def test_stages_of_the_seeds_are_compared_stage_by_stage(tmp_path: Path) -> None:
    stages = ("cls_head", "joint")
    runs = [write_stages(tmp_path / f"s{k}", 0.8, 1.2 + k / 10, stages=stages) for k in range(2)]
    other = write_stages(tmp_path / "other", 1.0, 1.5, stages=stages)
    found = compare([runs, other], resamples=RESAMPLES)["comparison"]
    tests = found["sources"]["kaggle"]["comparisons"]
    root = tmp_path.name
    assert list(dict.fromkeys((test["baseline"], test["evaluation"]) for test in tests)) == [
        (f"{root}/cls_head (2 seeds)", f"{root}/joint (2 seeds)"),
        ("other/cls_head", "other/joint"),
        (f"{root}/joint (2 seeds)", "other/joint"),
    ]
    assert [len(entry["runs"]) for entry in found["evaluations"]] == [2, 2, 1, 1]
    # Between stages of the same runs the runs are pairs.
    auc = tests[1]
    first, second = (
        entry["per_seed"] for entry in found["sources"]["kaggle"]["figures"]["roc_auc"][:2]
    )
    changes = np.subtract(second, first)
    assert auc["figure"] == "roc_auc"
    assert auc["seed_se"] == pytest.approx(np.std(changes, ddof=1) / np.sqrt(2))
    alone = compare([[run / stage for run in runs] for stage in stages], resamples=RESAMPLES)
    names = [entry["name"] for entry in alone["comparison"]["evaluations"]]
    assert names == ["cls_head (2 seeds)", "joint (2 seeds)"]


def test_an_inner_list_of_one_is_that_run(recipes: list[list[Path]], tmp_path: Path) -> None:
    (first, *_), (second, *_) = recipes
    wrapped = compare([[first], [second]], resamples=RESAMPLES, out_dir=tmp_path / "a")
    plain = compare([first, second], resamples=RESAMPLES, out_dir=tmp_path / "b")
    assert wrapped["comparison"] == plain["comparison"]


def test_cases_that_a_seed_lacks_are_left_out_and_counted(recipes: list[list[Path]]) -> None:
    rows, cases = data(HIGH[0], HIGH[0])
    kept = [row for row in rows if row["group"] != "g003"]
    write_evaluation(recipes[1][0] / "joint" / "evaluation_test", "joint", kept, cases)
    found = compare(recipes, resamples=RESAMPLES)["comparison"]
    counts = found["sources"]["kaggle"]["counts"]["images"]
    assert counts == {"each": [60, 60, 60, 59, 60], "common": 59}
    assert any("high/s0/joint 59, high/s1/joint 60" in warning for warning in found["warnings"])


def test_report_and_tables_show_the_seeds(recipes: list[list[Path]], tmp_path: Path) -> None:
    result = compare([*recipes, recipes[0][0] / "joint"][:2], out_dir=tmp_path / "out")
    found = result["comparison"]
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == found
    assert "of k seeds" in text.lower() and "another run of the same recipe" not in text
    assert "dots: single seeds" in text
    for run in (run for arm in recipes for run in arm):
        assert f"`{run}/joint/evaluation_test`" in text
    values = found["sources"]["phantom_brats"]
    assert "SD over seeds" in source_markdown(values)[0]
    console = Console(file=io.StringIO(), width=MIN_WIDTH)
    console.print(source_table(values))
    for entries in values["figures"].values():
        for entry in entries:
            assert f"SD over seeds {entry['sd']:.3f}" in console.file.getvalue()
            assert f"| {entry['sd']:.3f} |" in "".join(source_markdown(values))


def test_one_run_against_several_seeds_says_which_is_which(recipes: list[list[Path]]) -> None:
    single, seeds = recipes[0][0], recipes[1]
    result = compare([single, seeds], resamples=RESAMPLES)
    text = (result["out_dir"] / "comparison.md").read_text()
    assert "One training run each stands behind s0/joint." in text
    assert "A figure of several seeds is the mean over them" in text
    figures = result["comparison"]["sources"]["kaggle"]["figures"]["roc_auc"]
    assert figures[0]["sd"] is None and figures[1]["sd"] > 0
    assert all(
        t["seed_se"] is None for t in result["comparison"]["sources"]["kaggle"]["comparisons"]
    )


def test_command_takes_lists_of_seeds(recipes: list[list[Path]], tmp_path: Path) -> None:
    words = "runs=[[low/s0,low/s1,low/s2],[high/s0,high/s1]]"
    done = command(tmp_path, words, "resamples=200", "margins.dice=0.05", "out_dir=out")
    assert done.returncode == 0, done.stderr
    assert "high/joint (2 seeds) is non-inferior to low/joint (3 seeds)" in done.stdout
    assert "SD over seeds" in done.stdout
    failed = command(tmp_path, "runs=[[low/s0,low/s0],[high/s0]]")
    assert failed.returncode == 1 and "twice" in failed.stderr
    assert len(failed.stderr.strip().splitlines()) == 1
