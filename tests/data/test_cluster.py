"""Preparation on a Dask cluster: the same bytes as without, and clear words where it cannot be."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from heads import save_brain, save_heads
from support import compose, free_ports

from brainmtl.data.preparation.process import ProcessReport, process_dataset
from brainmtl.data.records import Case, CaseRef, Problem
from brainmtl.data.sources import make_source
from brainmtl.errors import ConfigError
from brainmtl.files import sha256
from brainmtl.prepare import prepare

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
import dask
from distributed import Client, LocalCluster

Hashes = dict[str, str]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two workers; Dask gives a case up when both have died of it, and none waits at a busy one."""
    settings = {"allowed-failures": 1, "worker-saturation": 1.0}
    with (
        dask.config.set({f"distributed.scheduler.{key}": v for key, v in settings.items()}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
        ) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Volumes, one of which cannot be read, and pictures."""
    folder = tmp_path_factory.mktemp("raw")
    for k in range(6):
        save_brain(folder / "brats", f"c{k}", k)
    (folder / "brats" / "c3" / "c3_flair.nii.gz").write_bytes(b"no volume")
    save_heads(folder / "kaggle", 12)
    return folder


@dataclass(frozen=True)
class Deadly:
    """The adapter for volumes, in whose hands a worker dies with case c1, the first ``deaths`` times."""

    marks: Path
    deaths: int
    name: str = "brats"
    kind: str = "volume"

    def discover(self, raw_dir: Path) -> tuple[list[CaseRef], list[Problem]]:
        return make_source("brats").discover(raw_dir)

    def load(self, ref: CaseRef) -> Case:
        count = len(list(self.marks.glob("died-*")))
        if ref.case_id == "c1" and count < self.deaths:
            (self.marks / f"died-{count}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return make_source("brats").load(ref)


def options(raw: Path, source: str, out: Path, *overrides: str) -> list[str]:
    return [f"source={source}", f"raw_dir={raw / source}", f"out_dir={out}", *overrides]


def hashes(out: Path) -> Hashes:
    """SHA-256 of every file, the hidden ones too; ledgers say the same of raw files and samples."""
    files = (path for path in out.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(out).as_posix(): sha256(path) for path in files}


@pytest.fixture(scope="module")
def local(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Hashes, list[Problem]]:
    """What local processes make of both sources."""
    out = tmp_path_factory.mktemp("local")
    problems = []
    for source in ("brats", "kaggle"):
        [report] = prepare(compose("prepare", *options(raw, source, out, "workers=1")))
        problems += report.problems
    return hashes(out), problems


def test_same_bytes_and_problems_as_without(
    raw: Path,
    cluster: LocalCluster,
    local: tuple[Hashes, list[Problem]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Relative folders too, which mean nothing to a worker that was started elsewhere."""
    monkeypatch.chdir(raw)
    there = ("executor=dask", f"address={cluster.scheduler_address}")
    problems = []
    for source in ("brats", "kaggle"):
        out = Path(os.path.relpath(tmp_path, raw))
        [report] = prepare(compose("prepare", *options(Path(), source, out, *there)))
        problems += report.problems
    assert hashes(tmp_path) == local[0]
    assert problems == local[1] and "c3_flair" in problems[0].path
    printed = capsys.readouterr().out
    assert "brats: 50 samples from 5 cases (5 prepared, 0 reused)" in printed
    assert "preparing brats" in printed and "100%" in printed
    [again] = prepare(compose("prepare", *options(Path(), "brats", out, *there)))
    assert (again.prepared, again.reused) == (0, 5)


def prepare_deadly(raw: Path, out: Path, cluster: LocalCluster, deaths: int) -> ProcessReport:
    out.mkdir()
    with Client(cluster) as client:
        source = Deadly(out.parent, deaths)
        return process_dataset(source, raw / "brats", out, client=client, progress=False)


def test_a_case_whose_worker_dies_is_given_to_another(
    raw: Path, cluster: LocalCluster, tmp_path: Path
) -> None:
    report = prepare_deadly(raw, tmp_path / "out", cluster, deaths=1)
    assert (tmp_path / "died-0").exists()
    assert report.samples == 50 and len(report.problems) == 1
    process_dataset(make_source("brats"), raw / "brats", tmp_path / "here", progress=False)
    assert hashes(tmp_path / "out") == hashes(tmp_path / "here")


def test_a_case_that_no_worker_survives_is_named(
    raw: Path, cluster: LocalCluster, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match=r"2 workers died .* case c1 was .*the same command goes on"
    ):
        prepare_deadly(raw, tmp_path / "out", cluster, deaths=99)
    assert not (tmp_path / "out" / "manifest.csv").exists()
    assert not list((tmp_path / "out").glob(".tmp-*"))


def test_a_worker_elsewhere_is_told(
    raw: Path, cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from brainmtl.data.preparation import cluster as code

    with Client(cluster) as client, monkeypatch.context() as patch:
        client.wait_for_workers(2, timeout=120)  # the test before has killed them
        patch.setattr(code, "CODE", "0.0.1, preprocessing version 1")
        with pytest.raises(ConfigError, match=r"2 of 2 workers(.|\n)*not 0\.0\.1, prep.*install"):
            process_dataset(make_source("brats"), raw / "brats", tmp_path, client=client)
    mark = tmp_path / "mark"
    assert "out_dir" in str(code.complaint(code.CODE, raw, mark))
    mark.touch()
    assert code.complaint(code.CODE, raw, mark) is None
    assert "raw_dir" in str(code.complaint(code.CODE, raw / "nowhere", mark))
    with pytest.raises(ConfigError, match=r"the worker on .* does not see raw_dir"):
        code._take((code.CODE, raw / "nowhere", mark), print)


def test_what_cannot_be_is_said_at_once(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*overrides: str) -> str:
        with pytest.raises(ConfigError) as error:
            prepare(compose("prepare", *options(raw, "kaggle", tmp_path, *overrides)))
        return str(error.value)

    monkeypatch.setattr("brainmtl.data.preparation.cluster.CONNECT_SECONDS", 2)
    address = f"address=tcp://127.0.0.1:{free_ports(1)[0]}"
    before = time.monotonic()
    message = refused("executor=dask", address)
    assert time.monotonic() - before < 12
    assert address in message and "dask scheduler" in message and "address=null" in message
    assert "no Dask scheduler" in refused("executor=dask", "address=nonsense://host:1")
    assert "choose local or dask" in refused("executor=slurm")
    assert "is for executor=dask" in refused(address)
    assert "Leave workers out" in refused("executor=dask", address, "workers=2")
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "pip install 'brainmtl[cluster]'" in refused("executor=dask")
    assert list(tmp_path.iterdir()) == []
