"""A folder that is prepared once more: what is redone, what is left, and what goes."""

from __future__ import annotations

import json
from pathlib import Path

from heads import save_brain, save_head, save_heads
from processing import run

from brainmtl.data.manifest import read_manifest
from brainmtl.data.preparation.assembly import SplitOptions
from brainmtl.data.preparation.integrity import check_folder
from brainmtl.data.samples import SAMPLE_FORMAT, read_sample


def stamps(folder: Path) -> dict[str, int]:
    return {
        str(p.relative_to(folder)): p.stat().st_mtime_ns
        for p in folder.rglob("*")
        if p.is_file() and p.suffix in (".npz", ".json") and p.name != "summary.json"
    }


def test_second_run_redoes_nothing(tmp_path: Path) -> None:
    save_heads(tmp_path / "raw", 6)
    first = run("kaggle", tmp_path / "raw", tmp_path / "out")
    before, manifest = stamps(tmp_path / "out"), (tmp_path / "out/manifest.csv").read_bytes()
    second = run("kaggle", tmp_path / "raw", tmp_path / "out")
    assert (first.prepared, first.reused) == (6, 0) and (second.prepared, second.reused) == (0, 6)
    assert stamps(tmp_path / "out") == before
    assert (tmp_path / "out/manifest.csv").read_bytes() == manifest


def test_other_splits_move_samples_without_preparing_them(tmp_path: Path) -> None:
    save_heads(tmp_path / "raw", 6)
    run("kaggle", tmp_path / "raw", tmp_path / "out")
    report = run("kaggle", tmp_path / "raw", tmp_path / "out", split=SplitOptions("all_test"))
    assert report.reused == 6 and not list((tmp_path / "out/kaggle/train").iterdir())
    assert len(list((tmp_path / "out/kaggle/test").iterdir())) == 6
    assert check_folder(tmp_path / "out", workers=1, progress=False) == []


def test_what_an_earlier_format_of_samples_wrote_is_prepared_again(tmp_path: Path) -> None:
    save_heads(tmp_path / "raw", 6)
    run("kaggle", tmp_path / "raw", tmp_path / "out")
    for path in sorted((tmp_path / "out/kaggle/cases").iterdir())[:2]:
        ledger = json.loads(path.read_text(encoding="utf-8"))
        assert ledger["fingerprint"].pop("sample_format") == SAMPLE_FORMAT
        path.write_text(json.dumps(ledger), encoding="utf-8")
    report = run("kaggle", tmp_path / "raw", tmp_path / "out")
    assert (report.prepared, report.reused) == (2, 4)


def test_changed_files_are_prepared_again_and_leave_nothing_old(tmp_path: Path) -> None:
    for k in range(2):
        save_brain(tmp_path / "raw", f"b{k}", k)
    run("brats", tmp_path / "raw", tmp_path / "out")
    before = read_manifest(tmp_path / "out").set_index("image_id")
    save_brain(tmp_path / "raw", "b1", 7, shape=(60, 48, 7))  # fewer slices than before
    report = run("brats", tmp_path / "raw", tmp_path / "out")
    assert (report.prepared, report.reused) == (1, 1)
    after = read_manifest(tmp_path / "out").set_index("image_id")
    assert "b1_z008" in before.index and "b1_z008" not in after.index
    assert (after.loc["b1_z003", "sample_sha256"]) != before.loc["b1_z003", "sample_sha256"]
    assert (after.loc["b0_z003", "sample_sha256"]) == before.loc["b0_z003", "sample_sha256"]
    assert check_folder(tmp_path / "out", workers=1, progress=False) == []


def test_another_picture_of_the_same_name_and_size_is_noticed(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    files = [save_head(raw / ("yes" if k % 2 else "no") / f"h{k}.tif", k) for k in range(4)]
    run("kaggle", raw, out)
    before, size = read_manifest(out).set_index("image_id"), files[1].stat().st_size
    save_head(files[1], 9)
    assert files[1].stat().st_size == size
    report = run("kaggle", raw, out)
    assert (report.prepared, report.reused) == (1, 3)
    after = read_manifest(out).set_index("image_id")
    changed = before["sample_sha256"] != after["sample_sha256"].reindex(before.index)
    assert list(before.index[changed]) == ["yes_h1"]


def test_corrected_labels_and_patients_of_the_same_files_are_prepared_again(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    for k in range(4):
        save_head(raw / f"{k}.png", k)
    for lines, prepared in (("0,a 1,b 0,c 1,d", 4), ("0,a 0,b 0,d 1,d", 2)):
        told = [line.split(",") for line in lines.split()]
        rows = [f"{k}.png,{label},{group}" for k, (label, group) in enumerate(told)]
        (raw / "table.csv").write_text("\n".join(["image,label,group", *rows]))
        assert run("table", raw, out).prepared == prepared
        frame = read_manifest(out).sort_values("image_id").astype({"group": str})
        assert frame[["label", "group"]].values.tolist() == [[int(y), g] for y, g in told]
        assert [read_sample(out / path).label for path in frame["path"]] == [
            int(y) for y, _ in told
        ]
        assert check_folder(out, workers=1, progress=False) == []


def test_what_was_deleted_is_prepared_again(tmp_path: Path) -> None:
    for k in range(3):
        save_brain(tmp_path / "raw", f"b{k}", k)
    run("brats", tmp_path / "raw", tmp_path / "out")
    (tmp_path / "out/brats/train/b1_z004.npz").unlink()
    (tmp_path / "out/brats/references/b2.npz").unlink()
    report = run("brats", tmp_path / "raw", tmp_path / "out")
    assert (report.prepared, report.reused) == (2, 1)
    assert check_folder(tmp_path / "out", workers=1, progress=False) == []


def test_vanished_cases_are_removed(tmp_path: Path) -> None:
    save_heads(tmp_path / "raw", 6)
    run("kaggle", tmp_path / "raw", tmp_path / "out")
    (tmp_path / "raw" / "yes" / "h3.png").unlink()
    report = run("kaggle", tmp_path / "raw", tmp_path / "out")
    assert (report.removed, report.samples) == (1, 5)
    assert "yes_h3" not in set(read_manifest(tmp_path / "out")["image_id"])
    assert not list((tmp_path / "out").rglob("*yes_h3*"))


def test_a_case_that_breaks_later_leaves_the_folder(tmp_path: Path) -> None:
    save_heads(tmp_path / "raw", 4)
    run("kaggle", tmp_path / "raw", tmp_path / "out")
    (tmp_path / "raw" / "yes" / "h1.png").write_bytes(b"broken since")
    report = run("kaggle", tmp_path / "raw", tmp_path / "out")
    assert (report.samples, report.removed, len(report.problems)) == (3, 1, 1)
    assert check_folder(tmp_path / "out", workers=1, progress=False) == []
