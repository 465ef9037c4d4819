"""Speed as ratios: everything that is compared is measured side by side in this process.

    python -m benchmarks.run [--rows inference,training] [--rounds 30] [--markdown]

benchmarks/README.md says what each row is.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.command import one_line_errors
from benchmarks.speed import (
    efficiency,
    inference,
    loading,
    preparation,
    service,
    serving,
    start_up,
    theory,
    training,
)
from benchmarks.speed.environment import describe
from benchmarks.speed.table import print_table, to_markdown
from benchmarks.speed.timing import Row, Settings

SECTIONS: dict[str, Callable[[Settings], list[Row]]] = {
    "theory": theory.rows,
    "inference": inference.rows,
    "compiled": lambda settings: (
        inference.compiled_rows(settings) + training.compiled_rows(settings)
    ),
    "service": service.rows,
    "serving": serving.rows,
    "training": training.rows,
    "loading": loading.rows,
    "preparation": preparation.rows,
    "start-up": start_up.rows,
    "efficiency": efficiency.rows,
}


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the chosen sections and print their rows."""
    options = _parse(arguments)
    warnings.filterwarnings("ignore")  # of the libraries, into the middle of the table
    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    settings = Settings.asked(options, devices, options.data_dir, options.raw_dir)
    lines = describe(settings.devices)
    if options.quick:
        lines.append(
            "--quick: two rounds of tiny inputs, good for nothing but a check that it runs"
        )
    else:
        lines.append(f"medians of {settings.rounds} rounds, fewer where a call lasts seconds")
    print("\n".join(f"- {line}" for line in lines), end="\n\n", flush=True)
    rows: list[Row] = []
    for name in options.rows:
        start = time.perf_counter()
        print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
        rows += SECTIONS[name](settings)
        print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    print(to_markdown(rows)) if options.markdown else print_table(rows)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--rows",
        default=",".join(SECTIONS),
        metavar="A,B",
        help="sections, by default all: %(default)s",
    )
    parser.add_argument("--rounds", type=int, default=30, help="readings per call (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny: checks that everything runs")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument(
        "--data-dir",
        type=Path,
        help="prepared folder for the section loading; by default a small phantom is made",
    )
    parser.add_argument(
        "--raw-dir",
        type=Path,
        help="folder with brats/ or kaggle/ for the section preparation; by default synthetic files",
    )
    options = parser.parse_args(arguments)
    options.rows = [name.strip() for name in options.rows.split(",")]
    if unknown := [name for name in options.rows if name not in SECTIONS]:
        parser.error(f"--rows {','.join(unknown)}: choose from {', '.join(SECTIONS)}")
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: must be at least 1, e.g. 30")
    return options


if __name__ == "__main__":
    main()
