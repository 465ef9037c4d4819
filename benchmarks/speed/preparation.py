"""``python -m brainmtl.prepare`` on one core, against a straightforward loop and against mere reading."""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from threadpoolctl import threadpool_limits

from benchmarks.speed import straightforward
from benchmarks.speed.raw_cases import write_raw
from benchmarks.speed.timing import Row, Settings, compare, interleave, skipped_row
from brainmtl.data.preparation.assembly import SplitOptions
from brainmtl.data.preparation.process import process_dataset
from brainmtl.data.records import Case, CaseRef, Problem, Source
from brainmtl.data.sources import make_source
from brainmtl.words import quantity

CASES, PHOTOS = 2, 48
PARTS = ("brats", "kaggle")
PRODUCT, PLAIN = "brainmtl.prepare", "straightforward loop"
LIMIT = "reading and decompressing alone"
UNITS = {"brats": ("cases/min per core", 60.0), "kaggle": ("images/s per core", 1.0)}


def rows(settings: Settings) -> list[Row]:
    """Both kinds of source, from ``raw_dir`` (brats/ and kaggle/) or from synthetic files."""
    found = []
    with tempfile.TemporaryDirectory() as parent, threadpool_limits(1):
        raw_dir = settings.raw_dir or _synthetic(Path(parent) / "raw", settings.quick)
        origin = "" if settings.raw_dir else " (synthetic)"
        for part in PARTS:
            section = f"preparation, {part}{origin}"
            if (raw_dir / part).is_dir():
                out_dir = Path(parent) / part
                found += _compare(section, part, raw_dir / part, out_dir, settings.fewer(10))
            else:
                found.append(skipped_row(section, "all rows", f"--raw-dir holds no {part}/"))
    return found


@contextmanager
def _torch_hidden() -> Iterator[None]:
    """As in a process that only prepares, which does not import torch and so does without its conversions."""
    torch = sys.modules.pop("torch")
    try:
        yield
    finally:
        sys.modules["torch"] = torch


@dataclass(frozen=True)
class First:
    """The first ``count`` cases of ``source``."""

    source: Source
    count: int

    @property
    def name(self) -> str:
        """Of the source."""
        return self.source.name

    @property
    def kind(self) -> str:
        """Of the source."""
        return self.source.kind

    def discover(self, raw_dir: Path) -> tuple[list[CaseRef], list[Problem]]:
        """The first cases, and no problems."""
        return self.source.discover(raw_dir)[0][: self.count], []

    def load(self, ref: CaseRef) -> Case:
        """One of them."""
        return self.source.load(ref)


def _compare(section: str, part: str, raw_dir: Path, out_dir: Path, rounds: int) -> list[Row]:
    source = First(make_source(part), CASES if part == "brats" else PHOTOS)
    refs = source.discover(raw_dir)[0]
    number = itertools.count()
    samples: dict[str, int] = {}

    def fresh() -> Path:
        return out_dir / str(next(number))

    def product() -> None:
        # two cases are too few to draw splits of; what that costs is not per case anyway
        split = SplitOptions(mode="all_train")
        with _torch_hidden():
            report = process_dataset(
                source, raw_dir, fresh(), split=split, workers=1, progress=False
            )
        samples[PRODUCT] = report.samples

    def plain() -> None:
        samples[PLAIN] = _straightforward(part, refs, fresh())

    calls = {LIMIT: lambda: _read(part, refs), PLAIN: plain, PRODUCT: product}
    seconds = interleave(calls, rounds, "cpu")
    return _rows(section, part, len(refs), seconds, samples)


def _rows(
    section: str,
    part: str,
    count: int,
    seconds: dict[str, list[float]],
    samples: dict[str, int],
) -> list[Row]:
    unit, factor = UNITS[part]
    rate = {name: factor * count / statistics.median(own) for name, own in seconds.items()}
    wrote = {
        name: f"{quantity(written, 'samples')} of {quantity(count, 'files')}"
        for name, written in samples.items()
    }
    own = seconds[PRODUCT]
    return [
        Row(section, LIMIT, rate[LIMIT], unit, against="(the limit)"),
        Row(section, PLAIN, rate[PLAIN], unit, against=f"(writes {wrote[PLAIN]})"),
        Row(
            section,
            PRODUCT,
            rate[PRODUCT],
            unit,
            *compare(seconds[PLAIN], own),
            f"times the speed of the {PLAIN} (writes {wrote[PRODUCT]})",
        ),
        Row(
            section,
            f"{PRODUCT}, against the limit",
            rate[PRODUCT],
            unit,
            *compare(seconds[LIMIT], own),
            f"times the speed of {LIMIT}",
        ),
    ]


def _straightforward(part: str, refs: Sequence[CaseRef], out_dir: Path) -> int:
    if part == "brats":
        return straightforward.prepare_volumes([ref.files[:2] for ref in refs], out_dir)
    return straightforward.prepare_pictures([(ref.files[0], ref.label) for ref in refs], out_dir)


def _read(part: str, refs: Sequence[CaseRef]) -> None:
    read: Callable[[Path], object] = _volume if part == "brats" else _picture
    for ref in refs:
        for path in ref.files:
            read(path)


def _volume(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def _picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def _synthetic(folder: Path, quick: bool) -> Path:
    print("preparation: writing raw files (synthetic) ...", file=sys.stderr)
    if quick:
        write_raw(folder, cases=1, photos=4, slices=12)
    else:
        write_raw(folder, cases=CASES, photos=PHOTOS)
    return folder
