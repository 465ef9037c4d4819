"""The adapters on published files (environment variable BRAINMTL_REAL_DATA)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainmtl.data.sources import make_source

pytestmark = pytest.mark.real_data


def test_real_brats(real_data: Path) -> None:
    source = make_source("brats")
    refs, problems = source.discover(real_data / "brats")
    assert len(refs) == 40 and not problems
    assert len({ref.group for ref in refs}) == 40
    for ref in refs[::13]:
        case = source.load(ref)
        assert case.image.shape == (1, 240, 240, 155) and case.spacing_mm == (1.0, 1.0, 1.0)
        assert case.positions == tuple(range(155))
        assert case.mask[case.image[0] > 0].sum() >= 0.95 * case.mask.sum() > 0
        # Anterior is up: the cerebellum, the lowest part, lies in the lower half of the head.
        rows = np.flatnonzero((case.image[0, :, :, 15] > 0).any(axis=1))
        head = np.flatnonzero((case.image[0] > 0).any(axis=(1, 2)))
        assert rows.mean() > head.mean()


def test_real_lgg(real_data: Path) -> None:
    source = make_source("lgg")
    refs, problems = source.discover(real_data / "lgg")
    assert len(refs) == 32 and not problems and len({ref.group for ref in refs}) == 32
    masks = []
    for ref in refs:
        case = source.load(ref)
        assert case.image.shape[:3] == (1, 256, 256) and case.spacing_mm is None
        masks.append(case.mask)
    assert sum(mask.shape[2] for mask in masks) == 1023
    assert sum(int(mask.any(axis=(0, 1)).sum()) for mask in masks) == 359


def test_real_kaggle(real_data: Path) -> None:
    source = make_source("kaggle")
    refs, problems = source.discover(real_data / "kaggle_yesno")
    assert len(refs) == 253 and not problems and sum(ref.label for ref in refs) == 155
    assert len({ref.case_id for ref in refs}) == 253
    for ref in refs:
        image = source.load(ref).image
        assert image.ndim == 4 and 0 <= image.min() < image.max() <= 255
