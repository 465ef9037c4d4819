"""Figures per institution: cut from the source's own, and whether others of it were trained on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from simulated import pictures, volumes
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from brainmtl.data.manifest import read_manifest, write_manifest
from brainmtl.evaluation.evidence import Evidence
from brainmtl.evaluation.lines import read_lines
from brainmtl.evaluation.report.closing import limits
from brainmtl.evaluation.report.sites import sites
from brainmtl.evaluation.run import evaluate
from brainmtl.evaluation.sites import mark_sites, unseen_sites

Lines = list[dict[str, Any]]


def scored(rows: Lines, cases: Lines, trained: set[tuple[str, str]] | None) -> dict[str, Any]:
    """Patients 0 to 7 at A, 8 to 13 at B, the others nowhere; metrics.json of it."""
    for line in (*rows, *cases):
        patient = int(line["group"][1:])
        line["site"] = "A" if patient < 8 else "B" if patient < 14 else None
    mark_sites(rows, trained)
    evidence = Evidence(rows, cases)
    evidence.score(0.5, 0.5, 1, 200, 0)
    return evidence.result


def test_a_site_is_scored_as_a_source_of_its_own() -> None:
    rows, cases = volumes("brats", 20)
    found = scored(rows, cases, {("brats", "A"), ("lgg", "B")})["brats"]["sites"]
    assert list(found) == ["A", "B"]
    assert (found["A"]["trained_on"], found["B"]["trained_on"]) == (True, False)
    for site, entry in found.items():
        own = [row for row in rows if row["site"] == site and row["cls"] >= 0]
        labels, calls, chances = (
            [row[key] for row in own] for key in ("cls", "call", "calibrated")
        )
        called = entry["classification"]
        assert called["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, calls))
        assert called["roc_auc"] == pytest.approx(roc_auc_score(labels, chances))
        assert called["counts"]["sensitivity"] == [
            sum(c for c, label in zip(calls, labels, strict=True) if label),
            sum(labels),
        ]
        patients: dict[str, list[float]] = {}
        for case in cases:
            if case["site"] == site and case["dice"] is not None:
                patients.setdefault(case["group"], []).append(case["dice"])
        dice = np.mean([np.mean(values) for values in patients.values()])
        assert entry["segmentation"]["per_patient"]["dice"] == pytest.approx(dice)
        assert entry["segmentation"]["per_patient"]["n"] == len(patients)
        for key, value in (
            ("segmentation.per_patient.dice", dice),
            ("classification.roc_auc", called["roc_auc"]),
            ("classification.balanced_accuracy", called["balanced_accuracy"]),
            ("classification.sensitivity", called["sensitivity"]),
        ):
            interval = entry["intervals"][key]
            assert interval["low"] < value < interval["high"]
    assert found["A"]["n_groups"] == 8 and found["B"]["n_groups"] == 6
    assert found["A"]["n_images"] == sum(row["site"] == "A" for row in rows)


def test_intervals_of_all_rows_as_one_site_are_those_of_the_source() -> None:
    rows, cases = volumes("brats", 12)
    for line in (*rows, *cases):
        line["site"] = "A"
    evidence = Evidence(rows, cases)
    evidence.score(0.5, 0.5, 1, 200, 0)
    whole = evidence.result["brats"]
    alone = whole["sites"]["A"]
    assert alone["trained_on"] is None  # lines that nobody marked
    for key, interval in alone["intervals"].items():
        assert interval == whole["intervals"][key], key
    assert {"classification.roc_auc", "segmentation.per_patient.dice"} < set(alone["intervals"])


def test_folds_that_differ_and_folders_that_are_not_known_say_neither() -> None:
    rows, cases = volumes("brats", 20)
    found = scored(rows, cases, None)["brats"]["sites"]
    assert [entry["trained_on"] for entry in found.values()] == [None, None]
    for row in rows:
        row["site_trained"] = row["position"] % 2
    evidence = Evidence(rows, cases)
    evidence.score(0.5, 0.5, 1, 200, 0)
    assert evidence.result["brats"]["sites"]["A"]["trained_on"] is None
    assert unseen_sites(evidence.result) == {}


def test_a_source_without_sites_has_no_table() -> None:
    evidence = Evidence(pictures("kaggle", 12), [])
    evidence.score(0.5, 0.5, 1, 200, 0)
    assert evidence.result["kaggle"]["sites"] is None
    assert sites(evidence.result["kaggle"]) == []


def test_the_report_has_a_line_per_site_and_says_which_are_new() -> None:
    rows, cases = volumes("brats", 20)
    result = scored(rows, cases, {("brats", "A")})
    _, block = sites(result["brats"])
    assert [row[:2] for row in block["rows"]] == [["A", "yes"], ["B", "no"]]
    dice = result["brats"]["sites"]["B"]["segmentation"]["per_patient"]["dice"]
    assert block["rows"][1][3].startswith(f"{dice:.3f} (")
    hits, positive = result["brats"]["sites"]["B"]["classification"]["counts"]["sensitivity"]
    assert block["rows"][1][6] == f"{hits / positive:.3f}, {hits}/{positive}"
    counted = {"brats": {"name": "brats", "synthetic": False, "groups": 20, "unit": "patients"}}
    run = {"training_sources": ["brats"], "folds": None, "synthetic_training": False}
    run |= {"pretrained": None, "trainings": 1}
    said = " ".join(limits(result, run, counted))
    assert "brats: no patient of B was trained on" in said
    assert "brats: other cases of the very collections" in said  # those of A
    result = scored(rows, cases, set())
    said = " ".join(limits(result, run, counted))
    assert "brats: no patient of A, B was trained on" in said
    assert "other cases of the very collections" not in said


@pytest.fixture(scope="module")
def two_sites(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny folder: patient A at the site where training takes place, B to D at another one."""
    folder = tmp_path_factory.mktemp("sites")
    shutil.copytree(data_dir, folder, dirs_exist_ok=True)
    frame = read_manifest(folder)
    site = np.where(frame["group"] == "A", "old", "new").astype(object)
    site[(frame["source"] != "phantom_brats").to_numpy()] = ""
    frame["site"] = site
    frame["split"] = frame["split"].astype(str)
    frame.loc[frame["case_id"] == "A_1", "split"] = "train"
    frame["group"] = frame["group"].astype(str)
    frame.loc[frame["case_id"] == "A_1", "group"] = "A0"
    for row in frame[frame["case_id"] == "A_1"].itertuples():
        (folder / "phantom_brats" / "train").mkdir(exist_ok=True)
        target = folder / "phantom_brats" / "train" / f"{row.image_id}.npz"
        shutil.move(folder / row.path, target)
    frame.loc[frame["case_id"] == "A_1", "path"] = [
        f"phantom_brats/train/{image_id}.npz"
        for image_id in frame.loc[frame["case_id"] == "A_1", "image_id"]
    ]
    write_manifest(folder, frame)
    return folder


