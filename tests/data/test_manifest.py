"""manifest.csv: what loaders know before they open a sample."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from prepared import both_sources

from brainmtl.data.labels import derive_label
from brainmtl.data.manifest import (
    MANIFEST_COLUMNS,
    case_of,
    display_name,
    manifest_hash,
    read_manifest,
    write_manifest,
)
from brainmtl.errors import DataError


def test_round_trip_keeps_dtypes_and_order(tmp_path: Path) -> None:
    both_sources(tmp_path)
    frame = read_manifest(tmp_path)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == MANIFEST_COLUMNS
    before = manifest_hash(tmp_path)
    write_manifest(tmp_path, frame.sample(frac=1, random_state=0))
    assert manifest_hash(tmp_path) == before  # rows are sorted, so order of work changes nothing
    keys = list(zip(frame["source"], frame["case_id"], frame["position"], strict=True))
    assert keys == sorted(keys)


def test_ids_that_look_like_numbers_or_nothing_stay_text(tmp_path: Path) -> None:
    frame = both_sources(tmp_path)
    frame.loc[0, ["image_id", "case_id", "group"]] = ["001", "NA", "1e5"]
    write_manifest(tmp_path, frame)
    row = read_manifest(tmp_path).set_index("image_id").loc["001"]
    assert (row["case_id"], row["group"]) == ("NA", "1e5")


def test_numbered_patients_keep_their_zeros(tmp_path: Path) -> None:
    frame = both_sources(tmp_path)
    numbers = [f"{k:03d}" for k in range(len(frame))]
    write_manifest(tmp_path, frame.assign(case_id=numbers, group=numbers))
    assert read_manifest(tmp_path)["group"].tolist() == numbers
    assert set(read_manifest(tmp_path)["case_id"]) == set(numbers)


def test_a_folder_of_before_names_no_sites(tmp_path: Path) -> None:
    frame = both_sources(tmp_path)
    write_manifest(tmp_path, frame.assign(site=""))
    expected = read_manifest(tmp_path)
    expected.drop(columns="site").to_csv(tmp_path / "manifest.csv", index=False)
    found = read_manifest(tmp_path)
    assert set(found["site"]) == {""} and str(found["site"].dtype) == "category"
    pd.testing.assert_frame_equal(found[list(MANIFEST_COLUMNS)], expected)


def test_missing_or_bad_manifests_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.csv is missing.*brainmtl\.prepare"):
        read_manifest(tmp_path)
    frame = both_sources(tmp_path)
    frame.drop(columns="group").to_csv(tmp_path / "manifest.csv", index=False)
    with pytest.raises(DataError, match=r"lacks the columns .*group"):
        read_manifest(tmp_path)
    frame.assign(label="tumour").to_csv(tmp_path / "manifest.csv", index=False)
    with pytest.raises(DataError, match="cannot be read"):
        read_manifest(tmp_path)


def test_hash_names_the_content(tmp_path: Path) -> None:
    frame = both_sources(tmp_path)
    before = manifest_hash(tmp_path)
    write_manifest(tmp_path, pd.concat([frame.iloc[:-1]]))
    assert manifest_hash(tmp_path) != before


def test_names() -> None:
    assert display_name("phantom_brats", True) == "brats-like (synthetic)"
    assert display_name("mine", True) == "mine-like (synthetic)"
    assert display_name("lgg", False) == "lgg"
    assert case_of("Brats17_2013_0_1_z013") == "Brats17_2013_0_1"
    assert case_of("yes_Y1") == "yes_Y1"


@pytest.mark.parametrize(
    ("pixels", "label"), [(0, 0), (1, -1), (99, -1), (100, 1), (101, 1), (65_536, 1)]
)
def test_label_of_a_slice(pixels: int, label: int) -> None:
    assert derive_label(pixels) == label


def test_threshold_of_the_label_is_an_option() -> None:
    assert [derive_label(pixels, 5) for pixels in (0, 1, 4, 5)] == [0, -1, -1, 1]
    assert derive_label(1, 1) == 1
