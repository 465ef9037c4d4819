"""Heads drawn from wider ranges: what changes, what must not, and what the folder remembers of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from brainmtl.data.phantom.atlas import Atlas, load_atlas
from brainmtl.data.phantom.lesion import OEDEMA
from brainmtl.data.phantom.render import render_volume
from brainmtl.data.phantom.variety import TEXTBOOK, VARIETIES, WIDE, Variety, draw
from brainmtl.data.phantom.writer import write_phantom
from brainmtl.errors import ConfigError

FEW = {"subjects": 1, "photos": 1, "workers": 1, "progress": False}


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return load_atlas()


def test_a_range_of_one_value_takes_no_random_number() -> None:
    rng = np.random.default_rng(0)
    assert draw(rng, (2.6, 2.6)) == 2.6
    assert rng.random() == np.random.default_rng(0).random()
    drawn = [draw(rng, (6, 26)) for _ in range(200)]
    assert 6 <= min(drawn) < 8
    assert 24 < max(drawn) <= 26


def facts(atlas: Atlas, variety: Variety) -> np.ndarray:
    """(N, 2): pixels of tumour, and the contrast of its oedema to the rest of the brain, of 10 heads
    less those whose lesion has no oedema."""
    rows = []
    for seed in range(10):
        flair, labels = render_volume(atlas, np.random.default_rng(seed), True, variety)
        rest = flair[(flair > 0) & (labels == 0)]
        oedema = flair[labels == OEDEMA]
        assert labels.any()
        if len(oedema):
            rows.append((np.count_nonzero(labels), np.median(oedema) / np.median(rest)))
    return np.array(rows)


def test_wide_lesions_reach_from_small_to_large_and_from_faint_to_bright(atlas: Atlas) -> None:
    textbook, wide = facts(atlas, TEXTBOOK), facts(atlas, WIDE)
    assert wide[:, 0].min() < 0.5 * textbook[:, 0].min()
    assert wide[:, 0].max() > 0.8 * textbook[:, 0].max()
    assert wide[:, 1].min() < textbook[:, 1].min() - 0.1  # fainter than any of a textbook
    assert wide[:, 1].min() > 0.95  # and not darker than the brain
    assert len(wide) > 7
    assert wide[:, 1].max() > 0.8 * textbook[:, 1].max()


def test_every_range_of_a_textbook_lies_within_the_wide_one() -> None:
    for name, span in vars(TEXTBOOK).items():
        if name == "sequences":
            continue
        low, high = vars(WIDE)[name]
        assert low <= span[0] <= span[1] <= high, name
    flair, wider = TEXTBOOK.sequences["flair"], WIDE.sequences["flair"]
    for kind, spans in flair.lesions.items():
        for span, (low, high) in zip(spans, wider.lesions[kind], strict=True):
            assert low <= span[0] <= span[1] <= high, kind


def test_the_folder_knows_its_variety_and_one_from_before_is_of_textbooks(tmp_path: Path) -> None:
    write_phantom(tmp_path / "wide", variety="wide", **FEW)
    write_phantom(tmp_path / "old", **FEW)
    path = tmp_path / "old/phantom.json"
    older = json.loads(path.read_text())
    assert older.pop("variety") == "textbook"
    path.write_text(json.dumps(older))
    write_phantom(tmp_path / "old", **FEW)
    for folder, other in (("old", "wide"), ("wide", "textbook")):
        with pytest.raises(ConfigError, match="another phantom"):
            write_phantom(tmp_path / folder, variety=other, **FEW)
    name = "brats/Phantom_0000/Phantom_0000_flair.nii.gz"
    assert (tmp_path / "wide" / name).read_bytes() != (tmp_path / "old" / name).read_bytes()


def test_an_unknown_variety_is_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"variety=narrow.*textbook, wide"):
        write_phantom(tmp_path, variety="narrow", **FEW)
    assert not (tmp_path / "phantom.json").exists()
    assert set(VARIETIES) == {"textbook", "wide"}
