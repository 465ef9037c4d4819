"""Seconds and MiB of one start of training from a folder of :mod:`benchmarks.speed.million`, as JSON."""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from benchmarks.speed.loading import data_module
from benchmarks.speed.million import PICTURES, VOLUMES, write_folder
from brainmtl.config import compose
from brainmtl.data.loading.datamodule import MultiTaskDataModule


def main(folder: Path, batches: int) -> None:
    """Start once on a tiny folder, so that nothing is imported within the measurement, then here."""
    with tempfile.TemporaryDirectory() as tiny:
        write_folder(Path(tiny), 1)
        warm = _make(Path(tiny))
        warm.setup("fit")
        next(iter(warm.train_batches))
    before = status_mib("VmRSS")
    clock = [time.perf_counter()]
    data = _make(folder)
    clock.append(time.perf_counter())
    data.setup("fit")
    clock.append(time.perf_counter())
    indices = iter(data.train_batches)
    next(indices)
    clock.append(time.perf_counter())
    started = status_mib("VmRSS")
    found = {
        "data_module": clock[1] - clock[0],
        "setup": clock[2] - clock[1],
        "first_batch": clock[3] - clock[2],
        "total": clock[3] - clock[0],
        "resident": started - before,
        "peak": status_mib("VmHWM") - before,
    }
    for _ in indices:
        pass
    found["epoch"] = time.perf_counter() - clock[3]
    found["epoch_growth"] = status_mib("VmRSS") - started
    print(json.dumps(found | _worker_memory(data, batches)))


def _make(folder: Path) -> MultiTaskDataModule:
    options = compose(
        "train",
        f"data_dir={folder.resolve()}",
        "run_dir=.",
        f"data.seg_sources=[{VOLUMES}]",
        f"data.cls_sources=[{PICTURES}]",
        "data.num_workers=1",
        "data.images_per_epoch=null",  # whether memory grows shows over a pass, not over 1,600 images
        # 32x32 pixels are too few for the default's crops and warps, and memory is all that counts
        "augmentation=none",
    )
    return data_module(options)


def _worker_memory(data: MultiTaskDataModule, batches: int) -> dict[str, float]:
    """MiB that a worker has to itself after ``batches``, and by how much they grew meanwhile.

    A forked worker shares the index with its parent until one of the two writes to a page of it,
    which Python does by merely counting references: then the worker grows with all that it reads.
    """
    loader = iter(data.train_dataloader())
    early = batches // 5
    for _ in islice(loader, early):
        pass
    (worker,) = multiprocessing.active_children()
    first = private_mib(worker.pid)
    for _ in islice(loader, batches - early):
        pass
    last = private_mib(worker.pid)
    return {"worker_private": last, "worker_growth": last - first}


def status_mib(name: str) -> float:
    """``VmRSS`` (resident now) or ``VmHWM`` (at its highest) of this process."""
    return _sum_mib(Path("/proc/self/status"), (name,))


def private_mib(pid: int | str) -> float:
    """Memory of process ``pid`` ("self": this one) that no other process shares."""
    return _sum_mib(Path(f"/proc/{pid}/smaps_rollup"), ("Private_Clean", "Private_Dirty"))


def _sum_mib(path: Path, names: tuple[str, ...]) -> float:
    lines = (line.split() for line in path.read_text().splitlines())
    return sum(int(words[1]) for words in lines if words[0].rstrip(":") in names) / 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
