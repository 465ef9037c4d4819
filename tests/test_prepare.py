"""``python -m brainmtl.prepare``: as a command, interrupted, and twice at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import compose

from brainmtl.data.manifest import read_manifest
from brainmtl.data.preparation.integrity import check_folder
from brainmtl.data.samples import read_reference, read_sample
from brainmtl.errors import ConfigError, DataError
from brainmtl.prepare import prepare

sys.path.insert(0, str(Path(__file__).parent / "data"))
from heads import save_brain, save_heads

CASES = 8


def options(source: str, raw: Path, out: Path, *overrides: str) -> list[str]:
    return [f"source={source}", f"raw_dir={raw}", f"out_dir={out}", "workers=1", *overrides]


def start(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with open(log, "wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "brainmtl.prepare", *arguments],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=log.parent,
            start_new_session=True,  # so that a signal reaches its workers too
            # A job in the background of a shell, as these tests may be, is deaf to Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def kill_when(
    process: subprocess.Popen[bytes], condition, log: Path, by: int = signal.SIGKILL
) -> None:
    """Send ``by`` to the command's whole process group as soon as ``condition()`` holds."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, f"ended too early:\n{log.read_text()}"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(process.pid, by)
    process.wait()


def assert_no_half_file(out: Path) -> None:
    """Whatever carries its final name is whole."""
    for path in out.rglob("*"):
        if path.name.startswith("."):
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".npz":
            read = read_reference if path.parent.name == "references" else read_sample
            read(path)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    for k in range(CASES):
        save_brain(tmp_path / "raw", f"c{k}", k)
    return tmp_path / "raw"


def test_killed_run_leaves_no_half_file_and_goes_on(tmp_path: Path, raw: Path, capsys) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    process = start(options("brats", raw, out), log)
    cases = out / "brats" / "cases"
    kill_when(process, lambda: len(list(cases.glob("c*.json"))) >= 3, log)
    done = len(list(cases.glob("c*.json")))
    assert done < CASES and not (out / "manifest.csv").exists()
    assert_no_half_file(out)
    with pytest.raises(DataError, match=r"manifest\.csv is missing"):
        read_manifest(out)
    [report] = prepare(compose("prepare", *options("brats", raw, out)))
    assert (report.reused, report.prepared) == (done, CASES - done)
    assert check_folder(out, workers=1, progress=False) == []
    assert not list(out.rglob(".tmp-*"))
    assert f"{CASES - done} prepared, {done} reused" in capsys.readouterr().out


