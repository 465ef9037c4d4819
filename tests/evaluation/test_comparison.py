"""`python -m brainmtl.compare` on evaluation folders as the evaluation writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compared import RESAMPLES, Lines, data, differences, patient_dice, write_evaluation
from scipy.stats import wilcoxon
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from brainmtl.errors import DataError
from brainmtl.evaluation.comparison.run import compare
from brainmtl.evaluation.statistics.paired import mcnemar_exact
from brainmtl.files import write_json


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
    order = ["joint", "seg_warmup", "cls_head"]
    write_json(run_dir / "status.json", {"state": "finished", "stages": order})
    found = compare([run_dir], resamples=RESAMPLES)["comparison"]
    assert [e["name"] for e in found["evaluations"]] == order


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
