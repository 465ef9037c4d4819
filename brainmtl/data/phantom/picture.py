"""A picture of the phantom for the documentation: ``python -m brainmtl.data.phantom.picture``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brainmtl.data.phantom.sequences import SEQUENCES
from brainmtl.data.phantom.variety import VARIETIES
from brainmtl.files import atomic_path

DEFAULT_PATH = "docs/images/phantom.png"


def widest_slice(labels: np.ndarray) -> int:
    """Index of the slice (last axis) with most tumour, of the middle one where there is none."""
    area = (labels > 0).sum((0, 1))
    return int(area.argmax()) if area.any() else labels.shape[2] // 2


def _show_volume(axis: Any, flair: np.ndarray, labels: np.ndarray) -> None:
    k = widest_slice(labels)
    plane, mask = flair[:, :, k].T[20:220, 30:210], labels[:, :, k].T[20:220, 30:210] > 0
    brain = plane > 0
    axis.imshow(plane, cmap="gray", vmin=0, vmax=np.percentile(plane[brain], 99.5))
    if mask.any():
        axis.contour(mask, [0.5], colors="#ff5a36", linewidths=1.0)
    axis.set_title("tumour, mask drawn" if mask.any() else "healthy", fontsize=8)


def draw(
    path: str | Path,
    seed: int = 0,
    columns: int = 6,
    sequences: Sequence[str] = ("flair",),
    variety: str = "textbook",
) -> None:
    """Write a PNG: two rows of brats-like slices with mask contours, two of kaggle-like photographs."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from brainmtl.data.phantom.atlas import load_atlas
    from brainmtl.data.phantom.photo import render_photo
    from brainmtl.data.phantom.render import render_volume
    from brainmtl.data.phantom.writer import (
        PHOTO_STREAM,
        VOLUME_STREAM,
        is_healthy,
        photo_sequence,
        subject_rng,
    )

    atlas, ranges = load_atlas(), VARIETIES[variety]
    figure, axes = plt.subplots(4, columns, figsize=(2 * columns, 9.2), layout="constrained")
    for i, axis in enumerate(axes[:2].flat):
        rng = subject_rng(seed, VOLUME_STREAM, i)
        _show_volume(axis, *render_volume(atlas, rng, not is_healthy(i, 0.25), ranges))
    for i, axis in enumerate(axes[2:].flat):
        sequence = photo_sequence(sequences, i)
        rng = subject_rng(seed, PHOTO_STREAM, i)
        photo = render_photo(atlas, rng, i % 2 == 0, sequence, ranges)
        axis.imshow(photo.convert("L"), cmap="gray", vmin=0, vmax=255)
        axis.set_title(
            f"{'yes' if i % 2 == 0 else 'no'}, {sequence}, {photo.width} x {photo.height}",
            fontsize=8,
        )
    for axis in axes.flat:
        axis.axis("off")
    figure.suptitle(
        "Phantom (synthetic): brats-like slices above, kaggle-like pictures below", fontsize=11
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=80, metadata={"Software": None})
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command-line entry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default=DEFAULT_PATH, help="PNG to write (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the phantom")
    parser.add_argument("--columns", type=int, default=6, help="heads per row")
    parser.add_argument(
        "--sequences",
        nargs="+",
        default=["flair"],
        choices=list(SEQUENCES),
        help="of the pictures, in turn",
    )
    parser.add_argument("--variety", default="textbook", choices=list(VARIETIES))
    options = parser.parse_args(arguments)
    draw(options.out, options.seed, options.columns, options.sequences, options.variety)
    print(f"wrote {options.out} (synthetic)")


if __name__ == "__main__":
    main()
