"""How to store a sample: size, write and read time of float16 and float32, compressed and not.

python -m benchmarks.sample_format DATA_DIR [--samples 400] [--source brats --raw-dir RAW]

DATA_DIR is any prepared folder. With --source and --raw-dir it also times the steps of preparing
some of these raw cases, to show what writing costs beside the rest. One process, files in the page
cache: what is measured is the work of the processor, which is what data loaders wait for.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from isal import isal_zlib

from benchmarks.command import count, one_line_errors
from brainmtl.data.manifest import read_manifest
from brainmtl.data.npz import arrays_sha256, load_arrays, save_arrays
from brainmtl.words import quantity


def as_written(path: Path, **arrays: np.ndarray) -> None:
    save_arrays(path, arrays)
    arrays_sha256(arrays)


VARIANTS: dict[str, tuple[type, Callable[..., None]]] = {
    "float16, as brainmtl.prepare writes it": (np.float16, as_written),
    "float16, compressed": (np.float16, np.savez_compressed),
    "float16, plain": (np.float16, np.savez),
    "float32, compressed": (np.float32, np.savez_compressed),
    "float32, plain": (np.float32, np.savez),
}


def measure(samples: list[dict[str, np.ndarray]], dtype: type, save: Callable[..., None]) -> None:
    """Print size, write and read time of ``samples`` stored with ``dtype`` by ``save``."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{k}.npz" for k in range(len(samples))]
        start = time.process_time()
        for path, arrays in zip(paths, samples, strict=True):
            save(path, **(arrays | {"image": arrays["image"].astype(dtype)}))
        written = time.process_time() - start
        start = time.process_time()
        for path in paths:
            load_arrays(path)["image"].astype(np.float32)
        read = time.process_time() - start
        size = sum(path.stat().st_size for path in paths)
    count = len(samples)
    print(
        f"{np.dtype(dtype).name:8s} {save.__name__:17s} {size / count / 1024:8.1f} KB"
        f" {1000 * written / count:9.2f} ms to write {1000 * read / count:7.2f} ms to read"
    )


def deflate_alone(samples: list[dict[str, np.ndarray]]) -> None:
    """Print what packing and unpacking the images and masks takes by zlib and by ISA-L, both at level 1."""
    members = [arrays[k].tobytes() for arrays in samples for k in ("image", "mask") if k in arrays]
    for name, library in (("zlib", zlib), ("ISA-L", isal_zlib)):
        start = time.process_time()
        packed = [library.compress(member, 1) for member in members]
        middle = time.process_time()
        for content in packed:
            library.decompress(content)
        spent = np.array([middle - start, time.process_time() - middle]) * 1000 / len(samples)
        size = sum(map(len, packed)) / len(samples) / 1024
        print(f"{name:26s} {size:8.1f} KB {spent[0]:9.2f} ms to pack  {spent[1]:7.2f} ms to unpack")


def time_preparing(source_name: str, raw_dir: Path, cases: int) -> None:
    """Print what reading, preparing and writing cost for each slice of some raw cases."""
    from brainmtl.data.preparation import cases as steps
    from brainmtl.data.sources import make_source

    source = make_source(source_name)
    refs = source.discover(raw_dir)[0][:cases]
    spent = {"read and orient": 0.0, "frame, resize, z-score": 0.0, "write": 0.0}
    slices = 0
    with tempfile.TemporaryDirectory() as folder:
        for ref in refs:
            clock = [time.process_time()]
            case = source.load(ref)
            clock.append(time.process_time())
            records, _ = steps.prepare_slices(case)
            clock.append(time.process_time())
            for record in records:
                steps._write_slice(record, ref, "0" * 64, Path(folder), steps.CaseOptions())
            clock.append(time.process_time())
            slices += len(records)
            for name, seconds in zip(spent, np.diff(clock), strict=True):
                spent[name] += float(seconds)
    total = sum(spent.values())
    print(
        f"\npreparing {quantity(len(refs), 'cases')} of {source_name}, {quantity(slices, 'slices')}:"
    )
    for name, seconds in spent.items():
        print(
            f"{name:25s} {1000 * seconds / slices:7.2f} ms a slice {100 * seconds / total:4.0f} %"
        )


@one_line_errors()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--samples", type=count, default=400)
    parser.add_argument("--source", default="brats")
    parser.add_argument("--raw-dir", type=Path)
    parser.add_argument("--cases", type=count, default=4)
    options = parser.parse_args()
    frame = read_manifest(options.data_dir)
    taken = min(options.samples, len(frame))
    paths = frame["path"].sample(taken, random_state=0)
    samples = [load_arrays(options.data_dir / path) for path in paths]
    print(f"{quantity(taken, 'samples')} of {options.data_dir}, mean of each:")
    for dtype, save in VARIANTS.values():
        measure(samples, dtype, save)
    deflate_alone(samples)
    if options.raw_dir is not None:
        time_preparing(options.source, options.raw_dir, options.cases)


if __name__ == "__main__":
    main()
