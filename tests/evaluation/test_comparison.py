"""`python -m brainmtl.compare` on evaluation folders as the evaluation writes them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simulated
from compared import (
    RESAMPLES,
    Lines,
    command,
    data,
    differences,
    patient_dice,
    write_evaluation,
)
from rich.console import Console
from scipy.stats import norm, wilcoxon
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from brainmtl.errors import ConfigError, DataError
from brainmtl.evaluation.comparison.figures import differing_groups
from brainmtl.evaluation.comparison.pairing import SharedCases
from brainmtl.evaluation.comparison.plot import choose_panels
from brainmtl.evaluation.comparison.run import compare
from brainmtl.evaluation.comparison.sentences import sentence
from brainmtl.evaluation.comparison.table import COLUMNS, OPTIONAL, source_markdown, source_table
from brainmtl.evaluation.lines import PREDICTIONS
from brainmtl.evaluation.statistics.paired import mcnemar_exact
from brainmtl.evaluation.table import MIN_WIDTH
from brainmtl.files import write_json


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A curriculum: the head learns in cls_head, and joint training betters both tasks."""
    stages = {
        "joint": (1.4, 2.0, "decoder head"),
        "cls_head": (0.6, 1.0, "decoder head"),
        "seg_warmup": (0.6, 0.1, "decoder"),
    }
    for stage, (seg, cls, trained) in stages.items():
        folder = tmp_path / "run" / stage
        (folder / "checkpoints").mkdir(parents=True)
        write_evaluation(folder / "evaluation_test", stage, *data(seg, cls), trained)
    return tmp_path / "run"


def test_stages_are_compared_with_the_one_before(run_dir: Path) -> None:
    found = compare([run_dir], resamples=RESAMPLES)["comparison"]
    assert [e["name"] for e in found["evaluations"]] == ["seg_warmup", "cls_head", "joint"]
    pairs = {
        (test["baseline"], test["evaluation"])
        for values in found["sources"].values()
        for test in values["comparisons"]
    }
    assert pairs == {("seg_warmup", "cls_head"), ("cls_head", "joint")}


def test_values_and_tests_are_those_of_other_libraries(run_dir: Path) -> None:
    found = compare([run_dir], resamples=RESAMPLES)["comparison"]
    (before_rows, before_cases), (rows, cases) = data(0.6, 1.0), data(1.4, 2.0)

    def column(lines: Lines, key: str, source: str = "kaggle") -> np.ndarray:
        return np.array([row[key] for row in lines if row["source"] == source and row["cls"] >= 0])

    joint = differences(found, "kaggle", "joint")
    labels = column(rows, "cls")
    for figure, key, score in (
        ("balanced_accuracy", "call", balanced_accuracy_score),
        ("roc_auc", "calibrated", roc_auc_score),
    ):
        first, second = (score(labels, column(lines, key)) for lines in (before_rows, rows))
        shown = [entry["value"] for entry in found["sources"]["kaggle"]["figures"][figure]]
        assert shown[1:] == pytest.approx([first, second])
        assert joint[figure]["change"] == pytest.approx(second - first)
        assert joint[figure]["estimate"] == pytest.approx(second - first)
    assert (joint["roc_auc"]["test"], joint["accuracy"]["test"]) == ("DeLong", "McNemar exact")
    right = [column(lines, "call") == labels for lines in (before_rows, rows)]
    assert joint["accuracy"]["p"] == mcnemar_exact(*right).p
    dice = differences(found, "phantom_brats", "joint")["dice"]
    by_patient = [patient_dice(own) for own in (before_cases, cases)]
    assert dice["n"] == len(by_patient[0]) == 16
    assert dice["p"] == pytest.approx(wilcoxon(by_patient[1] - by_patient[0]).pvalue)
    assert dice["change"] == pytest.approx(by_patient[1].mean() - by_patient[0].mean())
    # Several slices per patient: neither McNemar nor DeLong would be valid.
    clustered = differences(found, "phantom_brats", "joint")
    assert {clustered[f]["test"] for f in ("accuracy", "roc_auc")} == {"cluster bootstrap"}


