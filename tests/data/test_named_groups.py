"""Groups and institutions that are named in ``split.train_groups`` and ``split.test_groups``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from heads import save_brain
from processing import run

from brainmtl.data.manifest import read_manifest
from brainmtl.data.preparation.assembly import SplitOptions
from brainmtl.data.preparation.integrity import check_folder
from brainmtl.data.preparation.process import ProcessReport
from brainmtl.data.selection import assign_splits
from brainmtl.errors import ConfigError


def prepare(folder: Path, **split) -> ProcessReport:
    return run("brats", folder / "raw", folder / "out", split=SplitOptions(**split))


def test_named_groups_go_to_train(tmp_path: Path) -> None:
    for k, site in enumerate(["TCIA10", "TCIA13", "CBICA", "CBICA", "CBICA"]):
        save_brain(tmp_path / "raw", f"Brats18_{site}_{k}_1", k)
    patterns = ("*TCIA10*", "*TCIA13*")
    prepare(tmp_path, mode="all_test", train_groups=patterns)
    splits = read_manifest(tmp_path / "out").groupby("group", observed=True)["split"].first()
    assert splits.astype(str).to_dict() == {
        "TCIA10_0_1": "train",
        "TCIA13_1_1": "train",
        "CBICA_2_1": "test",
        "CBICA_3_1": "test",
        "CBICA_4_1": "test",
    }
    with pytest.raises(ConfigError, match="matches none"):
        prepare(tmp_path, train_groups=("*TCIA99*",))


def test_named_groups_train_in_every_fold(tmp_path: Path) -> None:
    for k, site in enumerate(["TCIA10", "TCIA13", "CBICA", "CBICA", "CBICA", "CBICA"]):
        save_brain(tmp_path / "raw", f"Brats18_{site}_{k}_1", k)
    options = {"folds": 3, "mode": "all_test", "train_groups": ("*TCIA10*", "*TCIA13*")}
    prepare(tmp_path, **options)
    frame = read_manifest(tmp_path / "out")
    named = frame["group"].astype(str).str.contains("TCIA").to_numpy()
    assert set(frame.loc[named, "fold"]) == {-1}
    assert set(frame.loc[~named, "fold"]) == {0, 1, 2}
    for fold in range(3):
        splits = assign_splits(frame, fold)
        assert set(splits[named]) == {"train"}
        assert set(splits[~named]) == {"train", "val", "test"}
    assert check_folder(tmp_path / "out", workers=1, progress=False) == []


def test_a_site_that_no_fold_uses(tmp_path: Path) -> None:
    for k, site in enumerate(["TCIA10", "TCIA13", "CBICA", "CBICA", "CBICA", "2013"]):
        save_brain(tmp_path / "raw", f"Brats18_{site}_{k}_1", k)
    options = {"folds": 3, "train_groups": ("TCIA10",), "test_groups": ("TCIA13", "2013")}
    prepare(tmp_path, **options)
    frame = read_manifest(tmp_path / "out")
    assert frame.groupby("group", observed=True)["site"].first().to_dict() == {
        "TCIA10_0_1": "TCIA10",
        "TCIA13_1_1": "TCIA13",
        "CBICA_2_1": "CBICA",
        "CBICA_3_1": "CBICA",
        "CBICA_4_1": "CBICA",
        "2013_5_1": "2013",
    }
    site = frame["site"].astype(str).to_numpy()
    apart = np.isin(site, ["TCIA13", "2013"])
    assert set(frame.loc[apart, "split"]) == {"test"} and set(frame.loc[apart, "fold"]) == {-1}
    for fold in range(3):
        splits = assign_splits(frame, fold)
        assert set(splits[apart]) == {""} and set(splits[site == "TCIA10"]) == {"train"}
        assert set(splits[site == "CBICA"]) == {"train", "val", "test"}
    # The stored ledgers need not know the sites: a folder of before gets them by the same command.
    again = prepare(tmp_path, **options)
    assert again.reused == 6
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "out"), frame)
