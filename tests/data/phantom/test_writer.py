"""Raw folders: layout, affine, determinism, restarts and refusals."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from brainmtl.data.phantom import PhantomConfig, write_phantom
from brainmtl.data.phantom import writer as writer_module
from brainmtl.data.phantom.picture import main as draw_picture
from brainmtl.data.phantom.picture import widest_slice
from brainmtl.data.phantom.writer import is_healthy, subject_rng
from brainmtl.errors import ConfigError

SMALL = {"subjects": 2, "healthy_fraction": 0.5, "photos": 3, "seed": 4, "progress": False}


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    # gzip puts a time stamp in its header, so volumes are compared by content
    return {
        str(p.relative_to(folder)): hashlib.sha256(
            np.asarray(nib.load(p).dataobj).tobytes() if p.suffix == ".gz" else p.read_bytes()
        ).hexdigest()
        for p in files
    }


@pytest.fixture(scope="module")
def raw_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    write_phantom(folder, workers=1, **SMALL)
    return folder


def test_layout_is_that_of_the_published_sets(raw_dir: Path) -> None:
    names = sorted(str(p.relative_to(raw_dir)) for p in raw_dir.rglob("*") if p.is_file())
    assert names == [
        "brats/Phantom_0000/Phantom_0000_flair.nii.gz",
        "brats/Phantom_0000/Phantom_0000_seg.nii.gz",
        "brats/Phantom_0001/Phantom_0001_flair.nii.gz",
        "brats/Phantom_0001/Phantom_0001_seg.nii.gz",
        "kaggle/no/photo_0001.jpg",
        "kaggle/yes/photo_0000.jpg",
        "kaggle/yes/photo_0002.jpg",
        "phantom.json",
    ]
    flair = nib.load(raw_dir / names[0])
    mask = nib.load(raw_dir / names[1])
    assert nib.aff2axcodes(flair.affine) == ("L", "P", "S")
    assert flair.header.get_zooms() == (1.0, 1.0, 3.0)
    assert np.array_equal(flair.affine, mask.affine)
    assert (np.asarray(mask.dataobj) > 0).any()
    assert not (np.asarray(nib.load(raw_dir / names[3]).dataobj) > 0).any()  # healthy
    for name in names[4:7]:
        with Image.open(raw_dir / name) as image:
            assert image.format == "JPEG"
    assert json.loads((raw_dir / "phantom.json").read_text())["synthetic"] is True


def test_files_depend_on_seed_and_index_alone(raw_dir: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path / "more", workers=2, **{**SMALL, "photos": 4})
    same, more = hashes(raw_dir), hashes(tmp_path / "more")
    assert {k: v for k, v in same.items() if k != "phantom.json"}.items() <= more.items()
    other = {**SMALL, "seed": 5, "subjects": 0}
    write_phantom(tmp_path / "other", workers=1, **other)
    assert (
        hashes(tmp_path / "other")["kaggle/no/photo_0001.jpg"] != same["kaggle/no/photo_0001.jpg"]
    )


def test_restart_makes_only_what_is_missing(raw_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = hashes(raw_dir)
    stamps = {p: p.stat().st_mtime_ns for p in raw_dir.rglob("*.nii.gz")}
    victim = raw_dir / "kaggle" / "yes" / "photo_0002.jpg"
    victim.unlink()
    write_phantom(raw_dir, workers=1, **SMALL)
    assert hashes(raw_dir) == before
    assert {p: p.stat().st_mtime_ns for p in raw_dir.rglob("*.nii.gz")} == stamps

    def refuse(*_: object) -> None:
        raise AssertionError("nothing was missing")

    monkeypatch.setattr(writer_module, "render_photo", refuse)
    monkeypatch.setattr(writer_module, "render_volume", refuse)
    write_phantom(raw_dir, workers=1, **SMALL)


def test_interrupted_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        write_phantom(tmp_path, subjects=0, photos=1, workers=1, progress=False)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["phantom.json"]


def test_other_parameters_or_other_data_are_refused(raw_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another raw_dir"):
        write_phantom(raw_dir, **{**SMALL, "seed": 9})
    (tmp_path / "brats").mkdir()
    with pytest.raises(ConfigError, match="real data"):
        write_phantom(tmp_path, **SMALL)
    (raw_dir / "broken").mkdir()
    (raw_dir / "broken" / "phantom.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"phantom\.json"):
        write_phantom(raw_dir / "broken", **SMALL)


@pytest.mark.parametrize(
    "change",
    [{"subjects": -1}, {"subjects": 0, "photos": 0}, {"healthy_fraction": 1.5}, {"seed": -1}],
)
def test_impossible_parameters_are_refused(change: dict[str, float]) -> None:
    good = {"subjects": 2, "healthy_fraction": 0.5, "photos": 3, "seed": 4}
    assert PhantomConfig(**good).subjects == 2
    with pytest.raises(ConfigError, match=next(iter(change))):
        PhantomConfig(**{**good, **change})


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.33, 0.5, 1.0])
def test_healthy_fraction_is_met_and_spread(fraction: float) -> None:
    flags = [is_healthy(i, fraction) for i in range(100)]
    assert sum(flags) == pytest.approx(100 * fraction, abs=1)
    assert abs(sum(flags[:12]) - 12 * fraction) <= 1


def test_streams_of_subjects_are_independent() -> None:
    draws = {
        subject_rng(seed, stream, i).integers(1 << 60)
        for seed in (0, 1)
        for stream in (0, 1)
        for i in range(5)
    }
    assert len(draws) == 20


def test_picture_for_the_documentation(tmp_path: Path) -> None:
    labels = np.zeros((4, 4, 5))
    assert widest_slice(labels) == 2
    labels[1, 1, 4] = 4
    assert widest_slice(labels) == 4
    draw_picture(["--out", str(tmp_path / "phantom.png"), "--columns", "2"])
    with Image.open(tmp_path / "phantom.png") as image:
        assert image.width > 300
        assert np.asarray(image.convert("L")).std() > 20
