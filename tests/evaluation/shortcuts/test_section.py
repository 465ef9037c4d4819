"""The whole section on a planted folder: plain JSON, its text, its figures, and unseen sources."""

from __future__ import annotations

import copy
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import Spec, parts, said, trained_model, write_folder
from support import compose

from brainmtl.data.samples import read_sample
from brainmtl.errors import ConfigError
from brainmtl.evaluation.crossval.merge import mean_tree
from brainmtl.evaluation.shortcuts import (
    section_figures,
    section_markdown,
    shortcut_section,
    summarise_baselines,
)
from brainmtl.evaluation.shortcuts.network import calibrated_probabilities
from brainmtl.evaluation.shortcuts.unseen import leave_out, unseen_report

POINT = {"temperature": 1.5, "threshold": 0.4}
NAMES = {"scans": "scans", "photos": "photos", "new": "new-like (synthetic)"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("prepared")
    specs = {
        "scans": Spec(40, 30, "blob", masks=True, per_group=2, labels=(0, 1, 1, 0, -1)),
        "photos": Spec(40, 30, "border", scalp=True, labels=(0, 1, 1)),
        "new": Spec(0, 12, "blob"),
    }
    train, test = parts(write_folder(folder, specs))
    model = trained_model(folder, train[train["label"] >= 0])
    images = [read_sample(folder / path).image for path in test["path"]]
    rows = said(test, calibrated_probabilities(model, images, POINT), POINT["threshold"])
    result = {
        source: {
            "classification": {"balanced_accuracy": 0.75, "roc_auc": 0.8, "n": 24},
            "segmentation": {"per_patient": {"dice": 0.625, "n": 7}} if masks else None,
        }
        for source, masks in (("new", False), ("photos", False), ("scans", True))
    }
    return {
        "model": model,
        "data_dir": folder,
        "train": train,
        "test": test,
        "rows": rows,
        "result": result,
        "run": {"training_sources": ["photos", "scans"], "operating_point": POINT, "data_dir": "d"},
    }


@pytest.fixture(scope="module")
def section(inputs: dict[str, Any]) -> dict[str, Any]:
    return shortcut_section(**inputs, limit=30, progress=False)


def test_section_is_plain_json_and_reproducible(
    inputs: dict[str, Any], section: dict[str, Any]
) -> None:
    def without_times(values: dict[str, Any]) -> str:
        return json.dumps(values | {"seconds": None}, allow_nan=False)

    again = shortcut_section(**inputs, limit=30, progress=False)
    assert without_times(again) == without_times(section)
    assert json.loads(without_times(section)) == section | {"seconds": None}
    assert set(section["seconds"]) == {
        "association",
        "probe",
        "baselines",
        "background",
        "heat",
        "unseen",
    }


def test_planted_border_is_in_the_first_lines(section: dict[str, Any]) -> None:
    found = section["baselines"]["sources"]
    assert found["photos"]["baselines"]["border"]["balanced_accuracy"] == 1.0
    assert found["photos"]["baselines"]["border"]["beaten"] is False
    assert found["scans"]["baselines"]["border"]["balanced_accuracy"] < 0.75
    text = " ".join(section["baselines"]["sentences"])
    assert "On photos the model does not beat the image border" in text


def test_source_without_training_images_is_left_out_with_a_reason(section: dict[str, Any]) -> None:
    assert section["association"]["left_out"] == ["new"]
    assert set(section["probe"]["source"]["all"]["left_out"]) == {"new"}
    assert section["probe"]["label"]["new"]["bottleneck"] is None
    border = section["baselines"]["sources"]["new"]["baselines"]["border"]
    assert border["beaten"] is None and border["reason"]
    assert section["background"]["swaps"]["new"]["scans"]["n"] > 0  # needs no training images


def test_surroundings_are_judged_by_one_pass_before_and_after(
    inputs: dict[str, Any], section: dict[str, Any]
) -> None:
    """P of predictions.csv may be the mean over an image and its mirror image."""
    rows = [row | {"calibrated": 1 - row["calibrated"]} for row in inputs["rows"]]
    found = shortcut_section(**inputs | {"rows": rows}, limit=30, progress=False)
    assert found["background"] == section["background"]


def test_lines_can_be_summarised_again(inputs: dict[str, Any], section: dict[str, Any]) -> None:
    assert section["baselines"] == summarise_baselines(section["baseline_lines"], inputs["rows"])


def test_markdown_says_it_in_display_names(section: dict[str, Any]) -> None:
    text = section_markdown(section, NAMES)
    assert text.startswith("## Did it learn the tumour or the source?")
    assert "new-like (synthetic)" in text and "UNSEEN SOURCE" in text
    assert "does not beat the image border" in text
    assert "None" not in text and "nan" not in text
    assert text.count("\n### ") == 6


def test_tables_are_rectangular(section: dict[str, Any]) -> None:
    block: list[int] = []
    for line in [*section_markdown(section, NAMES).splitlines(), ""]:
        if line.startswith("|"):
            block.append(line.count("|"))
        else:
            assert len(set(block)) <= 1
            block = []


def test_figures_are_written(section: dict[str, Any], tmp_path: Path) -> None:
    from PIL import Image

    found = section_figures(section, NAMES, tmp_path)
    assert [path.name for _, path in found] == ["shortcut_baselines.png", "shortcut_swaps.png"]
    for caption, path in found:
        assert caption and np.asarray(Image.open(path)).std() > 5
    nothing = {
        "baselines": {"sources": {}},
        "background": {"swaps": {"a": {"a": {"n": 0, "reason": "no"}}}},
    }
    assert section_figures(nothing, {}, tmp_path / "none") == []


def test_one_source_with_one_class(inputs: dict[str, Any], tmp_path: Path) -> None:
    test = inputs["test"]
    alone = test[(test["source"] == "scans") & (test["label"] == 1)]
    ids = set(alone["image_id"])
    given = inputs | {
        "test": alone,
        "rows": [row for row in inputs["rows"] if row["image_id"] in ids],
        "result": {"scans": inputs["result"]["scans"]},
    }
    section = shortcut_section(**given, limit=12, progress=False)
    json.dumps(section, allow_nan=False)
    assert section["association"]["strength"]["test"]["reason"]
    assert section["probe"]["source"]["all"]["reason"]
    assert section["baselines"]["sources"]["scans"]["model"]["balanced_accuracy"] is None
    assert "| scans |" in section_markdown(section, {"scans": "scans"})
    assert len(section_figures(section, {}, tmp_path)) <= 1


@pytest.mark.parametrize("train", ["empty", "the tested images"])
def test_without_training_images_of_other_groups(inputs: dict[str, Any], train: str) -> None:
    """Nothing is trained on what is tested: a nearest neighbour would find the image itself."""
    rows = inputs["train"].iloc[:0] if train == "empty" else inputs["test"]
    section = shortcut_section(**inputs | {"train": rows}, limit=12, progress=False)
    json.dumps(section, allow_nan=False)
    assert section["baseline_lines"] == []
    assert section["probe"]["source"]["all"]["reason"]
    assert section["association"]["source_only"]["reason"]
    assert section["background"]["swaps"]["scans"]["photos"]["n"] > 0
    assert "cannot be compared" in section_markdown(section, NAMES)


def test_sections_of_folds_merge_into_one(
    inputs: dict[str, Any], section: dict[str, Any], tmp_path: Path
) -> None:
    """A source that one fold cannot probe keeps the figures of the others."""
    other = shortcut_section(
        **inputs | {"train": inputs["train"].iloc[:0]}, limit=30, seed=1, progress=False
    )
    merged = mean_tree([section, other])
    swaps = [each["background"]["swaps"]["scans"]["photos"] for each in (section, other, merged)]
    assert swaps[2]["n"] == swaps[0]["n"] + swaps[1]["n"]
    assert swaps[2]["flips"]["counts"][1] == swaps[2]["n"]
    probes = [each["probe"]["source"]["all"] for each in (section, merged)]
    assert probes[0]["bottleneck"] == probes[1]["bottleneck"]
    merged["baselines"] = section["baselines"]
    text = section_markdown(merged, NAMES)
    assert "| Source, all images |" in text and "None" not in text
    assert len(section_figures(merged, NAMES, tmp_path)) == 2


def test_folds_that_disagree_on_the_skull_have_no_mean_depth(section: dict[str, Any]) -> None:
    bare = copy.deepcopy(section)
    bare["background"]["rims"]["photos"] |= {"stripped": True, "depth": 0.0}
    merged = mean_tree([section, bare]) | {"baselines": section["baselines"]}
    text = section_markdown(merged, NAMES)
    assert "- photos: scalp and skull found in some folds, taken as skull-stripped in the" in text


def test_a_limit_too_small_is_refused(inputs: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="limit=3"):
        shortcut_section(**inputs, limit=3, progress=False)


def masks(**has_mask: int) -> pd.DataFrame:
    return pd.DataFrame({"source": list(has_mask), "has_mask": list(has_mask.values())})


def test_options_without_a_source_go_behind_those_of_any_command() -> None:
    frame = masks(brats=1, lgg=1, kaggle=0, photos=0)
    everything = ["brats", "kaggle", "lgg", "photos"]
    expected = {
        "brats": (["lgg"], ["kaggle", "photos"]),
        "kaggle": (["brats", "lgg"], ["photos"]),
    }
    for source, (seg, cls) in expected.items():
        given = ("run_dir=runs", "data.batch_size=3", "data.seg_sources=[brats]")
        added = shlex.split(leave_out(frame, everything, source)["options"])
        options = compose("train", *given, *added)["data"]
        assert options["batch_size"] == 3
        assert (options["seg_sources"], options["cls_sources"]) == (seg, cls)


def test_roles_that_run_empty() -> None:
    frame = masks(brats=1, kaggle=0)
    only_masks = leave_out(frame, ["brats", "kaggle"], "kaggle")["options"]
    assert "'data.cls_sources=[brats]'" in only_masks
    no_masks = leave_out(frame, ["brats", "kaggle"], "brats")
    assert no_masks["options"] is None and "masks" in no_masks["reason"]
    elsewhere = leave_out(frame, ["brats", "kaggle", "lgg"], "brats")
    assert elsewhere["options"] is None and "lgg" in elsewhere["reason"]


def test_unseen_sources_stand_beside_the_seen(inputs: dict[str, Any]) -> None:
    frame = pd.concat([inputs["train"], inputs["test"]])
    found = unseen_report(frame, inputs["result"], inputs["run"])
    assert found["unseen"] == ["new"]
    assert found["figures"]["new"]["seen"] is False
    assert found["figures"]["scans"] == {
        "seen": True,
        "balanced_accuracy": 0.75,
        "roc_auc": 0.8,
        "n_classification": 24,
        "dice": 0.625,
        "n_patients": 7,
    }
    assert set(found["without"]) == {"photos", "scans"}
