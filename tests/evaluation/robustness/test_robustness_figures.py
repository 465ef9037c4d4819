"""The table and the pictures of the section."""

from __future__ import annotations

import copy
import re
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.image import imread

from brainmtl.evaluation.robustness import (
    robustness_figures,
    robustness_markdown,
    robustness_section,
)
from brainmtl.evaluation.robustness.corruptions import CORRUPTIONS
from brainmtl.evaluation.robustness.metamorphic import CHECKS

NAMES = {"brats": "brats-like (synthetic)", "kaggle": "Kaggle $5"}


@pytest.fixture(scope="module")
def section(observed: tuple[pd.DataFrame, list[dict[str, Any]]]) -> dict[str, Any]:
    return robustness_section(observed[1], {"limit": 8})


def test_table_shows_clean_level_3_and_level_5(section: dict[str, Any]) -> None:
    text = robustness_markdown(section, NAMES)
    assert text.startswith("## Robustness\n")
    parts = re.split(r"^### ", text, flags=re.MULTILINE)
    assert [part.splitlines()[0] for part in parts[1:]] == list(NAMES.values())
    for part, source in zip(parts[1:], NAMES, strict=True):
        values = section["sources"][source]
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in part.splitlines()
            if line.startswith("|")
        ]
        curves, checks = rows[: len(CORRUPTIONS) + 2], rows[len(CORRUPTIONS) + 2 :]
        assert {len(row) for row in curves} == {len(curves[0])}
        assert {len(row) for row in checks} == {len(checks[0])} and len(checks) == len(CHECKS) + 2
        for row, (name, corruption) in zip(curves[2:], CORRUPTIONS.items(), strict=True):
            _, third, _, fifth = (values["corruptions"][name][k] for k in (1, 2, 3, 4))
            shown = [values["clean"], third, fifth]
            # kaggle has no masks: its table has no Dice.
            keys = ("dice", "balanced_accuracy")[source == "kaggle" :]
            assert row[1:-2] == [f"{one[key]:.3f}" for key in keys for one in shown]
            assert [cell.split(" ")[0] for cell in row[-2:]] == [
                "/".join(map(str, one["flipped"]["counts"])) for one in shown[1:]
            ]
            low, high = corruption.parameters[2], corruption.parameters[4]
            assert row[0].startswith(corruption.title) and f"({low:g} / {high:g})" in row[0]
    assert "None" not in text and "nan" not in text


def test_one_picture_per_source_of_the_promised_width(
    section: dict[str, Any], tmp_path: Path
) -> None:
    pictures = robustness_figures(section, NAMES, tmp_path)
    assert [path.name for _, path in pictures] == [
        "robustness_brats.png",
        "robustness_kaggle.png",
    ]
    for (caption, path), name in zip(pictures, NAMES.values(), strict=True):
        assert caption.startswith(f"{name}: ")
        height, width, _ = imread(path).shape
        assert width == 900 and 600 < height < 1100
    assert "Dice and balanced accuracy" in pictures[0][0]
    assert "Dice" not in pictures[1][0], "a source without masks has no Dice curve"


def test_undefined_levels_leave_gaps_and_undefined_sources_no_picture(
    section: dict[str, Any], tmp_path: Path
) -> None:
    holes = copy.deepcopy(section)
    for level in holes["sources"]["brats"]["corruptions"]["rotation"]:
        level["dice"] = None
    kaggle = holes["sources"]["kaggle"]
    for found in (kaggle["clean"], *chain.from_iterable(kaggle["corruptions"].values())):
        found["balanced_accuracy"] = None
    pictures = robustness_figures(holes, NAMES, tmp_path)
    assert [path.name for _, path in pictures] == ["robustness_brats.png"]
    assert "n/d" in robustness_markdown(holes, NAMES)
