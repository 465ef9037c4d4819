"""Training's start with a manifest of a million rows: seconds, and memory that must stay flat."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.speed.million import write_folder
from benchmarks.speed.timing import Row, Settings, compare, skipped_row
from brainmtl.config import PROJECT_ROOT

ROWS = (100_000, 1_000_000)
BATCHES = 1000  # that the workers load: of 16 samples from all over the manifest
TINY = (2_000, 20_000), 20  # the same for --quick
SECONDS = {
    "data_module": "MultiTaskDataModule(...)",
    "setup": "setup('fit')",
    "first_batch": "first batch of indices",
    "total": "all three: from nothing to the first indices",
    "epoch": "the other batches of the epoch, indices alone",
}
MEBIBYTES = {
    "resident": "memory that the index keeps",
    "peak": "... at the highest",
    "epoch_growth": "growth over an epoch of indices",
}
WORKER = "growth of a worker"


def rows(settings: Settings) -> list[Row]:
    """Both sizes in processes of their own, in turn; the ratio says whether cost is linear."""
    sizes, batches = TINY if settings.quick else (ROWS, BATCHES)
    section = f"start-up, {sizes[1]:,} rows (synthetic)"
    if not Path("/proc/self/status").is_file():
        return [skipped_row(section, "all rows", "memory is read from /proc, which only Linux has")]
    with tempfile.TemporaryDirectory() as parent:
        folders = [Path(parent) / str(size) for size in sizes]
        print(f"start-up: writing {sizes[1]:,} rows (synthetic) ...", file=sys.stderr)
        for folder, size in zip(folders, sizes, strict=True):
            write_folder(folder, size)
        rounds = 1 if settings.quick else settings.fewer(10)
        readings = [[_start(folder, batches) for folder in folders] for _ in range(rounds)]
    small, large = zip(*readings, strict=True)
    return _rows(section, small, large, sizes, batches)


def _rows(
    section: str,
    small: Sequence[dict[str, float]],
    large: Sequence[dict[str, float]],
    sizes: tuple[int, int],
    batches: int,
) -> list[Row]:
    factor = sizes[1] / sizes[0]
    against = f"times the cost of {sizes[0]:,} rows, per row (1: linear)"
    found = []
    for key, name in SECONDS.items():
        own, scaled = [one[key] for one in large], [factor * one[key] for one in small]
        median = statistics.median(own)
        found.append(Row(section, name, median, "s", *compare(own, scaled), against))
    for key, name in MEBIBYTES.items():
        median = statistics.median(one[key] for one in large)
        other = statistics.median(one[key] for one in small)
        note = f"{sizes[0]:,} rows: {other:.1f} MiB"
        found.append(Row(section, name, median, "MiB", against=note))
    median = statistics.median(one["worker_growth"] for one in large)
    name = f"{WORKER} from batch {batches // 5:,} to {batches:,}"
    private = statistics.median(one["worker_private"] for one in large)
    note = f"of {private:.0f} MiB that are its own (all else is shared with the parent)"
    return [*found, Row(section, name, median, "MiB", against=note)]


def _start(folder: Path, batches: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.speed.one_start", str(folder), str(batches)]
    done = subprocess.run(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)
