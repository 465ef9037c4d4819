"""Training from the real loader against the same steps with the data in memory."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import torch
from hydra.utils import instantiate

from benchmarks.speed.baselines import default_name
from benchmarks.speed.environment import in_both_formats
from benchmarks.speed.timing import Row, Settings, compare, synchronize
from benchmarks.speed.training import Batch, Step, make_step, to_device
from brainmtl.config import compose
from brainmtl.data.datamodule import MultiTaskDataModule

STEPS = 8  # timed in a row


def rows(settings: Settings) -> list[Row]:
    """Both number formats on every device; without ``data_dir`` from a small phantom (synthetic)."""
    with tempfile.TemporaryDirectory() as folder:
        data_dir = settings.data_dir or _phantom(Path(folder))
        path, size = f"data_dir={data_dir.resolve()}", f"data.batch_size={settings.batch}"
        data = data_module(compose("train", path, "run_dir=.", size))

        def measure(section: str, device: str, precision: str) -> list[Row]:
            step = make_step(default_name(), device, precision, torch.channels_last)
            return _compare(section, data, step, device, settings)

        return in_both_formats("loading", settings.devices, measure)


def _compare(
    section: str, data: MultiTaskDataModule, step: Step, device: str, settings: Settings
) -> list[Row]:
    stream = _stream(data)
    # Those in the workers' queue were made while something else was measured.
    stock = 2 * data.num_workers + 1
    count = 2 if settings.quick else STEPS
    kept = [to_device(batch, device) for batch in islice(stream, 2)]
    seconds: dict[str, list[float]] = {"loader": [], "memory": [], "alone": []}
    for _ in range(settings.fewer(6)):
        seconds["loader"].append(_per_image(stream, step, device, stock, count))
        # ... and this long they go on filling it
        seconds["memory"].append(_per_image(_again(kept), step, device, stock, count))
        seconds["alone"].append(_per_image(stream, None, device, stock, count))
    stream.close()
    ratio, spread = compare(seconds["memory"], seconds["loader"])
    rate = {name: 1 / median(values) for name, values in seconds.items()}
    workers = f"{data.num_workers} worker{'s' * (data.num_workers != 1)}"
    share = "of the speed with data in memory (1: loading costs nothing)"
    return [
        Row(section, "steps with data in memory", rate["memory"], "images/s"),
        Row(
            section,
            f"steps from the loader, {workers}",
            rate["loader"],
            "images/s",
            ratio,
            spread,
            share,
        ),
        Row(
            section,
            f"loader alone, {workers}",
            rate["alone"],
            "images/s",
            *compare(seconds["memory"], seconds["alone"]),
            "times the speed of the steps with data in memory",
        ),
    ]


def _per_image(
    batches: Iterator[Batch], step: Step | None, device: str, untimed: int, count: int
) -> float:
    """Seconds per image over ``count`` batches, after ``untimed`` ones."""
    images, start = 0, 0.0
    for k, batch in enumerate(islice(batches, untimed + count)):
        if k >= untimed:
            images += len(batch["images"])
        if step is not None:
            step(to_device(batch, device))
        if k == untimed - 1:
            synchronize(device)
            start = time.perf_counter()
    synchronize(device)
    return (time.perf_counter() - start) / images


def _stream(data: MultiTaskDataModule) -> Iterator[Batch]:
    """Batches of one epoch after another."""
    loader, epoch = data.train_dataloader(), 0
    while True:
        data.set_epoch(epoch)
        yield from loader
        epoch += 1


def _again(batches: list[Batch]) -> Iterator[Batch]:
    while True:
        yield from batches


def data_module(options: dict[str, Any]) -> MultiTaskDataModule:
    """The mixed loaders of composed ``conf/train.yaml``, as a stage of both tasks has them."""
    return instantiate(
        options["data"], **options["loader"], augmentation=instantiate(options["augmentation"])
    )


def _phantom(folder: Path) -> Path:
    from brainmtl.prepare import prepare

    print("loading: preparing a small phantom (synthetic) ...", file=sys.stderr)
    options = compose(
        "prepare",
        "source=phantom",
        f"raw_dir={folder}/raw",
        f"out_dir={folder}/prepared",
        "phantom.subjects=12",
        "phantom.photos=48",
    )
    with contextlib.redirect_stdout(sys.stderr):  # the table alone goes to stdout
        prepare(options)
    return folder / "prepared"
