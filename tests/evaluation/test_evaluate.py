"""One evaluation end to end, its figures recomputed independently from raw network outputs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from PIL import Image
from sklearn import metrics as reference
from support import count_calls

from brainmtl.data.manifest import read_manifest
from brainmtl.data.samples import read_reference, read_sample
from brainmtl.errors import ConfigError
from brainmtl.evaluation.predict import predict_split
from brainmtl.evaluation.run import evaluate as evaluate_all
from brainmtl.evaluation.selection import (
    default_out_dir,
    read_frame,
    rows_of_sources,
    select_rows,
)
from brainmtl.inference.operating.operating_point import OperatingPoint

# The sections have tests of their own; 100 resamples are the fewest that are allowed.
QUICK = {"sections": (), "resamples": 100, "progress": False}


def evaluate(*arguments: Any, **options: Any) -> dict[str, Any]:
    return evaluate_all(*arguments, **QUICK | options)


@pytest.fixture(scope="session")
def by_hand(data_dir: Path, model: Any) -> pd.DataFrame:
    """Probability and masks of every test sample, one forward pass each, no code of this room."""
    frame = read_manifest(data_dir)
    rows = []
    for row in frame[frame["split"] == "test"].itertuples():
        sample = read_sample(data_dir / row.path)
        with torch.no_grad():
            output = model(torch.from_numpy(sample.image)[None])
        odds = torch.exp(output.cls[0, 1] - output.cls[0, 0]).item()
        rows.append(
            {
                "image_id": row.image_id,
                "source": row.source,
                "label": row.label,
                "probability": odds / (1 + odds),
                "mask": (output.seg[0, 0] >= 0).numpy(),
                "reference": sample.mask,
                "geometry": sample.geometry,
                "case_id": row.case_id,
            }
        )
    return pd.DataFrame(rows)


def test_predictions_csv_equals_single_forward_passes(
    evaluation: dict[str, Any], by_hand: pd.DataFrame
) -> None:
    table = pd.read_csv(evaluation["out_dir"] / "predictions.csv").set_index("image_id")
    wanted = ["source", "group", "cls", "probability", "calibrated", "call", "dice"]
    assert list(table.columns[:9]) == [*wanted, "reference_pixels", "predicted_pixels"]
    assert set(table.index) == set(by_hand["image_id"])
    for row in by_hand.itertuples():
        found = table.loc[row.image_id]
        assert found["cls"] == row.label
        assert found["probability"] == pytest.approx(row.probability, abs=1e-5)
        # Nothing was fitted: there is no validation split.
        assert found["calibrated"] == found["probability"]
        assert found["call"] == (row.probability >= 0.5)
        assert found["predicted_pixels"] == row.mask.sum()
        if row.reference is None or row.reference.sum() == 0:
            assert np.isnan(found["dice"])
        else:
            flat = row.reference.ravel(), row.mask.ravel()
            assert found["dice"] == pytest.approx(reference.f1_score(*flat), abs=1e-12)
    assert "photo_00" not in table.index  # split=train


@pytest.mark.parametrize("source", ["phantom_brats", "kaggle", "lgg"])
def test_classification_per_source(
    evaluation: dict[str, Any], by_hand: pd.DataFrame, source: str
) -> None:
    own = by_hand[(by_hand["source"] == source) & (by_hand["label"] >= 0)]
    found = evaluation["metrics"][source]["classification"]
    calls = own["probability"] >= 0.5
    assert found["n"] == len(own)
    assert found["roc_auc"] == pytest.approx(reference.roc_auc_score(own.label, own.probability))
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(own.label, calls))
    assert found["confusion_matrix"] == reference.confusion_matrix(own.label, calls).tolist()


def test_dice_per_patient_in_the_original_grid(
    evaluation: dict[str, Any], by_hand: pd.DataFrame, data_dir: Path
) -> None:
    """Against a volume put together here; the slice that was left out counts as predicted empty."""
    values: dict[str, list[float]] = {}
    for case_id, slices in by_hand[by_hand["source"] == "phantom_brats"].groupby("case_id"):
        truth = read_reference(data_dir / "phantom_brats" / "references" / f"{case_id}.npz") > 0
        assert truth.shape == tiny.FILE_SHAPE
        volume = slices.iloc[0]["geometry"].volume
        display = np.zeros((*slices.iloc[0]["geometry"].plane_shape, 6), dtype=bool)
        for row in slices.itertuples():
            display[..., row.geometry.slice_index] = row.geometry.mask_to_plane(row.mask)
        assert not display[..., 5].any()
        if truth.any():
            assert volume.orient(truth)[..., 5].any()
            flat = truth.ravel(), volume.restore(display).ravel()
            values.setdefault(str(case_id)[0], []).append(reference.f1_score(*flat))
    expected = [np.mean(dices) for dices in values.values()]  # A has two volumes and counts once
    found = evaluation["metrics"]["phantom_brats"]["segmentation"]["per_patient"]
    assert (found["n"], found["n_cases"], found["empty"]["n"]) == (3, 5, 1)
    assert found["dice"] == pytest.approx(np.mean(expected), abs=1e-12)
    assert found["dice_sd"] == pytest.approx(np.std(expected, ddof=1), abs=1e-12)
    assert found["dice"] > 0.3  # the tiny network did learn something: not an identity of zeros


def test_dice_per_slice_leaves_empty_references_out(
    evaluation: dict[str, Any], by_hand: pd.DataFrame
) -> None:
    own = by_hand[by_hand["source"] == "phantom_brats"]
    tumour = own[[mask.any() for mask in own["reference"]]]
    empty = own[[not mask.any() for mask in own["reference"]]]
    found = evaluation["metrics"]["phantom_brats"]["segmentation"]
    pairs = [(r.reference.ravel(), r.mask.ravel()) for r in tumour.itertuples()]
    assert found["n"] == len(tumour)
    assert found["dice"] == pytest.approx(np.mean([reference.f1_score(*pair) for pair in pairs]))
    assert found["iou"] == pytest.approx(
        np.mean([reference.jaccard_score(*pair) for pair in pairs])
    )
    assert found["empty"]["counts"] == [sum(mask.any() for mask in empty["mask"]), len(empty)]
    assert evaluation["metrics"]["kaggle"]["segmentation"] is None


def test_saved_masks_lie_in_the_original_geometry(
    evaluation: dict[str, Any], by_hand: pd.DataFrame
) -> None:
    folder = evaluation["out_dir"] / "masks"
    cases = pd.read_csv(evaluation["out_dir"] / "cases.csv").set_index("case_id")
    image = nib.load(folder / "phantom_brats" / "B.nii.gz")
    assert image.shape == tiny.FILE_SHAPE and image.get_data_dtype() == np.uint8
    np.testing.assert_allclose(image.affine, tiny.AFFINE)
    values = np.asarray(image.dataobj)
    assert set(np.unique(values)) == {0, 1}
    assert values.sum() == cases.loc["B", "predicted_voxels"]
    voxel_ml = abs(np.linalg.det(tiny.AFFINE[:3, :3])) / 1000
    assert cases.loc["B", "predicted_ml"] == pytest.approx(values.sum() * voxel_ml)
    assert np.isnan(cases.loc["L", "predicted_ml"])  # no spacing is known: nothing is invented
    photo = np.asarray(Image.open(folder / "kaggle" / "photo_04.png"))
    assert photo.shape == (64, 50) and set(np.unique(photo)) <= {0, 255}
    stack = sorted(path.name for path in (folder / "lgg").iterdir())
    assert stack == [f"L_z{k:03d}.png" for k in range(4)]
    assert np.asarray(Image.open(folder / "lgg" / stack[1])).shape == (44, 52)


def test_report_names_synthetic_data_and_its_figures_exist(evaluation: dict[str, Any]) -> None:
    out_dir = evaluation["out_dir"]
    text = (out_dir / "report.md").read_text(encoding="utf-8")
    assert "brats-like (synthetic)" in text and "trained on synthetic images only" in text
    assert "phantom_brats" not in re.sub(r"\(figures/.*?\)", "", text)
    assert text.index("## Headline") < text.index("## brats-like")
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    for name in ("roc_kaggle", "reliability_lgg", "cases_phantom_brats"):
        assert f"figures/{name}.png" in pictures
    for name in pictures:
        with Image.open(out_dir / name) as picture:
            assert min(picture.size) > 300
            assert np.asarray(picture.convert("L")).std() > 5  # something is drawn


def test_metrics_json_is_what_is_returned(evaluation: dict[str, Any]) -> None:
    text = (evaluation["out_dir"] / "metrics.json").read_text(encoding="utf-8")
    assert json.loads(text) == evaluation["metrics"]
    assert set(evaluation["metrics"]) == {"kaggle", "lgg", "phantom_brats"}
    assert [name for name, v in evaluation["metrics"].items() if v["synthetic"]] == [
        "phantom_brats"
    ]
    assert json.loads((evaluation["out_dir"] / "run.json").read_text()) == evaluation["run"]


def test_default_folder_lies_beside_the_checkpoints(
    evaluation: dict[str, Any], checkpoint: Path
) -> None:
    assert evaluation["out_dir"] == checkpoint.parents[1].resolve() / "evaluation_test"
    assert default_out_dir(Path("/runs/my.ckpt"), "val") == Path("/runs/evaluation_val")


def test_batch_size_and_bf16_change_nothing_of_note(data_dir: Path, model: Any) -> None:
    frame = select_rows(
        rows_of_sources(read_frame(data_dir), ["kaggle"], data_dir), "test", data_dir
    )
    runs = [
        list(predict_split(model, data_dir, frame, size, precision=precision, progress=False))
        for size, precision in ((1, "32"), (7, "32"), (7, "bf16"))
    ]
    one, seven, bf16 = (np.array([p.probability for p in run]) for run in runs)
    assert [p.row.image_id for p in runs[0]] == frame["image_id"].tolist()
    np.testing.assert_allclose(one, seven, atol=1e-5)
    np.testing.assert_allclose(one, bf16, atol=0.03)
    assert not np.array_equal(one, bf16)  # autocast was on


def test_masks_follow_the_threshold(data_dir: Path, model: Any) -> None:
    frame = select_rows(rows_of_sources(read_frame(data_dir), ["lgg"], data_dir), "test", data_dir)
    sizes = [
        [
            p.mask.sum()
            for p in predict_split(
                model,
                data_dir,
                frame,
                point=OperatingPoint(seg_threshold=threshold),
                progress=False,
            )
        ]
        for threshold in (0.1, 0.5, 0.9)
    ]
    assert sum(sizes[0]) > sum(sizes[1]) > sum(sizes[2])


def test_options_reach_the_figures(checkpoint: Path, data_dir: Path, tmp_path: Path) -> None:
    """Each another than its default; no predicted tumour is as large as a litre."""
    set_by_hand = {"cls_threshold": 0.6, "seg_threshold": 0.4, "seg_gate": 0.1}
    cleaning = {"min_component_ml": 1000.0}
    counts = {"min_false_positive_pixels": 50, "resamples": 120}
    options = {**set_by_hand, **counts, "postprocess": cleaning, "figures": False}
    found = evaluate(checkpoint, data_dir, tmp_path, sources=["phantom_brats"], **options)
    values = found["metrics"]["phantom_brats"]
    assert values["classification"]["threshold"] == 0.6
    assert values["segmentation"]["threshold"] == 0.4
    assert values["segmentation"]["empty"]["min_pixels"] == 50
    assert values["segmentation"]["per_patient"]["empty"]["min_pixels"] == 50
    interval = values["intervals"]["classification.roc_auc"]
    assert interval["resamples"] + interval.get("left_out", 0) == 120
    lines = pd.read_csv(tmp_path / "predictions.csv")
    assert (lines["call"] == (lines["calibrated"] >= 0.6)).all() and lines["predicted_pixels"].any()
    assert not pd.read_csv(tmp_path / "cases.csv")["predicted_voxels"].any()


@pytest.mark.parametrize(
    ("changes", "split", "remark"),
    [
        ({"manifest_sha256": "0" * 64}, "test", "not the one of training"),
        ({}, "all", "was trained on"),
        (
            {"trained_parts": ["decoder", "encoder"]},
            "test",
            "has trained the head: the classification",
        ),
    ],
)
def test_remarks_open_the_report(
    model: Any, data_dir: Path, tmp_path: Path, changes: dict[str, Any], split: str, remark: str
) -> None:
    path = tiny.write_checkpoint(tmp_path / "a.ckpt", model, data_dir, **changes)
    found = evaluate(path, data_dir, split=split, sources=["kaggle"], figures=False)
    assert any(remark in text for text in found["run"]["remarks"])
    report = (found["out_dir"] / "report.md").read_text(encoding="utf-8")
    assert report.index(remark) < report.index("## Headline")


def test_sources_may_be_chosen(
    checkpoint: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_for = count_calls(monkeypatch, "brainmtl.data.manifest._existing")
    found = evaluate(checkpoint, data_dir, tmp_path, sources=["lgg"], figures=False)
    assert looked_for == [data_dir]  # a manifest of a million rows is not read twice
    assert set(found["metrics"]) == {"lgg"}
    assert not (tmp_path / "figures").exists() and not (tmp_path / "masks").exists()
    with pytest.raises(ConfigError, match=r"\['x'\]"):
        rows_of_sources(read_frame(data_dir), ["lgg", "x"], data_dir)
