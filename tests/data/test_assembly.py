"""Groups, splits and folds over all sources of one prepared folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from heads import head_picture, save_brain, save_head, save_heads
from PIL import Image

from brainmtl.data.manifest import read_manifest
from brainmtl.data.preparation.assembly import SplitOptions
from brainmtl.data.preparation.consistency import check_leakage
from brainmtl.data.preparation.grouping import join_groups
from brainmtl.data.preparation.integrity import check_folder
from brainmtl.data.preparation.process import ProcessReport, process_dataset
from brainmtl.data.preparation.splits import assign_folds
from brainmtl.data.sources import make_source
from brainmtl.errors import ConfigError, DataError


def run(adapter: str, raw: Path, out: Path, name: str | None = None, **split) -> ProcessReport:
    source = make_source(adapter, name=name)
    return process_dataset(source, raw, out, split=SplitOptions(**split), workers=1, progress=False)


def copy_turned(path: Path, seed: int) -> None:
    """The picture of ``seed``, turned, mirrored, scaled and saved as JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.ascontiguousarray(np.rot90(head_picture(seed))[:, ::-1]))
    picture.resize((240, 270), Image.Resampling.BICUBIC).save(path, quality=92)


def manifest(folder: Path) -> pd.DataFrame:
    return read_manifest(folder).set_index(["source", "image_id"]).astype({"group": str})


def test_patients_are_never_divided(tmp_path: Path) -> None:
    for k in range(6):
        save_brain(tmp_path / "raw", f"Brats18_S_{k}", k)
    run("brats", tmp_path / "raw", tmp_path / "out", seed=3)
    frame = read_manifest(tmp_path / "out")
    assert frame.groupby("group", observed=True)["split"].nunique().max() == 1
    assert set(frame["split"]) == {"train", "val", "test"}
    assert check_folder(tmp_path / "out", workers=1, progress=False) == []


def test_a_patient_of_two_sources_stays_in_one_split(tmp_path: Path) -> None:
    for k in range(4):
        save_brain(tmp_path / "raw17", f"Brats17_S_{k}", k)
        save_brain(tmp_path / "raw18", f"Brats18_S_{k}", 10 + k)  # another release, same patients
    run("brats", tmp_path / "raw17", tmp_path / "out", "old", seed=1)
    run("brats", tmp_path / "raw18", tmp_path / "out", "new", mode="all_test")
    frame = read_manifest(tmp_path / "out")
    assert frame["source"].nunique() == 2 and frame["split"].nunique() == 3
    assert frame.groupby("group", observed=True)["split"].nunique().max() == 1


def test_copies_in_two_picture_sources_share_group_and_split(tmp_path: Path) -> None:
    save_heads(tmp_path / "first", 12)
    save_heads(tmp_path / "second", 8, first=20)
    for k in (1, 2, 3, 4):
        copy_turned(tmp_path / "second" / ("yes" if k % 2 else "no") / f"copy{k}.jpg", k)
    run("kaggle", tmp_path / "first", tmp_path / "out", "first", seed=2)
    run("kaggle", tmp_path / "second", tmp_path / "out", "second", mode="all_test")
    frame = manifest(tmp_path / "out")
    for k in (1, 2, 3, 4):
        label = "yes" if k % 2 else "no"
        original, copy = (
            frame.loc["first", f"{label}_h{k}"],
            frame.loc["second", f"{label}_copy{k}"],
        )
        assert (original["group"], original["split"]) == (copy["group"], copy["split"])
    others = frame.loc["second"].filter(like="_h2", axis=0)
    assert len(others) == 8 and (others["split"] == "test").all()
    assert check_leakage(read_manifest(tmp_path / "out")) == []


def test_same_file_name_of_another_picture_is_no_copy(tmp_path: Path) -> None:
    """Two public sets may both hold yes/Y1.jpg: an external test set must not follow the first."""
    save_heads(tmp_path / "first", 6)
    for k in range(6):
        save_head(tmp_path / "second" / ("yes" if k % 2 else "no") / f"h{k}.png", 50 + k)
    run("kaggle", tmp_path / "first", tmp_path / "out", "first", mode="all_train")
    run("kaggle", tmp_path / "second", tmp_path / "out", "second", mode="all_test")
    frame = manifest(tmp_path / "out")
    assert (frame.loc["first", "split"] == "train").all()
    assert (frame.loc["second", "split"] == "test").all()
    assert not set(frame.loc["first", "group"]) & set(frame.loc["second", "group"])
    before = (tmp_path / "out/manifest.csv").read_bytes()
    run("kaggle", tmp_path / "first", tmp_path / "out", "first", mode="all_train")
    run("kaggle", tmp_path / "second", tmp_path / "out", "second", mode="all_test")
    assert (tmp_path / "out/manifest.csv").read_bytes() == before
    assert check_folder(tmp_path / "out", workers=1, progress=False) == []


