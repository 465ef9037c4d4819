"""Training from the real loader against the same steps with the data in memory."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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
from brainmtl.data.loading.datamodule import MultiTaskDataModule, default_workers

STEPS = 8  # timed in a row
AUGMENTATIONS = ("none", "light", "strong")
SHARE = "of the speed with data in memory (1: loading costs nothing)"


def rows(settings: Settings) -> list[Row]:
    """Both number formats on every device; without ``data_dir`` from a small phantom (synthetic)."""
    with tempfile.TemporaryDirectory() as folder:
        data_dir = settings.data_dir or _phantom(Path(folder))
        base = (f"data_dir={data_dir.resolve()}", f"data.batch_size={settings.batch}")

        def module(*overrides: str) -> MultiTaskDataModule:
            return data_module(compose("train", "run_dir=.", *base, *overrides))

        def measure(section: str, device: str, precision: str) -> list[Row]:
            step = make_step(default_name(), device, precision, torch.channels_last)
            modules = [module(f"data.num_workers={n}") for n in _worker_counts()]
            return _compare(section, modules, step, device, settings)

        found = in_both_formats("loading", settings.devices, measure)
        return found + _sample_rows(module, settings)


def _worker_counts() -> list[int]:
    """None, one, two, and as many as by default."""
    return sorted({0, 1, 2, default_workers()})


def _compare(
    section: str,
    modules: list[MultiTaskDataModule],
    step: Step,
    device: str,
    settings: Settings,
) -> list[Row]:
    streams = {data.num_workers: _stream(data) for data in modules}
    count = 2 if settings.quick else STEPS
    kept = [to_device(batch, device) for batch in islice(streams[default_workers()], 2)]
    loader: dict[int, list[float]] = {workers: [] for workers in streams}
    memory: list[float] = []
    for _ in range(settings.fewer(6)):
        for workers, stream in streams.items():
            # Those in the workers' queue were made while something else was measured.
            stock = 2 * workers + 1
            loader[workers].append(_per_image(stream, step, device, stock, count))
        # ... and this long they go on filling it
        memory.append(_per_image(_again(kept), step, device, 2 * max(streams) + 1, count))
    for stream in streams.values():
        stream.close()
    found = [Row(section, "steps with data in memory", 1 / median(memory), "images/s")]
    for workers, own in loader.items():
        name = f"steps from the loader, {workers} worker{'s' * (workers != 1)}"
        name += ", the default" * (workers == default_workers())
        ratio, spread = compare(memory, own)
        found.append(Row(section, name, 1 / median(own), "images/s", ratio, spread, SHARE))
    return found


def _sample_rows(module: Callable[..., MultiTaskDataModule], settings: Settings) -> list[Row]:
    """What a sample costs one core: reading it, and each augmentation on top."""
    count = 2 if settings.quick else STEPS
    streams = {
        name: _stream(module("data.num_workers=0", f"augmentation={name}"))
        for name in AUGMENTATIONS
    }
    seconds: dict[str, list[float]] = {name: [] for name in streams}
    for _ in range(settings.fewer(3)):
        for name, stream in streams.items():
            seconds[name].append(_per_image(stream, None, "cpu", 1, count))
    found = []
    for name, own in seconds.items():
        ratio, spread = compare(own, seconds["none"])
        title = f"one sample, augmentation={name}"
        comparison = None if name == "none" else ratio
        found.append(
            Row(
                "loading, one core",
                title,
                1000 * median(own),
                "ms",
                comparison,
                None if name == "none" else spread,
                "(reading and collating)" if name == "none" else "times the time of none",
            )
        )
    return found


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
