"""Which pictures and cases are of one patient, whatever their files are called."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from heads import save_brain, save_head
from processing import run

from brainmtl.data.manifest import read_manifest
from brainmtl.data.preparation.assembly import SplitOptions
from brainmtl.data.preparation.consistency import check_leakage
from brainmtl.data.preparation.grouping import join_groups
from brainmtl.data.preparation.integrity import check_folder

PATIENTS = 4


def write_table(folder: Path, pictures: dict[str, str], first: int = 0) -> Path:
    """A table of different heads: {name of the picture: group}."""
    for k, name in enumerate(pictures):
        save_head(folder / f"{name}.png", first + k)
    rows = [f"{name}.png,{k % 2},{group}" for k, (name, group) in enumerate(pictures.items())]
    (folder / "table.csv").write_text("\n".join(["image,label,group", *rows]))
    return folder


def manifest(folder: Path) -> pd.DataFrame:
    """With the patient whom the name of each picture tells."""
    frame = read_manifest(folder).astype({"group": str, "split": str, "source": str})
    return frame.assign(patient=frame["image_id"].str.split("_").str[0]).set_index("image_id")


def test_a_picture_named_like_its_patient_is_the_patients(tmp_path: Path) -> None:
    patients = [f"P{k}" for k in range(PATIENTS)]
    first = {f"{p}_{k}": p for p in patients for k in range(2)}
    second = {name: p for p in patients for name in (p, f"{p}_later")}
    run("table", write_table(tmp_path / "a", first), tmp_path / "out", name="a")
    raw = write_table(tmp_path / "b", second, first=20)
    run("table", raw, tmp_path / "out", name="b", split=SplitOptions("all_test"))
    frame = manifest(tmp_path / "out")
    assert len(frame) == 4 * PATIENTS
    assert (frame["group"] == frame["patient"]).all()
    assert set(frame["split"]) == {"train"}  # where the first table put its patients
    assert check_leakage(read_manifest(tmp_path / "out")) == []


def test_patients_who_share_a_picture_share_a_group(tmp_path: Path) -> None:
    names = {f"P0{k}{ending}": f"P0{k}" for k in range(4) for ending in ("", "_later")}
    raw = write_table(tmp_path / "raw", names)
    shutil.copy(raw / "P01.png", raw / "P00.png")
    run("table", raw, tmp_path / "out")
    groups = manifest(tmp_path / "out")["group"]
    assert len({groups[name] for name in ("P00", "P00_later", "P01", "P01_later")}) == 1
    assert groups["P02"] == groups["P02_later"] == "P02"
    assert groups["P03"] == groups["P03_later"] == "P03"


def test_a_table_picture_without_group_is_nobodys(tmp_path: Path) -> None:
    """Its name is that of a patient, and of a picture of another table, who are others."""
    run("table", write_table(tmp_path / "a", {"P0": "", "P1": "P1"}), tmp_path / "out", name="a")
    second = write_table(tmp_path / "b", {"P0": "", "P1": "", "P1_0": "P1"}, first=20)
    run("table", second, tmp_path / "out", name="b", split=SplitOptions("all_test"))
    frame = manifest(tmp_path / "out").reset_index().set_index(["source", "image_id"])
    assert frame["group"].to_dict() == {
        ("a", "P0"): "P0",
        ("a", "P1"): "P1",
        ("b", "P0"): "b:P0",
        ("b", "P1"): "b:P1",
        ("b", "P1_0"): "P1",
    }
    assert set(frame.loc[[("b", "P0"), ("b", "P1")], "split"]) == {"test"}


def copy_case(folder: Path, case: str, to: Path, name: str) -> None:
    """The same bytes under another name."""
    for path in (folder / case).iterdir():
        target = to / name / path.name.replace(case, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


@pytest.mark.parametrize("sources", [("brats", "brats"), ("old", "new")])
def test_a_copied_volume_goes_where_the_original_is(
    tmp_path: Path, sources: tuple[str, str]
) -> None:
    own, other = (tmp_path / name for name in sources)
    for k in range(6):
        save_brain(own if k < 3 else other, f"c{k}", k)
    copy_case(own, "c2", other, "again")
    for name, raw in {sources[0]: own, sources[1]: other}.items():
        run("brats", raw, tmp_path / "out", name=name, split=SplitOptions(folds=3, seed=1))
    frame = read_manifest(tmp_path / "out")
    copies = frame[frame["case_id"].isin(["c2", "again"])]
    assert copies["case_id"].nunique() == 2
    for column in ("group", "split", "fold"):
        assert copies[column].nunique() == 1
    assert frame["group"].nunique() == 6
    assert check_folder(tmp_path / "out", workers=1, progress=False) == []


def test_what_was_prepared_before_anonymous_was_said(tmp_path: Path) -> None:
    """Of old ledgers only those are prepared again that took a patient's picture for nobody's."""
    raw = write_table(tmp_path / "raw", {"P0": "P0", "P0_later": "P0", "P1": "", "P2_0": "P2"})
    run("table", raw, tmp_path / "out")
    before = (tmp_path / "out/manifest.csv").read_bytes()
    for path in (tmp_path / "out/table/cases").iterdir():
        ledger = json.loads(path.read_text())
        del ledger["anonymous"]
        ledger["fingerprint"].pop("anonymous", None)
        path.write_text(json.dumps(ledger))
    report = run("table", raw, tmp_path / "out")
    assert (report.prepared, report.reused) == (1, 3)
    assert (tmp_path / "out/manifest.csv").read_bytes() == before


def test_only_folds_of_sources_that_have_some_contradict_each_other() -> None:
    """P1 is also in a source without folds; P2 trains in every fold of the other, P3 in all but one."""
    columns = ("group", "raw_sha256", "split", "source", "fold")
    known = [
        ("P1", "a", "train", "plain", -1),
        ("P1", "b", "train", "folded", 2),
        ("P2", "c", "train", "folded", -1),
        ("P3", "d", "train", "folded", 0),
    ]
    rows = [("P1", "x", "", "new", -1), ("Q", "c", "", "new", -1), ("Q", "d", "", "new", -1)]
    others, frame = (
        pd.DataFrame(part, columns=columns).assign(anonymous=False, duplicate_hash="")
        for part in (known, rows)
    )
    joined = join_groups("new", frame, others)
    assert joined.groups == ["P1", "P2", "P2"]
    assert (joined.conflicts, joined.fold_conflicts) == (set(), {"P2"})