def test_identical_masks_and_untrained_heads_are_not_tested(run_dir: Path) -> None:
    found = compare([run_dir], resamples=RESAMPLES)["comparison"]
    own = differences(found, "phantom_brats", "cls_head")
    assert own["dice"]["change"] == 0 and own["dice"]["p"] is None
    assert "predict the same throughout" in own["dice"]["note"]
    for figure in ("balanced_accuracy", "roc_auc", "accuracy"):
        assert own[figure]["p"] is own[figure]["low"] is own[figure]["p_holm"] is None
        assert "the head was not trained up to seg_warmup" in own[figure]["note"]
    tested = [
        test
        for values in found["sources"].values()
        for test in values["comparisons"]
        if test["p"] is not None
    ]
    assert found["n_tests"] == len(tested) == 7  # joint: 4 figures of brats, 3 of kaggle
    ordered = sorted(tested, key=lambda test: test["p"])
    assert ordered[0]["p_holm"] == pytest.approx(min(1, 7 * ordered[0]["p"]))
    assert all(test["p_holm"] >= test["p"] for test in tested)


def test_a_real_gain_is_called_one_and_a_loss_a_loss(tmp_path: Path) -> None:
    low = write_evaluation(tmp_path / "low", "cls_head", *data(0.4, 1.0, 30))
    high = write_evaluation(tmp_path / "high", "joint", *data(2.0, 1.0, 30))
    up = compare([low, high], resamples=RESAMPLES)["comparison"]
    down = compare([high, low], resamples=RESAMPLES)["comparison"]
    assert any("Dice per patient: joint is higher than cls_head" in s for s in up["conclusions"])
    assert any("Dice per patient: cls_head is lower than joint" in s for s in down["conclusions"])
    assert not any(warning.startswith("None of the") for warning in up["warnings"])


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


def test_only_common_cases_are_compared_and_counted(tmp_path: Path) -> None:
    rows, cases = data(0.5, 1.0)
    other_rows, other_cases = data(1.5, 1.5)
    missing = {"P000", "P001", "g003"}
    other_rows = [row for row in other_rows if row["group"] not in missing]
    other_cases = [case for case in other_cases if case["group"] not in missing]
    extra = [row | {"image_id": "new", "group": "new"} for row in other_rows[-1:]]
    first = write_evaluation(tmp_path / "a", "cls_head", rows, cases)
    second = write_evaluation(tmp_path / "b", "joint", other_rows + extra, other_cases)
    found = compare([first, second], resamples=RESAMPLES)["comparison"]
    counts = found["sources"]["kaggle"]["counts"]["images"]
    assert counts == {"each": [60, 60], "common": 59}
    volumes = found["sources"]["phantom_brats"]["counts"]["volumes"]
    assert volumes["common"] == volumes["each"][1] < volumes["each"][0]
    assert sum("only the" in warning for warning in found["warnings"]) == 3
    kept = [case for case in cases if case["group"] not in missing]
    shown = found["sources"]["phantom_brats"]["figures"]["dice"][0]["value"]
    assert shown == pytest.approx(patient_dice(kept).mean())


def test_sources_of_one_evaluation_alone_are_left_out(tmp_path: Path) -> None:
    rows, cases = data(1.0, 1.0)
    pictures = [row for row in rows if row["source"] == "kaggle"]
    first = write_evaluation(tmp_path / "a", "cls_head", rows, cases)
    second = write_evaluation(tmp_path / "b", "joint", pictures, [], manifest_sha256="1" * 64)
    found = compare([first, second], resamples=RESAMPLES)["comparison"]
    assert list(found["sources"]) == ["kaggle"]
    assert "brats-like (synthetic) was not evaluated in joint: left out." in found["warnings"]
    assert any("different states of the data" in warning for warning in found["warnings"])
    volumes = [row for row in rows if row["source"] != "kaggle"]
    third = write_evaluation(tmp_path / "c", "heads", volumes, cases)
    with pytest.raises(DataError, match="no source in common"):
        compare([second, third])


