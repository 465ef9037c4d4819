"""``brainmtl.check``: every kind of damage is found, all of it at once, and a sound folder passes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from damaged import DAMAGES, PICTURE, SLICE, edit, put_nan
from heads import save_brain, save_heads

from brainmtl.check import check
from brainmtl.data.manifest import read_manifest, write_manifest
from brainmtl.data.preparation.assembly import SplitOptions
from brainmtl.data.preparation.integrity import check_folder
from brainmtl.data.preparation.process import process_dataset
from brainmtl.data.sources import make_source
from brainmtl.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two volumes (b0 train, b1 test) and six pictures, all prepared by the real pipeline."""
    folder = tmp_path_factory.mktemp("sound")
    for k in range(2):
        save_brain(folder / "brats", f"b{k}", k)
    save_heads(folder / "kaggle", 6)
    split = SplitOptions("all_test", train_groups=("b0",))
    for name in ("brats", "kaggle"):
        process_dataset(
            make_source(name),
            folder / name,
            folder / "out",
            split=split if name == "brats" else SplitOptions("all_train"),
            workers=1,
            progress=False,
        )
    return folder / "out"


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "out"))


def findings(folder: Path) -> dict[str, list[str]]:
    """Problems by path."""
    result: dict[str, list[str]] = {}
    for finding in check_folder(folder, workers=1, progress=False):
        result.setdefault(finding.path, []).append(finding.problem)
    return result


def all_problems(folder: Path) -> list[str]:
    return [problem for problems in findings(folder).values() for problem in problems]


def test_a_sound_folder_has_no_findings(sound: Path) -> None:
    assert findings(sound) == {}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_found_in_its_file(folder: Path, kind: str) -> None:
    damage, path, expected = DAMAGES[kind]
    damage(folder)
    found = findings(folder)
    assert path in found, found
    assert any(re.search(expected, problem) for problem in found[path]), found[path]
    if kind not in ("path", "split", "listed twice", "kind"):  # these touch what files are found by
        assert set(found) == {path}


def leak(folder: Path, move: str, to: str) -> None:
    """Put one sample into another split, file and manifest alike: only the leak is wrong."""
    target = "/".join((move.split("/")[0], to, move.split("/")[2]))
    (folder / move).rename(folder / target)
    edit(folder, move, split=to, path=target)


def test_patient_in_two_splits(folder: Path) -> None:
    leak(folder, SLICE, "val")
    problems = all_problems(folder)
    for what in ("group b0", "case brats/b0", "raw file "):
        assert any(f"leak: {what}" in p and "splits train, val" in p for p in problems), problems


def test_raw_file_under_two_names(folder: Path) -> None:
    """The same volume under two case ids and patients: no group tells, its content does."""
    frame = read_manifest(folder)
    digest = str(frame.loc[frame["case_id"] == "b0", "raw_sha256"].iloc[0])
    for path in frame.loc[frame["case_id"] == "b1", "path"]:
        edit(folder, str(path), raw_sha256=digest)
    assert any("leak: raw file" in p for p in all_problems(folder))


def test_a_picture_in_both_label_folders(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    save_heads(raw, 6)
    shutil.copy(raw / "yes" / "h1.png", raw / "no" / "other.png")
    shutil.copy(raw / "yes" / "h3.png", raw / "yes" / "again.png")
    split = SplitOptions("all_train")
    process_dataset(make_source("kaggle"), raw, out, split=split, workers=1, progress=False)
    found = findings(out)
    assert set(found) == {PICTURE, "kaggle/train/no_other.npz"}
    assert all("(raw_sha256) is labelled 0 in one file and 1" in p for [p] in found.values())


def test_near_duplicates_in_two_splits(folder: Path) -> None:
    """A copy of a training picture under another name, in its own group, in the test split."""
    frame = read_manifest(folder)
    digest = frame.set_index("path").loc[PICTURE, "duplicate_hash"]
    other = str(frame[(frame["source"] == "kaggle") & (frame["path"] != PICTURE)]["path"].iloc[0])
    changed = digest[:-4] + ("0" if digest[-4] != "0" else "1") + digest[-3:]
    edit(folder, other, duplicate_hash=changed)
    assert findings(folder) == {}  # copies within one split are no leak
    leak(folder, other, "test")
    problems = all_problems(folder)
    assert any("near-duplicate pictures lies in splits test, train" in p for p in problems)


def test_patient_in_two_folds(folder: Path) -> None:
    frame = read_manifest(folder)
    frame["fold"] = np.where(frame["source"] == "brats", frame["position"] % 2, -1)
    write_manifest(folder, frame)
    problems = all_problems(folder)
    assert any("leak: group b0 lies in folds 0, 1" in p for p in problems), problems


def test_everything_is_reported_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_nan(folder)
    (folder / PICTURE).unlink()
    (folder / "kaggle/train/.tmp-1.npz").write_bytes(b"")
    edit(folder, "brats/test/b1_z003.npz", has_label=0)
    options = {"data_dir": str(folder), "seg_sources": "auto", "cls_sources": "auto", "workers": 1}
    with pytest.raises(DataError, match=r"4 findings in 4 files"):
        check(options)
    printed = capsys.readouterr().out
    for path in (SLICE, PICTURE, "kaggle/train/.tmp-1.npz", "brats/test/b1_z003.npz"):
        assert f"{path}: " in printed
    assert "tumor_ratio" in printed  # the statistics come all the same


def test_check_prints_the_statistics(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"data_dir": str(sound), "seg_sources": "auto", "cls_sources": "auto", "workers": 2}
    statistics = check(options)
    printed = capsys.readouterr().out
    assert "26 samples, nothing wrong" in printed
    assert (statistics["brats_samples"], statistics["kaggle_samples"]) == (20, 6)
    assert statistics["tumor_ratio_per_source"]["kaggle"] == 0.5
    for word in ("total_samples", "brats_ratio", "kaggle_ratio", "tumor_ratio_per_source brats"):
        assert word in printed


def test_a_source_that_is_not_there_is_refused_before_anything_is_read(
    sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"data_dir": str(sound), "seg_sources": ["brats", "bratz"], "cls_sources": "auto"}
    with pytest.raises(
        ConfigError, match=r"seg_sources=.* holds no bratz; its sources are \['brats"
    ):
        check(options)
    assert capsys.readouterr().out == ""


def test_no_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.csv is missing"):
        check_folder(tmp_path)
