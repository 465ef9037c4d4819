"""Folders of DICOM files from the command line: which of them are one input."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
from pydicom.dataset import FileDataset
from test_dicom import AFFINE, small, write_series
from test_predict_command import options

from brainmtl.inference.folder import find_items
from brainmtl.predict import predict


def test_a_folder_of_dicom_files_is_one_input(tiny_dir: Path, tmp_path: Path) -> None:
    for name in ("series a", "series b"):
        write_series(tmp_path / "in" / name, small(), AFFINE)
    items, ignored = find_items(tmp_path / "in")
    assert [(item.name, item.kind, item.id) for item in items] == [
        ("series a", "dicom", "series-a"),
        ("series b", "dicom", "series-b"),
    ]
    assert ignored == 0
    lines = predict(options(tmp_path / "in", tmp_path / "out", tiny_dir))
    assert [line["status"] for line in lines] == ["ok", "ok"]
    assert nib.load(tmp_path / "out" / lines[0]["mask"]).shape == (40, 36, 5)
    (item,), _ = find_items(tmp_path / "in" / "series a")
    assert item.kind == "dicom" and item.id == "series-a"
    contents = (tmp_path / "in" / "series a").iterdir()
    (tmp_path / "in" / "DICOMDIR").write_bytes(next(contents).read_bytes())  # as every CD has it
    again, ignored = find_items(tmp_path / "in")
    assert again == items and ignored == 1


def test_every_series_of_a_folder_is_an_input(tiny_dir: Path, tmp_path: Path) -> None:
    """As archives export them: all files of a study in one folder, or one series below another."""
    study = write_series(tmp_path / "study", small(), AFFINE)

    def other(dataset: FileDataset, k: int) -> None:
        dataset.SeriesNumber, dataset.SeriesDescription = 7, "t1 post 1.5 mm"

    for name, below in (("b", study), ("c", study / "more")):
        below.mkdir(exist_ok=True)
        files = write_series(tmp_path / name, small()[:, :, :3], AFFINE, change=other)
        for file in files.iterdir():
            file.rename(below / f"{name}-{file.name}")
    items, ignored = find_items(study)
    names = ["more", "study (4: t2 flair)", "study (7: t1 post 1.5 mm)"]
    assert sorted(item.name for item in items) == names and not ignored
    assert len({item.id for item in items}) == 3
    lines = {line["file"]: line for line in predict(options(study, tmp_path / "out", tiny_dir))}
    assert [lines[name]["status"] for name in names] == ["ok"] * 3
    shapes = [nib.load(tmp_path / "out" / lines[name]["mask"]).shape for name in names]
    assert shapes == [(40, 36, 3), (40, 36, 5), (40, 36, 3)]
    (study / "cut off").write_bytes((study / "b-IM0000").read_bytes()[:140])
    lines = {line["file"]: line for line in predict(options(study, tmp_path / "out", tiny_dir))}
    reasons = [lines[name]["reason_code"] for name in names]
    assert reasons == [None, "truncated", "truncated"], "it may be a slice of either"