def test_runs_are_compared_by_their_last_stages_and_named_apart(tmp_path: Path) -> None:
    for run, skill in (("first", 1.0), ("second", 1.5)):
        for stage in ("cls_head", "joint"):
            folder = tmp_path / run / stage
            write_evaluation(folder / "evaluation_test", stage, *data(skill, skill))
    found = compare([tmp_path / "first", tmp_path / "second"], resamples=RESAMPLES)["comparison"]
    names = [entry["name"] for entry in found["evaluations"]]
    assert names == ["first/cls_head", "first/joint", "second/cls_head", "second/joint"]
    tests = found["sources"]["kaggle"]["comparisons"]
    pairs = list(dict.fromkeys((test["baseline"], test["evaluation"]) for test in tests))
    assert pairs == [
        ("first/cls_head", "first/joint"),
        ("second/cls_head", "second/joint"),
        ("first/joint", "second/joint"),
    ]


def test_stages_of_one_run_belong_together_however_named(run_dir: Path) -> None:
    entries = [run_dir / "joint", run_dir / "seg_warmup" / "evaluation_test", run_dir / "cls_head"]
    found = compare(entries, resamples=RESAMPLES)["comparison"]
    assert [e["name"] for e in found["evaluations"]] == ["seg_warmup", "cls_head", "joint"]


def test_a_training_run_is_no_evaluation(run_dir: Path) -> None:
    """Its folder has a run.json too, which says what was trained."""
    write_json(run_dir / "run.json", {"config": {"seed": 0}, "attempts": []})
    found = compare([run_dir], resamples=RESAMPLES)["comparison"]
    assert [e["name"] for e in found["evaluations"]] == ["seg_warmup", "cls_head", "joint"]


def test_the_run_says_the_order_of_its_stages(run_dir: Path) -> None:
    (run_dir / ".hydra").mkdir()
    text = "stage:\n  order: [joint, seg_warmup, cls_head]\ndata_dir: ${project:data}\n"
    (run_dir / ".hydra" / "config.yaml").write_text(text)
    found = compare([run_dir], resamples=RESAMPLES)["comparison"]
    assert [e["name"] for e in found["evaluations"]] == ["joint", "seg_warmup", "cls_head"]


def test_merged_folds_are_stages(tmp_path: Path) -> None:
    for stage in ("joint", "cls_head"):
        write_evaluation(tmp_path / "cv" / f"crossval_{stage}", stage, *data(1.0, 1.0))
    found = compare([tmp_path / "cv"], resamples=RESAMPLES)["comparison"]
    assert [e["name"] for e in found["evaluations"]] == ["cls_head", "joint"]
    alone = compare(
        [tmp_path / "cv" / f"crossval_{stage}" for stage in ("joint", "cls_head")],
        resamples=RESAMPLES,
    )["comparison"]
    assert alone["evaluations"] == found["evaluations"]


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
        (other_split, ConfigError, "['test', 'val']"),
        (old_columns, DataError, "lacks calibrated"),
        (other_label, DataError, "has cls"),
        (other_reference, DataError, "has reference_voxels"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared(
    make: Callable[[Path], list[Path]], error: type[Exception], words: str, run_dir: Path
) -> None:
    with pytest.raises(error) as caught:
        compare(make(run_dir), resamples=RESAMPLES)
    assert words.replace("RUN", str(run_dir)) in str(caught.value)


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "runs=... must be given"),
        (("runs=[]",), "runs=[] is empty"),
        (("runs=nowhere", "split=val"), "nowhere does not exist"),
        (("runs=[a,b]", "resamples=5"), "resamples=5"),
    ],
)
def test_command_errors_are_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = command(tmp_path, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
