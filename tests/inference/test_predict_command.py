"""``python -m brainmtl.predict`` and ``export`` as a person types them, and what a folder leaves."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from support import compose, run_python

from brainmtl.data.image_io import read_image
from brainmtl.errors import ConfigError, DataError
from brainmtl.inference.folder import COLUMNS, find_items
from brainmtl.inference.overlay import CONTOUR, contour_overlay, heat_overlay
from brainmtl.inference.predictor import MultiTaskPredictor
from brainmtl.inference.results import DISCLAIMER
from brainmtl.predict import predict


def run(cwd: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_python(["-m", *arguments], cwd, timeout=500, **environment)


def read_lines(out_dir: Path) -> dict[str, dict[str, str]]:
    with open(out_dir / "predictions.csv", newline="", encoding="utf-8") as stream:
        return {line["file"]: line for line in csv.DictReader(stream)}


def options(source: Path, out_dir: Path, model_dir: Path, **changes: Any) -> dict[str, Any]:
    """The options of the command, with ``changes``."""
    return compose("predict", f"input={source}", f"out_dir={out_dir}", f"model_dir={model_dir}") | {
        "progress": False,
        "device": "cpu",
        **changes,
    }


@pytest.fixture(scope="module")
def mixed(raw_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as people have them: photographs, a volume, a series, rubbish, names that clash."""
    folder = tmp_path_factory.mktemp("mixed")
    photos = sorted(path for path in raw_dir.glob("kaggle/*/*") if path.suffix == ".jpg")
    (folder / "ward 1").mkdir()
    for k, path in enumerate(photos[:5]):
        shutil.copy(path, folder / "ward 1" / f"scan {k}.jpg")
    Image.fromarray(read_image(photos[0]).astype(np.uint8)).save(folder / "ward 1" / "scan 0.png")
    (folder / "cut.jpg").write_bytes(photos[0].read_bytes()[:2000])
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("no picture")
    Image.fromarray(np.tile(np.arange(256) // 8 % 2 * 255, (256, 1)).astype(np.uint8)).save(
        folder / "stripes.png"
    )
    shutil.copy(next(raw_dir.glob("brats/*/*flair*")), folder / "volume.nii.gz")
    (folder / "broken.nii").write_bytes(b"no volume")
    (folder / "notes.txt").write_text("left out")
    (folder / ".hidden.png").write_text("left out")
    return folder


def test_a_mixed_folder_from_the_command_line(mixed: Path, model_dir: Path, tmp_path: Path) -> None:
    here, out = tmp_path / "here", tmp_path / "out"
    here.mkdir()
    done = run(
        here, "brainmtl.predict", f"input={mixed}", f"out_dir={out}", "gradcam=true", "seg_gate=0",
        BRAINMTL_MODEL_DIR=str(model_dir),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not list(here.iterdir())
    assert "12 inputs: 7 answered" in done.stdout and DISCLAIMER in done.stdout
    assert "1 abstained: out_of_distribution 1" in done.stdout
    assert "4 failed: " in done.stdout and "left out: 1 file of other kinds" in done.stdout
    lines = read_lines(out)
    assert len(lines) == 12 and list(next(iter(lines.values()))) == list(COLUMNS)
    statuses = {name: line["status"] for name, line in lines.items()}
    assert {name for name, status in statuses.items() if status == "failed"} == {
        "cut.jpg",
        "empty.png",
        "text.png",
        "broken.nii",
    }
    assert statuses["stripes.png"] == "abstained"
    assert lines["cut.jpg"]["reason_code"] == "truncated" and lines["cut.jpg"]["reason"]
    assert lines["stripes.png"]["probability"] == lines["stripes.png"]["mask"] == ""
    names = [line["mask"] for line in lines.values() if line["mask"]]
    assert len(names) == len(set(names)) == 7, "scan 0.jpg and scan 0.png must not share a mask"


def test_files_are_those_of_the_predictor(
    mixed: Path, model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = predict(options(mixed, tmp_path, model_dir, gradcam=True, seg_gate=0.0))
    assert "results:" in capsys.readouterr().out
    predictor = MultiTaskPredictor.from_folder(model_dir, device="cpu")
    pictures = [line for line in lines if line["kind"] == "image" and line["status"] == "ok"]
    assert len(pictures) == 6
    for line in pictures:
        path = mixed / line["file"]
        expected = predictor.predict_image(path, include_gradcam=True, seg_gate=0.0)
        assert line["probability"] == pytest.approx(expected.probability, abs=1e-5)
        assert line["label"] == expected.label and line["band"] == expected.band["name"]
        mask = np.asarray(Image.open(tmp_path / line["mask"]))
        assert mask.shape == expected.original_size and set(np.unique(mask)) <= {0, 255}
        assert (mask / 255 != expected.segmentation.mask).mean() < 1e-3
        assert line["area_px"] == (mask > 0).sum()
        for column in ("overlay", "gradcam"):
            shown = np.asarray(Image.open(tmp_path / line[column]))
            assert shown.shape == (*expected.original_size, 3)
    (volume,) = [line for line in lines if line["kind"] == "volume" and line["status"] == "ok"]
    expected = predictor.predict_volume(mixed / volume["file"], seg_gate=0.0)
    stored = nib.load(tmp_path / volume["mask"])
    np.testing.assert_array_equal(np.asarray(stored.dataobj), expected.mask)
    np.testing.assert_allclose(stored.affine, expected.affine)
    assert volume["volume_ml"] == pytest.approx(expected.volume_ml)
    about = json.loads((tmp_path / "run.json").read_text())
    assert about["model"]["weights_sha256"] == predictor.info.weights_sha256
    assert about["thresholds"]["seg_gate"] == 0.0 and about["disclaimer"] == DISCLAIMER


def test_only_what_was_asked_for_and_made_is_written(
    mixed: Path, model_dir: Path, tmp_path: Path
) -> None:
    lines = predict(
        options(mixed, tmp_path, model_dir, overlays=False, cls_threshold=0.999, seg_gate=0.99)
    )
    made = [line for line in lines if line["segmented"]]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["predictions.csv", "run.json", "masks"]
    )
    assert len(made) < 7
    assert {line["mask"] for line in lines if line["mask"]} == {
        f"masks/{path.name}" for path in (tmp_path / "masks").iterdir()
    }


def test_results_inside_the_input_are_no_input(mixed: Path, tiny_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(mixed, tmp_path / "copy"))
    first = predict(options(folder, folder / "out", tiny_dir))
    second = predict(options(folder, folder / "out", tiny_dir))
    assert [line["file"] for line in first] == [line["file"] for line in second]


def test_one_file(mixed: Path, tiny_dir: Path, tmp_path: Path) -> None:
    (line,) = predict(options(mixed / "ward 1" / "scan 0.jpg", tmp_path, tiny_dir, seg_gate=0.0))
    assert line["status"] == "ok" and (tmp_path / "masks" / "scan-0.png").is_file()
    (line,) = predict(options(mixed / "volume.nii.gz", tmp_path, tiny_dir))
    assert (tmp_path / line["mask"]).name == "volume.nii.gz"


def test_results_of_an_earlier_run_are_no_inputs_however_the_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(tmp_path / "scans", 2)
    (tmp_path / "scans/out/masks").mkdir(parents=True)
    Image.new("L", (48, 40)).save(tmp_path / "scans/out/masks/a.png")
    monkeypatch.chdir(tmp_path)
    for source, out in (
        (tmp_path / "scans", Path("scans/out")),
        (Path("scans"), tmp_path / "scans/out"),
        (Path("../") / tmp_path.name / "scans", Path("scans/out")),
    ):
        items, _ = find_items(source, out)
        assert [item.name for item in items] == ["0000.png", "0001.png"]


def many(folder: Path, count: int) -> int:
    """``count`` pictures of which every seventh is broken in one way or another; how many are."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[-1:1:48j, -1:1:40j]
    folder.mkdir()
    broken = 0
    for k in range(count):
        path = folder / f"{k:04d}.png"
        plane = ((rows**2 + columns**2 < 0.8) * rng.normal(110, 15, (48, 40))).clip(0, 255)
        Image.fromarray(plane.astype(np.uint8)).save(path)
        if k % 7 == 3:
            data = path.read_bytes()
            path.write_bytes((b"", data[: len(data) // 2], b"junk", data[::-1])[broken % 4])
            broken += 1
    return broken


@pytest.mark.parametrize(
    "count", [60, pytest.param(1000, marks=pytest.mark.soak)], ids=["some", "a thousand"]
)
def test_bad_files_stop_nothing(count: int, tiny_dir: Path, tmp_path: Path) -> None:
    broken = many(tmp_path / "in", count)
    lines = predict(options(tmp_path / "in", tmp_path / "out", tiny_dir))
    assert len(lines) == count and broken > count // 8
    assert sum(line["status"] == "failed" for line in lines) == broken
    assert all(line["reason_code"] for line in lines if line["status"] == "failed")
    assert [line["file"] for line in lines] == sorted(line["file"] for line in lines)
    assert len(read_lines(tmp_path / "out")) == count


def test_the_table_survives_an_interruption(
    tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(tmp_path / "in", 20)
    original, calls = MultiTaskPredictor.predict_batch, []

    def interrupted(self: MultiTaskPredictor, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(MultiTaskPredictor, "predict_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(options(tmp_path / "in", tmp_path / "out", tiny_dir, batch_size=4))
    assert len(read_lines(tmp_path / "out")) == 8


def test_errors_that_end_the_command(tiny_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.png does not exist"):
        predict(options(tmp_path / "none.png", tmp_path / "out", tiny_dir))
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        predict(options(tmp_path / "in", tmp_path / "out", tiny_dir))
    (tmp_path / "in" / "a.png").write_text("x")
    with pytest.raises(DataError, match="none of 1 inputs could be read, the first because"):
        predict(options(tmp_path / "in", tmp_path / "out", tiny_dir))
    assert read_lines(tmp_path / "out")["a.png"]["reason_code"] == "not_an_image"
    with pytest.raises(ConfigError, match=r"seg_gate=0\.9 lies above"):
        predict(options(tmp_path / "in", tmp_path / "new", tiny_dir, seg_gate=0.9))
    with pytest.raises(ConfigError, match=r"^cls_threshold=1\.5 must be a number from 0 to 1"):
        predict(options(tmp_path / "in", tmp_path / "new", tiny_dir, cls_threshold=1.5))
    with pytest.raises(ConfigError, match=r"^number_format=precision=8 is unknown"):
        predict(options(tmp_path / "in", tmp_path / "new", tiny_dir, number_format="precision=8"))
    assert not (tmp_path / "new").exists(), "refused before anything is predicted or written"
    with pytest.raises(DataError, match="is no folder: export a model"):
        predict(options(tmp_path / "in", tmp_path / "out", tmp_path / "nothing"))


@pytest.mark.parametrize("name", ["predict", "export"])
def test_help_explains_and_imports_no_torch(name: str, tmp_path: Path) -> None:
    done = run(tmp_path, f"brainmtl.{name}", "--help", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0 and f"python -m brainmtl.{name}" in done.stdout
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "hydra" in loaded
    assert not {"torch", "monai", "matplotlib", "pandas", "sklearn", "nibabel"} & loaded
    assert not list(tmp_path.iterdir())


def test_export_from_the_command_line(tiny_checkpoint: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    done = run(
        here,
        "brainmtl.export",
        f"ckpt={tiny_checkpoint}",
        f"out_dir={tmp_path / 'model'}",
        "name=mine",
    )
    assert done.returncode == 0, done.stderr
    assert f"model: {tmp_path / 'model'}" in done.stdout and "warning: " in done.stdout
    assert not list(here.iterdir())
    assert MultiTaskPredictor.from_folder(tmp_path / "model").info.name == "mine"
    done = run(here, "brainmtl.export", "ckpt=none.ckpt")
    assert done.returncode == 1 and done.stderr.startswith("error: ckpt=none.ckpt")
    assert len(done.stderr.strip().splitlines()) == 1


def test_overlays_show_what_they_should() -> None:
    rng = np.random.default_rng(0)
    luminance = rng.uniform(0, 4000, (64, 48)).astype(np.float32)
    mask = np.zeros((64, 48), np.uint8)
    mask[20:40, 10:30] = 1
    mask[0:5, 0:5] = 1  # at the edge of the picture
    shown = contour_overlay(luminance, mask)
    coloured = (shown == CONTOUR).all(axis=2)
    inside = np.zeros_like(mask, dtype=bool)
    inside[21:39, 11:29] = True
    inside[1:4, 1:4] = True
    np.testing.assert_array_equal(coloured, (mask > 0) & ~inside)
    grey = shown[~coloured]
    assert (grey[:, 0] == grey[:, 1]).all() and (grey[:, 1] == grey[:, 2]).all()
    assert np.ptp(grey) == 255
    cold = heat_overlay(luminance, np.zeros((64, 48), np.float32))
    np.testing.assert_array_equal(cold[~coloured], shown[~coloured])
    hot = heat_overlay(luminance, np.ones((64, 48), np.float32))
    assert (hot != cold).any(axis=2).mean() > 0.9
    flat = contour_overlay(np.zeros((40, 40), np.float32), np.zeros((40, 40), np.uint8))
    assert (flat == 0).all()
