"""Options and raw cases that cannot be prepared, refused in words that help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from heads import LPS, save_brain
from processing import run

from brainmtl.data.preparation.assembly import SplitOptions
from brainmtl.data.preparation.cases import CaseOptions
from brainmtl.errors import ConfigError


@pytest.mark.parametrize("value", [0, -5, 1.5, "100", True, None])
def test_a_tumour_has_at_least_one_pixel(value: Any) -> None:
    with pytest.raises(
        ConfigError, match=rf"min_tumour_pixels={value} must be (a whole number of )?at least 1"
    ):
        CaseOptions(min_tumour_pixels=value)
    assert CaseOptions(min_tumour_pixels=1).min_tumour_pixels == 1


@pytest.mark.parametrize("value", [-1, 0.5, None])
def test_seeds_of_splits_are_whole_numbers(value: Any) -> None:
    with pytest.raises(
        ConfigError, match=rf"split\.seed={value} must be (a whole number of )?at least 0"
    ):
        SplitOptions(seed=value)
    assert SplitOptions(seed=0).seed == 0


@pytest.mark.parametrize(
    ("shape", "planes"), [((12, 60, 20), "60 x 12"), ((60, 15, 20), "15 x 60")]
)
def test_a_volume_of_thin_planes_says_so(
    tmp_path: Path, shape: tuple[int, int, int], planes: str
) -> None:
    """Sagittal and coronal slices some millimetres apart, as they lie in the file."""
    save_brain(tmp_path / "raw", "narrow", shape=(16, 60, 20), affine=LPS * [4, 1, 1, 1])
    spacing = np.diag([-60 / shape[0], -60 / shape[1], 3, 1])
    save_brain(tmp_path / "raw", "thin", shape=shape, affine=spacing)
    report = run("brats", tmp_path / "raw", tmp_path / "out")
    (problem,) = report.problems
    assert Path(problem.path).name == "thin_flair.nii.gz" and report.samples > 0
    assert f"axial planes have {planes} voxels, and 16 are needed" in problem.reason
