"""The model card: stable keys, every figure with its interval, honest about what it is for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import report_inputs as inputs

from brainmtl.evaluation.card import METRICS, build_card, write_card
from brainmtl.evaluation.report.card import LABELS
from brainmtl.evaluation.report.text import lookup, number
from brainmtl.inference.operating.bands import load_bands
from brainmtl.inference.operating.operating_point import OperatingPoint

# An exporter and a server read these: a change needs another card_version.
KEYS = {
    "card_version",
    "name",
    "version",
    "task",
    "notice",
    "medical_device",
    "license",
    "intended_use",
    "out_of_scope_use",
    "stage",
    "checkpoint",
    "checkpoint_sha256",
    "folds",
    "training_sources",
    "synthetic_training",
    "pretrained",
    "trainings",
    "evaluation_sources",
    "synthetic_evaluation",
    "split",
    "data",
    "manifest_sha256",
    "preprocessing_version",
    "image_size",
    "network_data_format",
    "operating_point",
    "bands",
    "eval_metrics",
    "limits",
    "remarks",
    "command",
    "software",
    "references",
}


@pytest.fixture
def result() -> dict[str, Any]:
    figures = inputs.Figures()
    pictures = inputs.source_values(figures, synthetic=True)
    pictures |= {"segmentation": None, "patient": None, "literature": None}
    return {"brats": inputs.source_values(figures), "phantom_kaggle": pictures}


def test_keys_and_files(result: dict[str, Any], tmp_path: Path) -> None:
    card = build_card(result, inputs.run(result), load_bands())
    assert set(card) == KEYS and card["card_version"] == "1"
    paths = write_card(tmp_path, card)
    assert json.loads(paths["json"].read_text(encoding="utf-8")) == card
    assert paths["json"].name == "model_card.json" and paths["markdown"].name == "model_card.md"


def test_what_it_says_of_the_data(result: dict[str, Any], tmp_path: Path) -> None:
    card = build_card(result, inputs.run(result), load_bands())
    assert card["medical_device"] is False and "not a medical device" in card["notice"]
    assert card["synthetic_evaluation"] == ["phantom_kaggle"]
    brats, pictures = card["data"]["brats"], card["data"]["phantom_kaggle"]
    assert brats["seen_in_training"] and not pictures["seen_in_training"]
    assert brats["n_cases_with_mask"] == 8 and pictures["n_cases_with_mask"] is None
    limits = " ".join(card["limits"])
    assert "brats: only 8 patients" in limits and "Never trained on: phantom_kaggle" in limits
    markdown = write_card(tmp_path, card)["markdown"].read_text(encoding="utf-8")
    for text in (card["notice"], *card["out_of_scope_use"], *card["remarks"], card["intended_use"]):
        assert text in markdown
    assert "| phantom_kaggle (synthetic) | synthetic | no |" in markdown


def test_every_metric_with_its_interval(result: dict[str, Any], tmp_path: Path) -> None:
    card = build_card(result, inputs.run(result), load_bands())
    markdown = write_card(tmp_path, card)["markdown"].read_text(encoding="utf-8")
    assert set(METRICS) == set(LABELS)
    assert set(card["eval_metrics"]["brats"]) == set(METRICS)
    assert {key.split(".")[0] for key in card["eval_metrics"]["phantom_kaggle"]} == {
        "classification"
    }
    for source, found in card["eval_metrics"].items():
        for key, shown in found.items():
            assert shown["value"] == lookup(result[source], key)
            assert number(shown["value"]) in markdown
            interval = result[source]["intervals"].get(key)
            if interval:
                assert (shown["low"], shown["high"]) == (interval["low"], interval["high"])
                assert f"({number(shown['low'])} to {number(shown['high'])})" in markdown
    assert card["eval_metrics"]["brats"]["patient.sensitivity"]["counts"] == [5, 6]


def test_operating_point_can_be_read_back(result: dict[str, Any]) -> None:
    candidates = inputs.run(result)["operating_point"]["candidates"]
    point = OperatingPoint(temperature=1.5, threshold=0.4, candidates=candidates, fitted=True)
    run = inputs.run(result, operating_point=point.to_dict())
    card = json.loads(json.dumps(build_card(result, run, load_bands())))
    assert OperatingPoint.from_dict(card["operating_point"]).to_dict() == point.to_dict()


@pytest.mark.parametrize("folds", [None, [0, 1]])
def test_undefined_figures(result: dict[str, Any], folds: list[int] | None, tmp_path: Path) -> None:
    values = result["brats"]
    note = {"low": None, "high": None, "n": 1, "note": "one patient: no interval"}
    values["intervals"] = dict.fromkeys(values["intervals"], note)
    values["patient"] |= {"specificity": None, "n_negative": 0}
    result["empty"] = values | {"classification": None, "uncalibrated": None, "intervals": {}}
    run = inputs.run(result)
    if folds:
        points = {f"fold {k}": run["operating_point"] for k in folds}
        checkpoint = (
            "outputs/cv/0/joint/checkpoints/best.ckpt, outputs/cv/1/joint/checkpoints/best.ckpt"
        )
        run |= {"folds": folds, "operating_point": points, "checkpoint": checkpoint}
    card = build_card(result, run, load_bands())
    shown = card["eval_metrics"]["brats"]["patient.specificity"]
    assert shown["value"] is None and shown["low"] is None
    markdown = write_card(tmp_path, card)["markdown"].read_text(encoding="utf-8")
    assert "one patient: no interval" in markdown and "n/d" in markdown
    assert not re.search(r"\b(None|nan|null)\b", markdown)
    assert ("merge 2 models" in markdown) == bool(folds)