def test_a_copy_of_pictures_in_two_splits_is_left_out_and_listed(tmp_path: Path) -> None:
    """Both earlier sources are laid apart by hand; then nothing can hold a copy of both."""
    save_heads(tmp_path / "a", 4)
    save_heads(tmp_path / "c", 4, first=20)
    run("kaggle", tmp_path / "a", tmp_path / "out", "a", mode="all_train")
    table = tmp_path / "b"
    save_head(table / "x.png", 40)
    save_head(table / "y.png", 41)
    (table / "t.csv").write_text("image,label,group\nx.png,1,p\ny.png,1,q\n")
    run("table", table, tmp_path / "out", "b", mode="all_test")
    # One patient of the third source has a copy of a training and of a test picture.
    copy_turned(tmp_path / "c" / "one.jpg", 1)
    copy_turned(tmp_path / "c" / "two.jpg", 40)
    save_head(tmp_path / "c" / "fine.png", 42)
    (tmp_path / "c" / "t.csv").write_text(
        "image,label,group\none.jpg,1,z\ntwo.jpg,1,z\nfine.png,1,w\n"
    )
    for _ in range(2):  # also when repeated: left out, listed, and not prepared anew
        report = run("table", tmp_path / "c", tmp_path / "out", "c", mode="all_val")
        assert {problem.path for problem in report.problems} == {"one", "two"}
        assert all("two splits" in problem.reason for problem in report.problems)
        assert report.samples == 1
    assert report.reused == 3
    frame = read_manifest(tmp_path / "out")
    assert set(frame[frame["source"] == "c"]["image_id"]) == {"fine"}
    assert check_folder(tmp_path / "out", workers=1, progress=False) == []
    (tmp_path / "c" / "fine.png").unlink()
    (tmp_path / "c" / "t.csv").write_text("image,label,group\none.jpg,1,z\ntwo.jpg,1,z\n")
    with pytest.raises(DataError, match="out_dir of its own"):
        run("table", tmp_path / "c", tmp_path / "out", "c", mode="all_val")


def test_pictures_with_masks_that_are_left_out_leave_a_clean_folder(tmp_path: Path) -> None:
    save_heads(tmp_path / "a", 4)
    run("kaggle", tmp_path / "a", tmp_path / "out", "a", mode="all_train")
    save_heads(tmp_path / "b", 4, first=10)
    run("kaggle", tmp_path / "b", tmp_path / "out", "b", mode="all_test")
    raw = tmp_path / "c"
    rows = ["image,mask,group"]
    for name, patient in (("one.jpg", "z"), ("two.jpg", "z"), ("fine.jpg", "w")):
        copy_turned(raw / name, {"one.jpg": 1, "two.jpg": 11, "fine.jpg": 30}[name])
        mask = np.zeros(Image.open(raw / name).size[::-1], np.uint8)
        mask[100:140, 90:140] = 255
        Image.fromarray(mask).save(raw / f"{name[:-4]}_mask.png")
        rows.append(f"{name},{name[:-4]}_mask.png,{patient}")
    (raw / "t.csv").write_text("\n".join(rows))
    report = run("table", raw, tmp_path / "out", "c", mode="all_val")
    assert {problem.path for problem in report.problems} == {"one", "two"}
    assert (tmp_path / "out/c/references/one.npz").is_file()
    assert check_folder(tmp_path / "out", workers=1, progress=False) == []
    (tmp_path / "out/c/references/stray.npz").write_bytes(b"")
    (found,) = check_folder(tmp_path / "out", workers=1, progress=False)
    assert found.path == "c/references/stray.npz"


def test_joining_is_transitive_over_patients_and_copies(tmp_path: Path) -> None:
    """p1 and p2 share a picture, p2 and p3 another: all pictures of the three belong together."""
    rows = ["image,label,group"]
    for patient, pictures in {"p1": (1, 2), "p2": (3,), "p3": (4, 5), "p4": (6,)}.items():
        for k in pictures:
            save_head(tmp_path / "raw" / f"{k}.png", k)
            rows.append(f"{k}.png,1,{patient}")
    copy_turned(tmp_path / "raw" / "c2.jpg", 2)
    copy_turned(tmp_path / "raw" / "c4.jpg", 4)
    rows += ["c2.jpg,1,p2", "c4.jpg,1,p2"]
    (tmp_path / "raw" / "t.csv").write_text("\n".join(rows))
    run("table", tmp_path / "raw", tmp_path / "out", mode="all_train")
    groups = read_manifest(tmp_path / "out").set_index("image_id")["group"].astype(str)
    assert len({groups[k] for k in ("1", "2", "3", "4", "5", "c2", "c4")}) == 1
    assert groups["6"] == "p4"


