"""Three folds of a tiny folder, evaluated and merged; the network is the same one in each."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from crossvalidated import QUICK, write_run
from sklearn.metrics import balanced_accuracy_score
from support import compose

from brainmtl.data.manifest import read_manifest, source_hashes, write_manifest
from brainmtl.errors import BrainMTLError, ConfigError
from brainmtl.evaluation.crossval.folds import find_folds
from brainmtl.evaluation.crossval.repeats import check_repeats, summarise_repeats
from brainmtl.evaluation.crossval.run import cross_validate
from brainmtl.evaluation.lines import read_lines
from brainmtl.evaluation.report.closing import command
from brainmtl.evaluation.reuse import finished_evaluation
from brainmtl.evaluation.run import evaluate
from brainmtl.evaluation.selection import read_frame
from brainmtl.files import sha256
from brainmtl.inference.operating.operating_point import OperatingPoint, write_operating_point


def test_every_sample_is_predicted_once_by_the_fold_that_did_not_train_on_it(
    merged: dict[str, Any], folder: Path
) -> None:
    rows = read_lines(merged["out_dir"] / "predictions.csv")
    manifest = read_manifest(folder).set_index(["source", "image_id"])
    assert sorted((row["source"], row["image_id"]) for row in rows) == sorted(manifest.index)
    for row in rows:
        assert row["fold"] == manifest.loc[(row["source"], row["image_id"]), "fold"]
    assert merged["run"]["folds"] == [0, 1, 2]


def test_each_fold_uses_the_operating_point_of_its_own_validation(merged: dict[str, Any]) -> None:
    points = merged["run"]["operating_point"]
    assert sorted(points) == ["fold 0", "fold 1", "fold 2"]
    assert all(point["fitted"] for point in points.values())
    rows = read_lines(merged["out_dir"] / "predictions.csv")
    for row in rows:
        point = points[f"fold {row['fold']}"]
        assert row["call"] == (row["calibrated"] >= point["threshold"])


def test_a_threshold_that_all_folds_share_is_named(
    folder: Path, model: Any, tmp_path: Path
) -> None:
    write_run(folder, tmp_path, model, (0, 1))
    found = cross_validate(tmp_path, partial=True, cls_threshold=0.6, **QUICK)
    assert found["metrics"]["kaggle"]["classification"]["threshold"] == 0.6
    assert "P >= 0.6" in found["metrics"]["phantom_brats"]["patient"]["rule"]
    text = (found["out_dir"] / "report.md").read_text(encoding="utf-8")
    assert "An image is called tumour when the calibrated P is at least 0.6." in text


def test_the_merged_dice_is_the_mean_over_all_patients(merged: dict[str, Any]) -> None:
    by_patient: dict[str, list[float]] = {}
    for case in read_lines(merged["out_dir"] / "cases.csv"):
        if case["dice"] is not None:
            by_patient.setdefault(case["group"], []).append(case["dice"])
    means = [sum(values) / len(values) for values in by_patient.values()]
    found = merged["metrics"]["phantom_brats"]["segmentation"]["per_patient"]
    assert found["n"] == len(means) == 3
    assert found["dice"] == pytest.approx(sum(means) / 3)


def test_report_says_that_it_is_a_cross_validation_and_shows_cases(merged: dict[str, Any]) -> None:
    text = (merged["out_dir"] / "report.html").read_text(encoding="utf-8")
    assert "Cross-validation of stage joint" in text
    assert (merged["out_dir"] / "figures/cases_phantom_brats.png").is_file()
    section = json.loads((merged["out_dir"] / "shortcuts.json").read_text(encoding="utf-8"))
    assert section["baselines"]["sources"]["kaggle"]["n"] == 12


def test_baselines_and_probe_of_a_fold_are_fitted_on_its_training_images(
    merged: dict[str, Any], folder: Path
) -> None:
    for fold in range(3):
        path = merged["out_dir"].parent / f"{fold}/joint/evaluation_test/shortcuts.json"
        counts = json.loads(path.read_text(encoding="utf-8"))["association"]["counts"]
        frame = read_frame(folder, fold)
        for split in ("train", "test"):
            own = frame.loc[frame["split"] == split, "source"].astype(str).value_counts()
            assert {source: found["n"] for source, found in counts[split].items()} == own.to_dict()


def test_robustness_is_of_the_images_of_all_folds(folder: Path, model: Any, tmp_path: Path) -> None:
    """A percentile or a balanced accuracy of all images is no mean of those of the folds."""
    root = write_run(folder, tmp_path, model, (0, 1))
    for fold in range(2):
        path = root / f"{fold}/joint/checkpoints/best.ckpt"
        point = OperatingPoint(temperature=2.0, threshold=0.6, checkpoint_sha256=sha256(path))
        write_operating_point(point, path)
    options = QUICK | {"sections": ("robustness",), "section_limit": 12}
    out = cross_validate(root, partial=True, **options)["out_dir"]
    found = json.loads((out / "robustness.json").read_text(encoding="utf-8"))["sources"]
    calibrated = {
        (row["source"], row["image_id"]): row["calibrated"]
        for fold in range(2)
        for row in read_lines(root / f"{fold}/joint/evaluation_test/predictions.csv")
    }
    for source, values in found.items():
        lines = [
            line
            for fold in range(2)
            for line in read_lines(root / f"{fold}/joint/evaluation_test/robustness.csv")
            if line["source"] == source
        ]
        flipped = [line for line in lines if line["condition"] == "flip_left_right"]
        change = values["metamorphic"]["flip_left_right"]["probability_change"]
        assert change["p95"] == pytest.approx(np.percentile([x["change"] for x in flipped], 95))
        dark = [line for line in lines if (line["condition"], line["level"]) == ("gamma_dark", 5)]
        labels, calls = ([line[key] for line in dark] for key in ("cls", "call"))
        assert values["corruptions"]["gamma_dark"][4]["balanced_accuracy"] == pytest.approx(
            balanced_accuracy_score(labels, calls)
        )
        assert values["n_images"] == len(dark)
        assert all(line["call"] == (line["calibrated"] >= 0.6) for line in lines)
        assert any(0.5 <= line["calibrated"] < 0.6 for line in lines), "any threshold would do"
        for line in dark:  # P with the temperature of the operating point, as it was before
            before = calibrated[source, line["image_id"]]
            assert line["change"] == pytest.approx(abs(line["calibrated"] - before), abs=1e-5)
    stage = root / "1/joint"
    arguments = (stage / "evaluation_test", sha256(stage / "checkpoints/best.ckpt"), folder, "test")
    assert finished_evaluation(*arguments, options) is not None
    (stage / "evaluation_test/robustness.csv").unlink()  # as an older version left it
    assert finished_evaluation(*arguments, options) is None


def test_missing_folds_are_named(folder: Path, model: Any, tmp_path: Path) -> None:
    root = write_run(folder, tmp_path, model, (0, 2))
    with pytest.raises(ConfigError, match=r"lacks the finished folds \[1\]"):
        cross_validate(root, **QUICK)
    found = cross_validate(root, partial=True, **QUICK)
    assert "Folds [1] are missing" in found["run"]["remarks"][0]


DISAGREEING = "folds 0 and 2 were trained with different options"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"data": {"batch_size": 4}}, "data.batch_size: null -> 4"),
        ({"ema_decay": 0.5}, "ema_decay: null -> 0.5"),
        ({"adversary": {"weight": 0.1}}, "adversary: null -> {'weight': 0.1}"),
        ({"balance": {"window": 3}}, "balance: null -> {'window': 3}"),
        ({"seed": 1}, "seed: 0 -> 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_folds_of_different_recipes_are_refused(
    changes: dict[str, Any], named: str, folder: Path, model: Any, tmp_path: Path
) -> None:
    write_run(folder, tmp_path, model, (0, 1))
    write_run(folder, tmp_path, model, (2,), **changes)
    with pytest.raises(ConfigError, match=rf"{DISAGREEING} \({named}\)"):
        cross_validate(tmp_path, **QUICK)


@pytest.mark.parametrize("named", ["pretrained", "preprocessing_version"])
def test_folds_from_other_weights_or_preprocessing_are_refused(
    named: str, folder: Path, model: Any, tmp_path: Path
) -> None:
    """Nothing in their options need differ."""
    write_run(folder, tmp_path, model, (0, 1))
    for fold in (0, 1):
        path = tmp_path / f"{fold}/joint/checkpoints/best.ckpt"
        checkpoint = torch.load(path, weights_only=True)
        checkpoint["brainmtl"][named] = f"{fold}"
        torch.save(checkpoint, path)
    with pytest.raises(ConfigError, match=rf"folds 0 and 1 .*\({named}: 0+(\.\.\.)? -> 1+"):
        cross_validate(tmp_path, partial=True, **QUICK)


def test_folds_may_lie_and_be_loaded_otherwise(folder: Path, model: Any, tmp_path: Path) -> None:
    write_run(folder, tmp_path, model, (0, 1), trainer={"log_every_n_steps": 10})
    apart = {"experiment_name": "again", "resume": True, "data": {"num_workers": 3}}
    apart["init_from"] = "what/an/earlier/stage/made/of/fold/2.ckpt"
    write_run(folder, tmp_path, model, (2,), **apart, trainer={"log_every_n_steps": 50})
    assert [found.fold for found in find_folds(tmp_path, "joint")] == [0, 1, 2]


@pytest.mark.parametrize("what", ["nothing", "unfinished"])
def test_a_folder_without_finished_folds(
    what: str, folder: Path, model: Any, tmp_path: Path
) -> None:
    if what == "unfinished":
        write_run(folder, tmp_path, model, (0,))
        (tmp_path / "0/joint/stage.json").unlink()
    with pytest.raises(ConfigError, match="holds no finished stage joint"):
        cross_validate(tmp_path, **QUICK)


def test_repeats_are_summarised(merged: dict[str, Any], tmp_path: Path) -> None:
    first = {"metrics": {"a": {"classification": {"roc_auc": 0.5}, "segmentation": None}}}
    second = {"metrics": {"a": {"classification": {"roc_auc": 0.7}, "segmentation": None}}}
    for repeat in (first, second):
        repeat |= {"out_dir": tmp_path, "run": {"display_names": {"a": "A"}}}
    text = summarise_repeats([first, second]).read_text(encoding="utf-8")
    assert "| A | ROC-AUC | 0.600 | 0.141 | 0.500 | 0.700 | 2 |" in text


def test_repeats_are_other_trainings_of_one_recipe(
    folder: Path, model: Any, tmp_path: Path
) -> None:
    first = write_run(folder, tmp_path / "a", model, (0, 1))
    again = write_run(folder, tmp_path / "b", model, (0, 1), seed=1)
    other = write_run(folder, tmp_path / "c", model, (0, 1), ema_decay=0.5)
    check_repeats([first, again], "joint")
    with pytest.raises(ConfigError, match="is given twice"):
        check_repeats([first, again, first / ".." / "a"], "joint")
    with pytest.raises(ConfigError, match=r"ema_decay.*repeats are of one recipe"):
        check_repeats([first, other], "joint")


def test_the_folder_of_training_must_not_have_changed(
    folder: Path, model: Any, tmp_path: Path
) -> None:
    root = write_run(folder, tmp_path, model, (0,))
    path = root / "0/joint/checkpoints/best.ckpt"
    tiny.write_checkpoint(
        path,
        model,
        folder,
        manifest_sha256="0" * 64,
        config={"model": tiny.MODEL, "data": {"data_dir": str(folder)}},
    )
    with pytest.raises(BrainMTLError, match="has changed since this checkpoint was trained on it"):
        evaluate(path, folder, **QUICK)


def test_a_source_that_was_added_later_leaves_the_fold_and_the_validation_as_they_were(
    folder: Path, model: Any, tmp_path: Path
) -> None:
    """Else the fold's model would be tested on the split without folds, which it was trained on."""
    data_dir = tmp_path / "data"
    shutil.copytree(folder, data_dir)
    frame = read_manifest(data_dir)
    write_manifest(data_dir, frame[frame["source"] == "phantom_brats"])
    trained_on = read_manifest(data_dir)
    path = tiny.write_checkpoint(
        tmp_path / "run/joint/checkpoints/best.ckpt",
        model,
        data_dir,
        config={"model": tiny.MODEL, "data": {"fold": 1, "data_dir": str(data_dir)}},
        source_sha256=source_hashes(trained_on),
    )
    write_manifest(data_dir, frame)
    found = evaluate(path, data_dir, **QUICK)
    assert found["run"]["fold"] == 1
    assert found["run"]["operating_point"]["fitted"]
    assert not any("not the one of training" in remark for remark in found["run"]["remarks"])
    rows = [r for r in read_lines(found["out_dir"] / "predictions.csv") if r["source"] != "kaggle"]
    tested = trained_on[trained_on["fold"] == 1]
    assert sorted(row["image_id"] for row in rows) == sorted(tested["image_id"]) != []
    trained_on.loc[trained_on["fold"] == 1, "fold"] = 2  # now the source itself is another one
    write_manifest(data_dir, pd.concat([trained_on, frame[frame["source"] == "kaggle"]]))
    with pytest.raises(BrainMTLError, match="has changed since this checkpoint was trained on it"):
        evaluate(path, data_dir, **QUICK)


def test_the_command_in_the_report_gives_the_same_figures_again(
    folder: Path, model: Any, tmp_path: Path
) -> None:
    path = write_run(folder, tmp_path, model, (0,)) / "0/joint/checkpoints/best.ckpt"
    changed = {"cls_threshold": 0.6, "tta": {"mode": "flip"}, "sources": ["kaggle"], "seed": 3}
    first = evaluate(path, folder, **QUICK | changed)
    words = shlex.split(command(first["run"]))
    assert words[:2] == ["python", "evaluate.py"]
    assert {"cls_threshold=0.6", "tta.mode=flip", "sources=[kaggle]", "seed=3"} < set(words)
    assert {"sections=[]", "figures=false", "resamples=100"} < set(words)
    options = compose("evaluate", *words[2:], f"out_dir={tmp_path / 'again'}", "progress=false")
    assert evaluate(**options)["metrics"] == first["metrics"]
