"""The whole preparation on real files: bit-equal to serving, without a leak, sound when checked."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainmtl.data.manifest import read_manifest
from brainmtl.data.preparation.assembly import SplitOptions
from brainmtl.data.preparation.integrity import check_folder
from brainmtl.data.preparation.process import process_dataset
from brainmtl.data.preprocessing.preprocess import (
    frame_volume,
    load_and_preprocess_image,
    preprocess_slice,
)
from brainmtl.data.samples import read_reference, read_sample
from brainmtl.data.sources import make_source

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def kaggle(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("kaggle")
    split = SplitOptions(folds=5)
    report = process_dataset(
        make_source("kaggle"), real_data / "kaggle_yesno", out, split=split, progress=False
    )
    assert (report.samples, report.problems) == (253, [])
    return out


def test_real_pictures_are_sound_and_do_not_leak(kaggle: Path) -> None:
    assert check_folder(kaggle, progress=False) == []
    frame = read_manifest(kaggle)
    assert frame["group"].nunique() < 253 - 22
    shares = frame["split"].value_counts(normalize=True)
    assert abs(shares["train"] - 0.70) < 0.03 and abs(shares["test"] - 0.15) < 0.03


def test_identical_pixels_share_split_and_fold(kaggle: Path, real_data: Path) -> None:
    """Independent of the perceptual hash: files whose decoded pixels are the same."""
    frame = read_manifest(kaggle).set_index("image_id")
    copies = defaultdict(list)
    for path in sorted((real_data / "kaggle_yesno").glob("*/*")):
        pixels = np.asarray(Image.open(path).convert("L"))
        digest = hashlib.sha256(pixels.tobytes() + str(pixels.shape).encode()).hexdigest()
        copies[digest].append(f"{path.parent.name}_{path.stem}".replace(" ", "-"))
    several = [names for names in copies.values() if len(names) > 1]
    assert len(several) >= 20
    for names in several:
        assert frame.loc[names, "split"].nunique() == 1 and frame.loc[names, "fold"].nunique() == 1


def test_real_pictures_equal_what_serving_prepares(kaggle: Path, real_data: Path) -> None:
    frame = read_manifest(kaggle).set_index("image_id")
    for path in sorted((real_data / "kaggle_yesno").glob("*/*"))[::10]:
        name = f"{path.parent.name}_{path.stem}".replace(" ", "-")
        sample = read_sample(kaggle / frame.loc[name, "path"])
        np.testing.assert_array_equal(sample.image, load_and_preprocess_image(path).image)


@pytest.mark.parametrize(("name", "pattern"), [("brats", "*TCIA10_637*"), ("lgg", "*CS_4941*")])
def test_real_volumes_equal_fresh_slices(
    real_data: Path, tmp_path: Path, name: str, pattern: str
) -> None:
    [folder] = (real_data / name).glob(f"**/{pattern}/")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / folder.name).symlink_to(folder)
    source = make_source(name)
    split = SplitOptions("all_test")
    report = process_dataset(
        source, tmp_path / "raw", tmp_path / "out", split=split, workers=1, progress=False
    )
    assert check_folder(tmp_path / "out", workers=1, progress=False) == []
    case = source.load(source.discover(tmp_path / "raw")[0][0])
    assert report.samples + report.slices_left_out == case.image.shape[3]
    frame = frame_volume(case.image[0], case.spacing_mm, case.volume)
    rows = read_manifest(tmp_path / "out").set_index("position")
    for k in frame.slices[::9]:
        geometry, foreground = frame.slice_geometry(k), frame.foreground[:, :, k]
        fresh = preprocess_slice(case.image[:, :, :, k], foreground, geometry)
        sample = read_sample(tmp_path / "out" / rows.loc[case.positions[k], "path"])
        np.testing.assert_array_equal(sample.image, fresh.image)
        values = sample.image[0][fresh.foreground].astype(np.float64)
        assert abs(values.mean()) < 2e-3 and abs(values.std() - 1) < 2e-3
    # The reference holds every tumour voxel, also of slices that were left out.
    [reference] = (tmp_path / "out" / name / "references").glob("*.npz")
    np.testing.assert_array_equal(read_reference(reference), case.volume.restore(case.mask))
