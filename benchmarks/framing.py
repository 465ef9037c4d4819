"""The same slice framed as part of its volume and as a single image: how much differs.

python -m benchmarks.framing SOURCE RAW_DIR [--cases 40] [--stride 5]

Volumes are framed once (one in-plane box for all slices), single images by their own foreground. A
slice that is saved as a picture and sent to the model goes the second way, so this is the gap
between training on volumes and serving their slices. Per slice with brain: the scale of the single
image over the volume's, the overlap (Dice) of both foregrounds, the mean absolute difference in
z-score units over the common foreground once both are brought onto the slice's own grid, and, where
there is tumour, the Dice of its mask after the way through either frame.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import count, one_line_errors
from brainmtl.data.preprocessing.foreground import find_foreground
from brainmtl.data.preprocessing.preprocess import (
    PreparedSlice,
    frame_volume,
    prepare_mask,
    preprocess_slice,
)
from brainmtl.data.preprocessing.regions import bounding_box
from brainmtl.data.records import CaseRef, Source
from brainmtl.data.sources import make_source
from brainmtl.errors import DataError
from brainmtl.words import quantity


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / max(1, first.sum() + second.sum()))


def compare(volume: PreparedSlice, single: PreparedSlice, mask: np.ndarray) -> dict[str, float]:
    """Figures of one slice, see the module; ``mask`` is its tumour on the plane (H, W)."""
    foregrounds = [p.geometry.mask_to_plane(p.foreground) for p in (volume, single)]
    both = foregrounds[0] & foregrounds[1]
    planes = [p.geometry.to_plane(p.image[0], outside=np.nan) for p in (volume, single)]
    scales = [float(np.mean(p.geometry.scale)) for p in (volume, single)]
    box = bounding_box(volume.foreground)
    side = max(box[1] - box[0], box[3] - box[2]) / volume.geometry.size
    result = {
        "scale ratio": scales[1] / scales[0],
        "brain's share of the volume frame's side": side,
        "foreground Dice": dice(*foregrounds),
        "mean |z difference|": float(np.abs(planes[0] - planes[1])[both].mean()),
    }
    if mask.sum() >= 25:
        ways = [p.geometry.mask_to_plane(prepare_mask(mask, p.geometry)) for p in (volume, single)]
        result["mask Dice, volume against single"] = dice(*ways)
        result["tumour outside the single foreground"] = float(
            (mask & ~foregrounds[1]).sum() / mask.sum()
        )
    return result


def compare_case(source: Source, ref: CaseRef, stride: int) -> list[dict[str, float]]:
    """Every ``stride``-th slice with brain of one case."""
    case = source.load(ref)
    frame = frame_volume(case.image[0], case.spacing_mm, case.volume)
    rows = []
    for k in frame.slices[::stride]:
        planes = case.image[:, :, :, k]
        try:
            whole = preprocess_slice(planes, frame.foreground[:, :, k], frame.slice_geometry(k))
            single = preprocess_slice(planes, find_foreground(planes[0]))
        except DataError:
            continue
        rows.append(compare(whole, single, case.mask[:, :, k]))
    return rows


def report(rows: list[dict[str, Any]]) -> None:
    """Median and percentiles over all slices; shares of slices by scale ratio."""
    for key in dict.fromkeys(key for row in rows for key in row):
        values = np.array([row[key] for row in rows if key in row])
        low, middle, high = np.percentile(values, (5, 50, 95))
        print(
            f"{key:42s} median {middle:6.3f}, 5-95 % {low:6.3f}..{high:6.3f}, "
            f"mean {values.mean():6.3f}, n {len(values)}"
        )
    ratios = np.array([row["scale ratio"] for row in rows])
    for limit in (1.05, 1.1, 1.25, 1.5, 2.0):
        print(f"slices enlarged more than {limit:4.2f} x: {100 * (ratios > limit).mean():5.1f} %")
    print(f"slices reduced to less than 0.95 x: {100 * (ratios < 0.95).mean():5.1f} %")


@one_line_errors()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("raw_dir", type=Path)
    parser.add_argument("--cases", type=count, default=1000)
    parser.add_argument("--stride", type=count, default=5)
    options = parser.parse_args()
    source = make_source(options.source)
    rows: list[dict[str, float]] = []
    refs = source.discover(options.raw_dir)[0][: options.cases]
    for ref in refs:
        rows += compare_case(source, ref, options.stride)
    print(f"{options.source}: {quantity(len(rows), 'slices')} of {quantity(len(refs), 'cases')}")
    report(rows)


if __name__ == "__main__":
    main()
