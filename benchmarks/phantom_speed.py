"""Seconds per synthetic subject on one core: ``python -m benchmarks.phantom_speed [subjects]``."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from threadpoolctl import threadpool_limits

from benchmarks.command import count
from brainmtl.data.phantom.atlas import load_atlas
from brainmtl.data.phantom.writer import PhantomConfig, write_photo, write_volume


def main(subjects: int = 8) -> None:
    """Time the atlas (once per process), volumes and pictures, writing included."""
    start = time.perf_counter()
    load_atlas()
    print(f"atlas, once per process: {time.perf_counter() - start:.2f} s")
    config = PhantomConfig(subjects, healthy_fraction=0.33, photos=subjects, seed=0)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        for name, write in (("volume", write_volume), ("picture", write_photo)):
            write(Path(folder), config, subjects)  # warm-up, outside the timed range
            start = time.perf_counter()
            for index in range(subjects):
                write(Path(folder), config, index)
            seconds = (time.perf_counter() - start) / subjects
            print(f"{name}: {seconds:.2f} s per subject per core (n = {subjects})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("subjects", type=count, nargs="?", default=8)
    main(parser.parse_args().subjects)