def test_from_a_checkpoint_to_the_sites_of_its_test(
    two_sites: Path, model: Any, tmp_path: Path
) -> None:
    ckpt = tiny.write_checkpoint(tmp_path / "joint/checkpoints/best.ckpt", model, two_sites)
    options = {"sections": (), "resamples": 100, "progress": False, "figures": False}
    found = evaluate(ckpt, two_sites, tmp_path / "out", **options)
    entries = found["metrics"]["phantom_brats"]["sites"]
    assert {site: entry["trained_on"] for site, entry in entries.items()} == {
        "new": False,
        "old": True,
    }
    assert entries["new"]["n_groups"] == 3 and entries["old"]["n_groups"] == 1
    assert found["metrics"]["lgg"]["sites"] is found["metrics"]["kaggle"]["sites"] is None
    rows = read_lines(tmp_path / "out" / "predictions.csv")
    assert {(row["site"], row["site_trained"]) for row in rows} == {
        ("new", 0),
        ("old", 1),
        (None, None),
    }
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "By institution" in report
    (alone,) = [line for line in report.splitlines() if line.startswith("| old | yes | 1 |")]
    assert "interval" not in alone  # one patient has none, which n says
    elsewhere = evaluate(
        ckpt, shutil.copytree(two_sites, tmp_path / "copy"), tmp_path / "copied", **options
    )
    assert elsewhere["metrics"]["phantom_brats"]["sites"]["new"]["trained_on"] is False
    manifest = read_manifest(tmp_path / "copy")
    write_manifest(tmp_path / "copy", manifest[manifest["case_id"] != "A_1"])
    other = evaluate(ckpt, tmp_path / "copy", tmp_path / "other", **options)
    assert other["metrics"]["phantom_brats"]["sites"]["new"]["trained_on"] is None
