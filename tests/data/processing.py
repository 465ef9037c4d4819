"""``process_dataset`` as the tests of this room call it."""

from __future__ import annotations

from pathlib import Path

from brainmtl.data.preparation.assembly import SplitOptions
from brainmtl.data.preparation.process import ProcessReport, process_dataset
from brainmtl.data.sources import make_source

ALL_TRAIN = SplitOptions("all_train")


def run(source: str, raw: Path, out: Path, **options) -> ProcessReport:
    name = options.pop("name", None)
    options = {"split": ALL_TRAIN, "workers": 1, "progress": False} | options
    return process_dataset(make_source(source, name=name), raw, out, **options)