def test_group_names_follow_the_sources_that_were_there_first() -> None:
    columns = ("anonymous", "group", "raw_sha256", "duplicate_hash", "split", "source", "fold")
    others = pd.DataFrame([(False, "P1", "a", "", "val", "old", -1)], columns=columns)
    rows = [
        (False, "P1", "x", "", "", "new", -1),
        (True, "P1", "z", "", "", "new", -1),
        (False, "P2", "y", "", "", "new", -1),
    ]
    joined = join_groups("new", pd.DataFrame(rows, columns=columns), others)
    # The nameless picture P1 is nobody's patient; the volume of patient P1 is.
    assert joined.groups == ["P1", "new:P1", "P2"] and joined.conflicts == set()


def test_folds_keep_patients_and_copies_together(tmp_path: Path) -> None:
    save_heads(tmp_path / "first", 12)
    save_heads(tmp_path / "second", 6, first=20)
    for k in (1, 2, 3):
        copy_turned(tmp_path / "second" / ("yes" if k % 2 else "no") / f"copy{k}.jpg", k)
    run("kaggle", tmp_path / "first", tmp_path / "out", "first", folds=3)
    run("kaggle", tmp_path / "second", tmp_path / "out", "second", folds=3)
    frame = manifest(tmp_path / "out")
    assert sorted(frame.loc["first", "fold"].value_counts()) == [4, 4, 4]
    for k in (1, 2, 3):
        label = "yes" if k % 2 else "no"
        assert (
            frame.loc["first", f"{label}_h{k}"]["fold"]
            == frame.loc["second", f"{label}_copy{k}"]["fold"]
        )
    assert check_leakage(read_manifest(tmp_path / "out")) == []
    run("kaggle", tmp_path / "second", tmp_path / "out", "second")
    assert (manifest(tmp_path / "out").loc["second", "fold"] == -1).all()


def test_folds_pinned_elsewhere_must_exist_here() -> None:
    groups, labels = list("abcdef"), [1, 0] * 3
    assert assign_folds(groups, labels, 3, pinned={"a": 2, "x": 0})["a"] == 2
    with pytest.raises(ConfigError, match=r"the same split\.folds"):
        assign_folds(groups, labels, 2, pinned={"a": 2})


def test_copies_of_pictures_in_two_folds_are_left_out(tmp_path: Path) -> None:
    """One patient of a later source holds copies of two pictures: wherever it goes, one fold leaks."""
    save_heads(tmp_path / "first", 8)
    run("kaggle", tmp_path / "first", tmp_path / "out", "first", folds=4, mode="all_train")
    folds = manifest(tmp_path / "out").loc["first", "fold"]
    one, other = folds.index[0], next(i for i in folds.index if folds[i] != folds.iloc[0])
    save_heads(tmp_path / "second", 6, first=20)
    rows = ["image,label,group"]
    for k, image_id in enumerate((one, other)):
        copy_turned(tmp_path / "second/yes" / f"copy{k}.jpg", int(image_id.split("_h")[1]))
        rows.append(f"yes/copy{k}.jpg,1,P")
    pictures = sorted((tmp_path / "second").rglob("*h*.png"))
    rows += [
        f"{p.relative_to(tmp_path / 'second')},{int(p.parent.name == 'yes')}," for p in pictures
    ]
    (tmp_path / "second/table.csv").write_text("\n".join(rows))
    report = run("table", tmp_path / "second", tmp_path / "out", "second", folds=4)
    reasons = {p.path: p.reason for p in report.problems}
    assert len(reasons) == 2 and all("in two folds of other sources" in r for r in reasons.values())
    assert len(manifest(tmp_path / "out").loc["second"]) == 6
    assert check_leakage(read_manifest(tmp_path / "out")) == []
    without = run("table", tmp_path / "second", tmp_path / "out", "second")  # no folds, no leak
    assert without.problems == []


def test_sources_that_share_groups_need_the_same_number_of_folds(tmp_path: Path) -> None:
    for k in range(6):
        save_brain(tmp_path / "raw", f"Brats18_S_{k}", k)
    run("brats", tmp_path / "raw", tmp_path / "out", "one", folds=3)
    with pytest.raises(ConfigError, match=r"split\.folds=5, but one, .* has 3"):
        run("brats", tmp_path / "raw", tmp_path / "out", "other", folds=5)


def test_fewer_patients_than_splits_names_the_remedy(tmp_path: Path) -> None:
    save_brain(tmp_path / "raw", "a")
    with pytest.raises(DataError, match="split=all_test"):
        run("brats", tmp_path / "raw", tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.csv").exists()
    run("brats", tmp_path / "raw", tmp_path / "out", mode="all_test")
    assert set(read_manifest(tmp_path / "out")["split"]) == {"test"}
