"""Inputs, options and places that predicting cannot use: a line or a sentence, and the other inputs go on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from test_dicom import AFFINE, small, write_series
from test_dicom_refusals import every
from test_predict_command import many, options, read_lines, run
from test_volume_limits import with_voxels

from brainmtl.errors import ConfigError
from brainmtl.inference.folder import find_items, predict_items
from brainmtl.inference.predictor import MultiTaskPredictor
from brainmtl.inference.results import VolumeResult
from brainmtl.predict import predict


def test_damaged_inputs_are_lines_and_no_tracebacks(tiny_dir: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    many(folder, 2)
    with_voxels(folder / "000 huge.nii", 1e6, 1, 1)
    with_voxels(folder / "whole.nii", 1, 1, 4)
    # It can be opened, by everybody, and its first byte cannot be read.
    (folder / "000 locked.nii").symlink_to("/proc/self/mem")
    write_series(folder / "000 series", small(), AFFINE, change=every(PixelSpacing=[1.0]))
    done = run(tmp_path, "brainmtl.predict", f"input={folder}", f"out_dir={out}",
               f"model_dir={tiny_dir}", "progress=false", "runtime=eager")  # fmt: skip
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert "6 inputs: 3 answered" in done.stdout
    lines = read_lines(out)
    found = {
        name: line["reason_code"] for name, line in lines.items() if line["status"] == "failed"
    }
    assert found == {
        "000 huge.nii": "unreadable",
        "000 locked.nii": "unreadable",
        "000 series": "not_a_volume",
    }
    assert "voxels are 1e+06" in lines["000 huge.nii"]["reason"]
    assert [lines[name]["status"] for name in ("0000.png", "0001.png", "whole.nii")] == ["ok"] * 3


class FailsAt(MultiTaskPredictor):
    """A predictor with a fault that one volume brings out."""

    name = "bad.nii"

    def predict_volume(self, path: str | Path, **options: Any) -> VolumeResult:
        if Path(path).name == self.name:
            raise ZeroDivisionError("a fault of ours")
        return super().predict_volume(path, **options)


def test_a_fault_of_ours_does_not_end_the_run(
    tiny_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    many(folder, 1)
    for name in (FailsAt.name, "good.nii"):
        with_voxels(folder / name, 1, 1, 4)
    items, _ = find_items(folder)
    assert [item.name for item in items] == ["0000.png", "bad.nii", "good.nii"]
    predictor = FailsAt.from_folder(tiny_dir, device="cpu", runtime="eager")
    lines = predict_items(predictor, items, out, progress=False)
    assert [line["status"] for line in lines] == ["ok", "failed", "ok"]
    line = read_lines(out)["bad.nii"]
    assert line["reason_code"] == "unreadable"
    assert "ZeroDivisionError: a fault of ours" in line["reason"]
    (record,) = [one for one in caplog.records if one.levelname == "WARNING" and one.exc_info]
    assert record.exc_info[0] is ZeroDivisionError and "bad.nii" in record.getMessage()


@pytest.mark.parametrize("value", [0, -3, "abc", 1.5, None])
def test_batch_sizes_that_cannot_work(value: object, tiny_dir: Path, tmp_path: Path) -> None:
    many(tmp_path / "in", 2)
    with pytest.raises(
        ConfigError, match=f"batch_size={value} must be (a whole number of )?at least 1"
    ):
        predict(options(tmp_path / "in", tmp_path / "out", tiny_dir, batch_size=value))
    assert not (tmp_path / "out/predictions.csv").exists()


@pytest.mark.parametrize("blocked", ["out", "out/predictions.csv"])
def test_places_that_cannot_be_written_are_one_line(
    blocked: str, tiny_dir: Path, tmp_path: Path
) -> None:
    """A file where the folder should be, and a folder where the table should be."""
    many(tmp_path / "in", 1)
    place = tmp_path / blocked
    if blocked == "out":
        place.write_text("mine")
    else:
        place.mkdir(parents=True)
    done = run(tmp_path, "brainmtl.predict", "input=in", "out_dir=out", f"model_dir={tiny_dir}",
               "progress=false", "runtime=eager")  # fmt: skip
    assert done.returncode == 1 and blocked in done.stderr
    assert done.stderr.startswith("error: ") and len(done.stderr.strip().splitlines()) == 1
    assert place.is_dir() or place.read_text() == "mine"


def test_a_name_that_is_not_utf_8(tiny_dir: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    many(folder, 1)
    (folder / "0000.png").rename(folder / os.fsdecode(b"M\xfcller.png"))
    (line,) = predict(options(folder, out, tiny_dir))
    assert line["status"] == "ok"
    assert list(read_lines(out)) == [r"M\udcfcller.png"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"number_format": "fp16"}, "number_format=fp16 is unknown: choose 32"),
        ({"number_format": "bf16", "runtime": "onnx"}, "use number_format=32 or int8"),
        ({"device": "tpu"}, "device=tpu: this torch has no such device"),
        ({"device": 0}, "device=0: this torch has no such device"),
    ],
)
def test_ways_of_computing_that_do_not_exist(
    changes: dict[str, Any], told: str, tiny_dir: Path, tmp_path: Path
) -> None:
    many(tmp_path / "in", 1)
    with pytest.raises(ConfigError, match=told):
        predict(options(tmp_path / "in", tmp_path / "out", tiny_dir, **changes))


def test_a_number_format_without_quotes(tiny_dir: Path, tmp_path: Path) -> None:
    many(tmp_path / "in", 1)
    (line,) = predict(options(tmp_path / "in", tmp_path / "out", tiny_dir, number_format=32))
    assert line["status"] == "ok"
