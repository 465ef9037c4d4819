"""Tables that give a mask, a label or both: what is contradictory, and what decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from heads import save_brain, save_head
from PIL import Image
from processing import run

from brainmtl.data.manifest import read_manifest
from brainmtl.data.preparation.integrity import check_folder
from brainmtl.errors import DataError


def write_table(folder: Path, *rows: str) -> Path:
    (folder / "table.csv").write_text("\n".join(["image,mask,label", *rows]))
    return folder


def save_mask(folder: Path, pixels: int, shape: tuple[int, int] = (90, 80)) -> None:
    """A square of ``pixels`` along each side in the middle of ``m.png``."""
    mask = np.zeros(shape, np.uint8)
    rows, columns = (slice(size // 2, size // 2 + pixels) for size in shape)
    mask[rows, columns] = 255
    Image.fromarray(mask).save(folder / "m.png")


def test_label_1_with_an_empty_mask_is_refused(tmp_path: Path) -> None:
    save_brain(tmp_path, "v", lesion=0)
    save_head(tmp_path / "p.png")
    save_mask(tmp_path, 0)
    save_head(tmp_path / "fine.png", 1)
    volume, picture = "v/v_flair.nii.gz,v/v_seg.nii.gz", "p.png,m.png"
    raw = write_table(tmp_path, f"{volume},1", f"{picture},1", "fine.png,,1")
    report = run("table", raw, tmp_path / "out")
    reasons = {Path(problem.path).name: problem.reason for problem in report.problems}
    assert set(reasons) == {"v_flair.nii.gz", "p.png"} and report.samples == 1
    assert all(reason.startswith("label 1 (tumour), but its mask") for reason in reasons.values())
    raw = write_table(tmp_path, f"{volume},0", f"{picture},", "fine.png,,1")
    report = run("table", raw, tmp_path / "out")
    assert not report.problems and report.samples > 3
    assert set(read_manifest(tmp_path / "out")["site"]) == {""}


def test_sites_come_from_the_table(tmp_path: Path) -> None:
    save_brain(tmp_path, "v")
    save_head(tmp_path / "p.png")
    save_head(tmp_path / "q.png", 1)
    (tmp_path / "table.csv").write_text(
        "image,mask,label,site\nv/v_flair.nii.gz,v/v_seg.nii.gz,,Ward 7\np.png,,1,b\nq.png,,0,\n"
    )
    run("table", tmp_path, tmp_path / "out")
    frame = read_manifest(tmp_path / "out")
    found = frame.groupby("case_id", observed=True)["site"].agg(lambda s: set(s.astype(str)))
    assert found.to_dict() == {"p": {"b"}, "q": {""}, "v_v_flair": {"Ward-7"}}


@pytest.mark.parametrize("label", ["", "1"])
def test_a_tumour_too_small_to_be_seen_is_refused(tmp_path: Path, label: str) -> None:
    """Its prepared mask would be empty, and the picture one without tumour."""
    shape = (900, 800)
    save_head(tmp_path / "p.png", shape=shape)
    save_mask(tmp_path, 2, shape)
    raw = write_table(tmp_path, f"p.png,m.png,{label}")
    with pytest.raises(DataError, match=r"p\.png: its mask has 4 pixels, too few .*leave"):
        run("table", raw, tmp_path / "out")
    save_mask(tmp_path, 60, shape)
    run("table", raw, tmp_path / "out")
    (row,) = read_manifest(tmp_path / "out").itertuples()
    assert row.label == 1 and row.tumour_pixels >= 100


@pytest.mark.parametrize(("label", "expected"), [("", -1), ("1", 1)])
def test_of_a_picture_its_label_decides_before_its_mask(
    tmp_path: Path, label: str, expected: int
) -> None:
    """A mask of fewer than 100 prepared pixels alone would say neither tumour nor none."""
    save_head(tmp_path / "p.png")
    save_mask(tmp_path, 3)
    run("table", write_table(tmp_path, f"p.png,m.png,{label}"), tmp_path / "out")
    (row,) = read_manifest(tmp_path / "out").itertuples()
    assert 0 < row.tumour_pixels < 100 and row.label == expected


def test_the_mask_says_which_slices_of_a_labelled_volume_show_tumour(tmp_path: Path) -> None:
    save_brain(tmp_path, "v")
    found = []
    for label in ("", "1"):
        raw = write_table(tmp_path, f"v/v_flair.nii.gz,v/v_seg.nii.gz,{label}")
        run("table", raw, tmp_path / "out")
        found.append(read_manifest(tmp_path / "out").set_index("position")["label"])
        assert check_folder(tmp_path / "out", workers=1, progress=False) == []
    assert found[0].equals(found[1])
    assert {0, 1} <= set(found[1])


def test_a_picture_named_like_a_slice_has_an_id_of_its_own(tmp_path: Path) -> None:
    save_brain(tmp_path, "x")
    (tmp_path / "x/x_flair.nii.gz").rename(tmp_path / "x.nii.gz")
    for k, name in enumerate(("x_z004.png", "x_z005.png", "x_z005.jpg", "x_zoom.png")):
        save_head(tmp_path / name, k)
    pictures = ("x_z004.png,,0", "x_z005.png,,1", "x_z005.jpg,,0", "x_zoom.png,,1")
    raw = write_table(tmp_path, "x.nii.gz,x/x_seg.nii.gz,", *pictures)
    report = run("table", raw, tmp_path / "out")
    frame = read_manifest(tmp_path / "out")
    assert frame["image_id"].is_unique and len(frame) == report.samples
    ids = set(frame[frame["kind"] == "image"]["image_id"])
    assert ids == {"x_z004-png", "x_z005-png", "x_z005-jpg", "x_zoom"}
    assert {"x_z004", "x_z005"} < set(frame[frame["kind"] == "volume"]["image_id"])
    assert check_folder(tmp_path / "out", workers=1, progress=False) == []


def test_blanks_at_the_end_of_a_name_do_not_hide_what_it_is_like(tmp_path: Path) -> None:
    save_brain(tmp_path, "x")
    (tmp_path / "x/x_flair.nii.gz").rename(tmp_path / "x.nii.gz")
    save_head(tmp_path / "x_z004 .png", 1)
    raw = write_table(tmp_path, "x.nii.gz,x/x_seg.nii.gz,", "x_z004 .png,,0")
    run("table", raw, tmp_path / "out")
    assert read_manifest(tmp_path / "out")["image_id"].is_unique