def test_ctrl_c_is_one_line(tmp_path: Path, raw: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    process = start(options("brats", raw, out), log)
    kill_when(process, lambda: any(out.glob("brats/cases/*.json")), log, signal.SIGINT)
    assert process.returncode == 130 and "Traceback" not in log.read_text()
    assert "interrupted: give the same command again" in log.read_text()
    assert_no_half_file(out)


def test_run_killed_with_other_options_is_undone_by_the_old_ones(tmp_path: Path, raw: Path) -> None:
    """Half the samples carry labels by another threshold then; none of them may survive."""
    out, log = tmp_path / "out", tmp_path / "log"
    prepare(compose("prepare", *options("brats", raw, out)))
    before = (out / "manifest.csv").read_bytes()
    process = start(options("brats", raw, out, "min_tumour_pixels=1500"), log)
    train = out / "brats" / "pending"
    kill_when(process, lambda: len(list(train.glob("c*.npz"))) >= 25, log)
    assert_no_half_file(out)
    [report] = prepare(compose("prepare", *options("brats", raw, out)))
    assert 0 < report.prepared < CASES
    assert (out / "manifest.csv").read_bytes() == before
    assert check_folder(out, workers=1, progress=False) == []


def test_run_killed_while_moving_samples_goes_on(tmp_path: Path, raw: Path) -> None:
    """As if killed between two renames: some samples elsewhere, no manifest, temporary files."""
    out = tmp_path / "out"
    prepare(compose("prepare", *options("brats", raw, out)))
    before = (out / "manifest.csv").read_bytes()
    (out / "manifest.csv").unlink()
    for k, path in enumerate(sorted((out / "brats" / "train").glob("*.npz"))):
        if k % 2:
            path.rename(out / "brats" / "pending" / path.name)
    (out / "brats" / "test" / ".tmp-abc.npz").write_bytes(b"half")
    (out / "brats" / "cases" / ".tmp-abc.json").write_text("{")
    [report] = prepare(compose("prepare", *options("brats", raw, out)))
    assert report.reused == CASES
    assert (out / "manifest.csv").read_bytes() == before
    assert check_folder(out, workers=1, progress=False) == []


def test_two_preparations_at_once_share_the_manifest(tmp_path: Path, raw: Path) -> None:
    out = tmp_path / "out"
    save_heads(tmp_path / "pictures", 6)
    both = {
        "brats": start(options("brats", raw, out), tmp_path / "log1"),
        "kaggle": start(options("kaggle", tmp_path / "pictures", out), tmp_path / "log2"),
    }
    for number, process in enumerate(both.values(), 1):
        assert process.wait(timeout=240) == 0, (tmp_path / f"log{number}").read_text()
    assert set(read_manifest(out)["source"]) == set(both)
    assert check_folder(out, workers=1, progress=False) == []


def test_prepare_reports_what_it_did(tmp_path: Path, capsys) -> None:
    save_heads(tmp_path / "raw", 6)
    (tmp_path / "raw" / "yes" / "bad.png").write_bytes(b"bad")
    out = tmp_path / "out"
    arguments = options("kaggle", tmp_path / "raw", out, "name=mine", "split=all_test")
    prepare(compose("prepare", *arguments))
    printed = capsys.readouterr().out
    assert "mine: 6 samples from 6 cases (6 prepared, 0 reused)" in printed
    assert "1 file not used:" in printed and "bad.png: not a readable picture" in printed
    assert set(read_manifest(out)["split"]) == {"test"}
    (tmp_path / "raw" / "yes" / "h1.png").unlink()
    prepare(compose("prepare", *arguments))
    assert "removed: 1 case that the raw folder no longer holds" in capsys.readouterr().out


def test_other_folder_names_and_table(tmp_path: Path) -> None:
    save_heads(tmp_path / "raw", 6)
    (tmp_path / "raw" / "yes").rename(tmp_path / "raw" / "glioma")
    (tmp_path / "raw" / "no").rename(tmp_path / "raw" / "normal")
    prepare(
        compose(
            "prepare",
            *options("kaggle", tmp_path / "raw", tmp_path / "out", "split=all_train"),
            "positive=[glioma]",
            "negative=[normal]",
        )
    )
    (tmp_path / "raw" / "mine.csv").write_text("image,label\nglioma/h1.png,1\nnormal/h0.png,0\n")
    prepare(
        compose(
            "prepare",
            *options("table", tmp_path / "raw", tmp_path / "out", "split=all_train"),
            f"table={tmp_path}/raw/mine.csv",
        )
    )
    frame = read_manifest(tmp_path / "out")
    assert frame["source"].value_counts().to_dict() == {"kaggle": 6, "table": 2}


def test_splits_of_evaluate_are_no_splits_to_prepare(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"split=val is for evaluate\.py.*all_val"):
        prepare(compose("prepare", *options("kaggle", tmp_path, tmp_path / "out", "split=val")))
    for name in ("train", "val", "test", "all"):
        assert compose("evaluate", "ckpt=x", f"split={name}")["split"] == name
    assert compose("evaluate", "ckpt=x")["split"] == "test"


def test_phantom_keeps_its_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot rename the phantom"):
        prepare(compose("prepare", *options("phantom", tmp_path, tmp_path / "out", "name=x")))


def test_one_name_needs_no_brackets(tmp_path: Path) -> None:
    save_heads(tmp_path / "raw", 6)
    (tmp_path / "raw" / "yes").rename(tmp_path / "raw" / "glioma")
    (tmp_path / "raw" / "no").rename(tmp_path / "raw" / "normal")
    names = {"positive": "glioma", "negative": "normal", "modalities": "flair"}
    names["split.train_groups"] = "*h5"
    manifests = []
    for out, form in (("plain", "{}"), ("listed", "[{}]")):
        words = [f"{key}={form.format(name)}" for key, name in names.items()]
        arguments = options("kaggle", tmp_path / "raw", tmp_path / out, "split=all_test", *words)
        prepare(compose("prepare", *arguments))
        manifests.append((tmp_path / out / "manifest.csv").read_bytes())
    assert manifests[0] == manifests[1]
    frame = read_manifest(tmp_path / "plain").set_index("image_id")
    assert list(frame.index[frame["split"] == "train"]) == ["glioma_h5"]
    assert frame["label"].to_dict() == {
        f"{'glioma' if k % 2 else 'normal'}_h{k}": k % 2 for k in range(6)
    }


@pytest.mark.parametrize(("subjects", "photos"), [(0, 4), (1, 0)])
def test_either_part_of_the_phantom_alone(tmp_path: Path, subjects: int, photos: int) -> None:
    counts = (f"phantom.subjects={subjects}", f"phantom.photos={photos}")
    raw, out = tmp_path / "raw", tmp_path / "out"
    [report] = prepare(
        compose("prepare", *options("phantom", raw, out, "split=all_train", *counts))
    )
    assert report.source == ("phantom_brats" if subjects else "phantom_kaggle")
    assert report.prepared == subjects + photos and not report.problems
    frame = read_manifest(out)
    assert set(frame["source"]) == {report.source} and frame["synthetic"].all()
    assert set(frame["label"]) >= {0, 1}
    assert check_folder(out, workers=1, progress=False) == []


@pytest.mark.parametrize("word", ["phantom.subjects=many", "phantom.seed=0.5", "workers=0"])
def test_counts_that_are_none(tmp_path: Path, word: str) -> None:
    with pytest.raises(ConfigError, match=f"{word} must be .*at least"):
        prepare(compose("prepare", *options("phantom", tmp_path, tmp_path / "out", word)))


def test_a_phantom_of_one_photograph_is_refused(tmp_path: Path) -> None:
    arguments = options("phantom", tmp_path / "raw", tmp_path / "out", "phantom.photos=1")
    with pytest.raises(ConfigError, match=r"phantom\.photos=1 .* give 0, or 2 or more"):
        prepare(compose("prepare", *arguments))
    assert not list(tmp_path.iterdir())


def test_names_of_files_in_any_alphabet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by a terminal that has none of the letters; one name is not even UTF-8."""
    raw = tmp_path / "raw"
    save_heads(raw, 8)
    for name in ("Bösé.png", os.fsdecode(b"M\xfcller.png")):
        (raw / "yes" / name).write_bytes(b"none")
        shutil.copy(next((raw / "no").iterdir()), raw / "no" / name)
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    log = tmp_path / "log"
    assert start(options("kaggle", raw, tmp_path / "out"), log).wait() == 0, log.read_text()
    assert "2 files not used:" in log.read_text()
    assert r"B\xf6s\xe9.png: not a readable picture" in log.read_text()
    assert r"M\udcfcller.png: not a readable picture" in log.read_text()
    assert len(read_manifest(tmp_path / "out")) == 10
