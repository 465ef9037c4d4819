"""Evaluation with all metrics against the forward passes alone, on the same samples.

    python -m benchmarks.evaluation_speed [--data-dir data/processed] [--repeats 3] [--samples 300]

Prints seconds and their ratio, the two interleaved in one process; the bootstrap is timed by itself,
since its cost depends on the number of resamples and not on that of the slices alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from benchmarks.command import count, one_line_errors
from brainmtl.config import PROJECT_ROOT
from brainmtl.evaluation.predict import predict_maps
from brainmtl.evaluation.run import predict_cases
from brainmtl.evaluation.selection import read_frame
from brainmtl.inference.operating.operating_point import OperatingPoint
from brainmtl.models import create_multi_task_model
from brainmtl.words import quantity


@one_line_errors()
def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, default=PROJECT_ROOT / "data/processed")
    parser.add_argument("--repeats", type=count, default=3)
    parser.add_argument("--samples", type=count, default=300)
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    frame = read_frame(options.data_dir).head(options.samples)
    model = create_multi_task_model(base_filters=32, depth=3, stem="space_to_depth").eval()
    network = {"precision": "bf16" if options.bf16 else "32", "progress": False}
    # A threshold at which an untrained network draws large ragged masks: no easier than real ones.
    point = OperatingPoint.default()
    seconds: dict[str, list[float]] = {"forward": [], "evaluation": [], "bootstrap": []}
    for _ in range(options.repeats + 1):
        start = time.perf_counter()
        for _ in predict_maps(model, options.data_dir, frame, ("none",), **network):
            pass
        middle = time.perf_counter()
        evidence, _ = predict_cases(model, options.data_dir, frame, point, None, network)
        end = time.perf_counter()
        evidence.score(point.threshold, point.seg_threshold, 1, 2000, 0)
        last = time.perf_counter()
        for name, value in zip(seconds, (middle - start, end - middle, last - end), strict=True):
            seconds[name].append(value)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"{name:12} {value:8.2f} s for {quantity(len(frame), 'samples')}")
    print(f"evaluation / forward = {medians['evaluation'] / medians['forward']:.2f}")


if __name__ == "__main__":
    main()
