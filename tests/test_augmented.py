"""``python -m brainmtl.augmented``: the picture shows what training gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import compose, run_python

from brainmtl.augmented import augmented
from brainmtl.data.augmentation.compose import Augmentation, RandomAffine2d
from brainmtl.data.augmentation.intensity import RandAdjustContrast, RandJpeg
from brainmtl.data.augmentation.picture import choose_samples, draw_copies
from brainmtl.data.augmentation.skull import RandomSkull
from brainmtl.data.loading.datasets import MultiSourceDataset
from brainmtl.data.loading.sampling import SampleKey
from brainmtl.data.pictures import spread_choice
from brainmtl.errors import ConfigError, DataError

NAMES = {"phantom_brats": "brats-like (synthetic)", "phantom_kaggle": "kaggle-like $5 (synthetic)"}


def phantom(folder: Path, transform: Augmentation | None = None) -> MultiSourceDataset:
    return MultiSourceDataset(
        folder, "train", ("phantom_brats",), ("phantom_kaggle",), transform, seed=3
    )


def augmentation() -> Augmentation:
    intensity = {"gamma": RandAdjustContrast(0.5, (0.5, 2.0)), "jpeg": RandJpeg(0.5)}
    skull = RandomSkull(prob=0.5, face=0.5)
    return Augmentation(RandomAffine2d(prob=0.7, rotate_degrees=20), intensity, skull)


def test_copies_are_those_that_training_draws(phantom_dir: Path) -> None:
    rows = choose_samples(phantom(phantom_dir), 2)
    figure = draw_copies(phantom(phantom_dir), augmentation(), rows, 5, NAMES)
    trained = phantom(phantom_dir, augmentation())
    shown = [axis.images[0].get_array().data for axis in figure.axes]
    assert len(rows) == 4 and len(shown) == 4 * 6
    titles = set()
    for k, row in enumerate(rows):
        line = shown[6 * k : 6 * k + 6]
        np.testing.assert_array_equal(line[0], phantom(phantom_dir)[row]["image"][0])
        for epoch, image in enumerate(line[1:]):
            np.testing.assert_array_equal(image, trained[SampleKey(row, epoch)]["image"][0])
            same = np.array_equal(image, line[0])
            title = figure.axes[6 * k + 1 + epoch].get_title()
            assert (title == "as it is") == same
            titles |= set(title.replace("\n", " ").split(", "))
    assert titles >= {"skull", "face", "geometric", "gamma", "jpeg"}


def test_titles_and_outlines_belong_to_their_samples(phantom_dir: Path) -> None:
    dataset = phantom(phantom_dir)
    rows = choose_samples(dataset, 2)
    figure = draw_copies(dataset, Augmentation(), rows, 1, NAMES)
    for k, row in enumerate(rows):
        axis, sample = figure.axes[2 * k], dataset[row]
        title = axis.get_title().replace("\n", " ")
        assert sample["image_id"] in title and "(synthetic)" in title
        assert ("no tumour" in title) == (sample["cls"] == 0)
        tumour = sample["mask"] is not None and bool(sample["mask"].any())
        assert bool(axis.collections) == tumour
    assert {dataset[row]["cls"] for row in rows} == {0, 1}


def test_samples_are_spread_over_a_source() -> None:
    labels = np.repeat([0, 1, -1], 100)
    assert spread_choice(labels, 4) == [125, 175, 25, 75]
    assert spread_choice(labels, 3) == [125, 175, 25]
    assert spread_choice(np.array([0, 1, 0]), 40) == [1, 0, 2]
    assert spread_choice(np.array([-1, -1]), 2) == []


def test_the_command_writes_one_picture_and_nothing_else(phantom_dir: Path, tmp_path: Path) -> None:
    arguments = [f"data_dir={phantom_dir}", "images=1", "copies=2", "picture=new/look.png"]
    result = run_python(["-m", "brainmtl.augmented", *arguments], tmp_path)
    assert result.returncode == 0, result.stderr
    assert "new/look.png (2 samples of " in result.stdout and "synthetic" in result.stdout
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")] == ["new/look.png"]
    with Image.open(tmp_path / "new" / "look.png") as picture:
        assert picture.width == pytest.approx(3 * 210, abs=2) and picture.height > 400


@pytest.mark.parametrize(
    ("overrides", "error", "says"),
    [
        (["augmentation=none"], ConfigError, "choose augmentation=strong"),
        (["copies=0"], ConfigError, "copies=0"),
        (["images=a"], ConfigError, "images=a"),
        (["picture=look.bmp"], ConfigError, r"picture=look\.bmp must end in \.png"),
        (["augmentation.skull.face=2"], ConfigError, r"skull\.face=2"),
        (
            ["seg_sources=[phantom_brats,lgg]"],
            ConfigError,
            r"seg_sources=\['phantom_brats', 'lgg'\]: .* no lgg",
        ),
        (["cls_sources=[kaggle]"], ConfigError, "Prepare it"),
        (["seg_sources=[]", "cls_sources=[]"], DataError, "holds no samples of"),
        (["data_dir=missing"], DataError, "missing"),
    ],
)
def test_what_cannot_be_drawn_is_named(
    overrides: list[str],
    error: type[Exception],
    says: str,
    phantom_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [f"data_dir={phantom_dir}", "picture=look.png", *overrides]
    with pytest.raises(error, match=says):
        augmented(compose("augmented", *given))
    assert not list(tmp_path.iterdir())
