"""``brainmtl.check``: every kind of damage is found, all of it at once, and a sound folder passes."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from heads import save_brain, save_heads

from brainmtl.check import check
from brainmtl.data.assembly import SplitOptions
from brainmtl.data.integrity import check_folder
from brainmtl.data.manifest import read_manifest, write_manifest
from brainmtl.data.process import process_dataset
from brainmtl.data.samples import load_arrays
from brainmtl.data.sources import make_source
from brainmtl.errors import DataError
from brainmtl.files import sha256

SLICE = "brats/train/b0_z004.npz"
PICTURE = "kaggle/train/yes_h1.npz"


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


def rewrite(folder: Path, path: str = SLICE, **changes: np.ndarray | None) -> None:
    """Store other arrays in a sample and give the manifest its new hash: only the content is wrong."""
    arrays = load_arrays(folder / path) | changes
    np.savez_compressed(
        folder / path, **{key: value for key, value in arrays.items() if value is not None}
    )
    edit(folder, path, sample_sha256=sha256(folder / path))


def edit(folder: Path, sample: str = SLICE, /, **columns: object) -> None:
    frame = read_manifest(folder)
    frame = frame.astype({k: "object" for k in frame if str(frame[k].dtype) == "category"})
    rows = frame["path"] == sample
    for column, value in columns.items():
        frame.loc[rows, column] = value
    write_manifest(folder, frame)


def with_metadata(folder: Path, path: str = SLICE, **changes: object) -> None:
    metadata = json.loads(str(load_arrays(folder / path)["metadata"])) | changes
    rewrite(folder, path, metadata=np.array(json.dumps(metadata)))


def image(folder: Path, path: str = SLICE) -> np.ndarray:
    return load_arrays(folder / path)["image"].copy()


def put_nan(folder: Path) -> None:
    array = image(folder)
    array[0, 100, 100] = np.nan
    rewrite(folder, image=array)


def shift_mask_values(folder: Path) -> None:
    rewrite(folder, mask=2 * load_arrays(folder / SLICE)["mask"])


def drop_pixel(folder: Path) -> None:
    mask = load_arrays(folder / SLICE)["mask"].copy()
    mask[tuple(np.argwhere(mask)[0])] = 0
    rewrite(folder, mask=mask)


def flip_byte(folder: Path) -> None:
    data = bytearray((folder / SLICE).read_bytes())
    data[len(data) // 2] ^= 255
    (folder / SLICE).write_bytes(bytes(data))


def without_geometry(folder: Path) -> None:
    metadata = json.loads(str(load_arrays(folder / SLICE)["metadata"]))
    del metadata["geometry"]
    rewrite(folder, metadata=np.array(json.dumps(metadata)))


def picture_geometry(folder: Path) -> None:
    metadata = json.loads(str(load_arrays(folder / PICTURE)["metadata"]))
    with_metadata(folder, geometry=metadata["geometry"])


Damage = Callable[[Path], object]
DAMAGES: dict[str, tuple[Damage, str, str]] = {
    "missing": (lambda f: (f / SLICE).unlink(), SLICE, "missing: the manifest lists it"),
    "replaced": (lambda f: shutil.copy(f / PICTURE, f / SLICE), SLICE, "SHA-256"),
    "flipped byte": (flip_byte, SLICE, "cannot be read"),
    "cut off": (lambda f: (f / SLICE).write_bytes(b"PK"), SLICE, "cannot be read"),
    "no label": (lambda f: rewrite(f, label=None), SLICE, "lacks the arrays label"),
    "other label": (lambda f: rewrite(f, label=np.int8(0)), SLICE, "label 0 is not the manifest's 1"),
    "nan": (put_nan, SLICE, "NaN or infinite"),
    "dtype": (lambda f: rewrite(f, image=image(f).astype(np.float32)), SLICE, "image is float32"),
    "shape": (lambda f: rewrite(f, image=image(f)[:, :128]), SLICE, r"not float16 \(C, 256, 256\)"),
    "not z-scored": (lambda f: rewrite(f, image=image(f) + np.float16(0.5)), SLICE, "is no z-score"),
    "constant": (lambda f: rewrite(f, image=0 * image(f)), SLICE, "is no z-score"),
    "mask gone": (lambda f: rewrite(f, mask=None), SLICE, "mask missing, but .* has_mask=1"),
    "mask appeared": (
        lambda f: rewrite(f, PICTURE, mask=np.zeros((256, 256), np.uint8)),
        PICTURE,
        "mask present, but .* has_mask=0",
    ),
    "mask values": (shift_mask_values, SLICE, r"mask holds the values \[0, 2\]"),
    "mask dtype": (
        lambda f: rewrite(f, mask=load_arrays(f / SLICE)["mask"].astype(bool)),
        SLICE,
        "mask is bool",
    ),
    "mask pixels": (drop_pixel, SLICE, r"mask has \d+ pixels, the manifest says"),
    "metadata no json": (lambda f: rewrite(f, metadata=np.array("{")), SLICE, "cannot be read"),
    "metadata key": (without_geometry, SLICE, "metadata lacks geometry"),
    "version": (
        lambda f: with_metadata(f, preprocessing_version="0"),
        SLICE,
        "preprocessing version 0",
    ),
    "other id": (lambda f: with_metadata(f, image_id="x"), SLICE, "metadata: image_id is 'x'"),
    "other raw file": (lambda f: with_metadata(f, raw_sha256="0"), SLICE, "raw_sha256 is '0'"),
    "synthetic": (lambda f: with_metadata(f, synthetic=True), SLICE, "synthetic is True"),
    "geometry of a picture": (picture_geometry, SLICE, "geometry does not fit kind=volume"),
    "reference missing": (
        lambda f: (f / "brats/references/b0.npz").unlink(),
        "brats/references/b0.npz",
        "missing: the case has masks",
    ),
    "reference broken": (
        lambda f: (f / "brats/references/b0.npz").write_bytes(b"x"),
        "brats/references/b0.npz",
        "cannot be read",
    ),
    "reference shape": (
        lambda f: np.savez(f / "brats/references/b0.npz", mask=np.zeros((3, 3), np.uint8)),
        "brats/references/b0.npz",
        r"shape \(3, 3\), the case has \(60, 48, 10\)",
    ),
    "reference values": (
        lambda f: np.savez(f / "brats/references/b0.npz", mask=np.full((60, 48, 10), 4, np.uint8)),
        "brats/references/b0.npz",
        "up to 4, not 0 and 1",
    ),
    "extra sample": (
        lambda f: shutil.copy(f / SLICE, f / "brats/val/x.npz"),
        "brats/val/x.npz",
        "not in the manifest",
    ),
    "extra reference": (
        lambda f: shutil.copy(f / "brats/references/b0.npz", f / "brats/references/x.npz"),
        "brats/references/x.npz",
        "not in the manifest",
    ),
    "half a run": (
        lambda f: shutil.copy(f / SLICE, f / "brats/pending/b0_z004.npz"),
        "brats/pending/b0_z004.npz",
        "not in the manifest",
    ),
    "temporary file": (
        lambda f: (f / "kaggle/train/.tmp-1.npz").write_bytes(b""),
        "kaggle/train/.tmp-1.npz",
        "interrupted run",
    ),
    "summary": (lambda f: (f / "summary.json").unlink(), "summary.json", "cannot be read"),
    "counts": (
        lambda f: (f / "summary.json").write_text('{"sources": {"brats": {"samples": 1}}}'),
        "summary.json",
        "counts",
    ),
    "split": (lambda f: edit(f, split="valid"), SLICE, "none of train, val, test"),
    "path": (
        lambda f: (shutil.move(f / SLICE, f / "x.npz"), edit(f, path="x.npz")),
        "x.npz",
        "path is not",
    ),
    "listed twice": (
        lambda f: write_manifest(f, pd.concat([read_manifest(f)] * 2)),
        SLICE,
        "listed twice",
    ),
    "has_label": (lambda f: edit(f, has_label=0), SLICE, "has_label contradicts label"),
    "has_mask": (lambda f: edit(f, tumour_pixels=-1), SLICE, "tumour_pixels contradicts has_mask"),
    "label 0 with tumour": (lambda f: edit(f, label=0), SLICE, "label 0 with tumour"),
    "label without tumour": (lambda f: edit(f, tumour_pixels=0), SLICE, "its mask is empty"),
    "label value": (lambda f: edit(f, label=3), SLICE, "none of -1, 0, 1"),
    "kind": (lambda f: edit(f, kind="film"), SLICE, "neither volume nor image"),
    "duplicate_hash": (lambda f: edit(f, PICTURE, duplicate_hash=""), PICTURE, "without duplicate"),
}  # fmt: skip


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


def test_no_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.csv is missing"):
        check_folder(tmp_path)
