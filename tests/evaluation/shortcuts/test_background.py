"""A network that reads scalp and skull is moved by the swap; one that reads the tumour is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import Spec, parts, said, trained_model, write_folder

from brainmtl.data.samples import read_sample
from brainmtl.evaluation.shortcuts.background import background_report
from brainmtl.evaluation.shortcuts.network import calibrated_probabilities
from brainmtl.models import MultiTaskModel

POINT = {"temperature": 1.0, "threshold": 0.5}


def predict(model: MultiTaskModel, folder: Path, test: pd.DataFrame) -> list[dict[str, Any]]:
    images = [read_sample(folder / path).image for path in test["path"]]
    return said(test, calibrated_probabilities(model, images, POINT))


def report(folder: Path, specs: dict[str, Spec], **options: Any) -> tuple[dict, list[dict]]:
    train, test = parts(write_folder(folder, specs))
    model = trained_model(folder, train)
    rows = predict(model, folder, test)
    options = {"limit": 20, "progress": False} | options
    return background_report(model, folder, test, POINT, **options), rows


@pytest.fixture(scope="module")
def source_is_label(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, list[dict]]:
    """All heads with scalp are called tumour, all bare ones not: the source is the label."""
    specs = {
        "bare": Spec(30, 20, labels=(0,)),
        "scalp": Spec(30, 20, scalp=True, labels=(1,)),
    }
    return report(tmp_path_factory.mktemp("source"), specs)


def test_network_that_reads_the_surroundings_is_moved(
    source_is_label: tuple[dict, list[dict]],
) -> None:
    found, rows = source_is_label
    assert all(row["call"] == row["cls"] for row in rows)  # the shortcut was learned
    swaps = found["swaps"]
    assert swaps["scalp"]["bare"]["mean_change"] < -0.5
    assert swaps["bare"]["scalp"]["mean_change"] > 0.5
    assert swaps["scalp"]["bare"]["flips"]["counts"] == [10, 10]
    assert swaps["scalp"]["bare"]["flips"]["to_no_tumour"]["counts"] == [10, 10]
    for source in swaps:
        assert swaps[source][source]["mean_absolute_change"] < 0.2
        assert swaps[source][source]["flips"]["counts"] == [0, 10]
    assert swaps["bare"]["scalp"]["donors_without_tumour"] is False  # there are no others
    assert swaps["scalp"]["bare"]["donors_without_tumour"] is True


def test_surroundings_taken_away(source_is_label: tuple[dict, list[dict]]) -> None:
    found, _ = source_is_label
    assert found["rims"]["bare"]["stripped"] and not found["rims"]["scalp"]["stripped"]
    assert found["blanked"]["scalp"]["surroundings"]["mean_change"] < -0.5
    assert found["blanked"]["bare"]["surroundings"]["n"] == 0
    assert found["blanked"]["bare"]["surroundings"]["reason"]
    assert found["blanked"]["bare"]["head"]["n"] == 20


def test_network_that_reads_the_tumour_is_not_moved(tmp_path: Path) -> None:
    specs = {
        "bare": Spec(40, 20, "blob"),
        "scalp": Spec(40, 20, "blob", scalp=True),
    }
    found, rows = report(tmp_path, specs)
    assert np.mean([row["call"] == row["cls"] for row in rows]) > 0.95
    flipped = [own["flips"]["counts"] for line in found["swaps"].values() for own in line.values()]
    assert sum(k for k, _ in flipped) <= 4 and sum(n for _, n in flipped) == 40
    # Without its tumour a head is no longer called: nothing but the outline is left.
    head = found["blanked"]["scalp"]["head"]["flips"]["to_no_tumour"]["counts"]
    assert head == [10, 10]


def test_same_seed_same_figures_and_plain_types(tmp_path: Path) -> None:
    specs = {"bare": Spec(10, 12, "blob"), "scalp": Spec(10, 12, "blob", scalp=True)}
    train, test = parts(write_folder(tmp_path, specs))
    model = trained_model(tmp_path, train, steps=5)
    first, again, other = (
        background_report(model, tmp_path, test, POINT, limit=12, seed=s, progress=False)
        for s in (0, 0, 1)
    )
    assert first == again and first["swaps"] != other["swaps"]
    assert first["rims"]["bare"]["background_share"] == pytest.approx(0.44, abs=0.02)
    assert first["rims"]["bare"]["n_without_background"] == 0


def test_one_group_has_no_control(tmp_path: Path) -> None:
    specs = {"alone": Spec(10, 6, "blob", per_group=6)}
    found, _ = report(tmp_path, specs, limit=6)
    control = found["swaps"]["alone"]["alone"]
    assert control["n"] == 0 and "another patient" in control["reason"]
