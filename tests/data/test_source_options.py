"""Names of sources and cases, and lists of one name that are given as plain text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from heads import save_head
from processing import run

from brainmtl.data.augmentation.skull import RandomSkull
from brainmtl.data.manifest import read_manifest
from brainmtl.data.records import safe_id
from brainmtl.data.sources import SOURCE_NAMES, make_source
from brainmtl.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("../evil", "evil"),
        ("a/b", "a-b"),
        ("/tmp/x", "tmp-x"),
        ("..", "case"),
        ("", "case"),
        ("my cohort", "my-cohort"),
        ("a=b", "a-b"),
    ],
)
def test_a_name_that_is_no_folders_is_refused(name: str, suggested: str) -> None:
    with pytest.raises(ConfigError, match=rf"name={re.escape(name)}: .*name={suggested}$"):
        make_source("kaggle", name=name)


def test_names_of_synthetic_data_are_kept_for_it() -> None:
    for adapter in SOURCE_NAMES:
        with pytest.raises(ConfigError, match=r"name=phantom_scanner: .* synthetic data"):
            make_source(adapter, name="phantom_scanner")
    assert make_source("brats", name="phantom_scanner", synthetic=True).synthetic
    assert make_source("brats", name="scanner_phantom").name == "scanner_phantom"


def test_a_year_is_a_name(tmp_path: Path) -> None:
    """Hydra reads ``name=2024`` as a number."""
    for k, label in enumerate(("yes", "no")):
        save_head(tmp_path / "raw" / label / "a.png", k)
    run("kaggle", tmp_path / "raw", tmp_path / "out", name=2024)
    assert set(read_manifest(tmp_path / "out")["source"]) == {"2024"}
    assert len(list((tmp_path / "out/2024/train").iterdir())) == 2


@pytest.mark.parametrize(
    ("adapter", "options"),
    [
        ("kaggle", {"positive": "glioma", "negative": "normal"}),
        ("kaggle", {"positive": 1, "negative": 0}),  # as Hydra reads positive=1
        ("brats", {"modalities": "t1ce"}),
        ("lgg", {"modalities": "flair"}),
        ("table", {"modalities": "flair"}),
    ],
)
def test_one_name_needs_no_list(adapter: str, options: dict[str, Any]) -> None:
    listed = {key: [value] for key, value in options.items()}
    assert make_source(adapter, **options) == make_source(adapter, **listed)


def test_rims_for_one_source_need_no_list() -> None:
    skull, rng = RandomSkull(prob=1.0, sources="my_cohort"), np.random.default_rng(0)
    assert skull.draw(rng, "my_cohort") is not None
    assert all(skull.draw(rng, source) is None for source in ("brats", "m", "_"))


def test_names_in_any_alphabet_stay_distinct() -> None:
    names = [
        "患者一",
        "患者二",
        "Пётр",
        "Иван",
        "müller",
        "möller",
        "mller",
        "m-ller",
        "été",
        "ete",
    ]
    found = [safe_id(name) for name in names]
    assert len(set(found)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in found)
    assert found == [safe_id(name) for name in names]
    assert found[4].startswith("m-ller-")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("BraTS-GLI-00001-002", "BraTS-GLI-00001-002"),
        ("a.b_c-d", "a.b_c-d"),
        ("Y1 (2)", "Y1-2"),
        (" -x-. ", "x"),
        ("a / b=[c]", "a-b-c"),
        ("***", "case"),
    ],
)
def test_plain_names_are_as_they_were(name: str, expected: str) -> None:
    assert safe_id(name) == expected
