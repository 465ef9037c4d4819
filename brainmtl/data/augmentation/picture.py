"""A picture of what augmentation makes of samples."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.data.loading.datasets import sample_seed
from brainmtl.data.pictures import (
    LABEL_NAMES,
    REFERENCE,
    show_image,
    show_outline,
    spread_choice,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from brainmtl.data.augmentation.compose import Augmentation
    from brainmtl.data.loading.datasets import MultiSourceDataset

INCHES, LETTERS = 2.1, 34  # of a picture, and letters in a line above it


def choose_samples(dataset: MultiSourceDataset, per_source: int) -> list[int]:
    """``per_source`` samples of each source, spread over its patients."""
    chosen = []
    for code in range(len(dataset.source_names)):
        rows = np.flatnonzero(dataset.source_codes == code)
        chosen += [int(rows[k]) for k in spread_choice(dataset.labels[rows], per_source)]
    return chosen


def draw_copies(
    dataset: MultiSourceDataset,
    augmentation: Augmentation,
    rows: Sequence[int],
    copies: int,
    names: Mapping[str, str],
) -> Figure:
    """One line for each of ``rows``: the sample as it is prepared, and as training sees it in the
    epochs 0 to ``copies`` - 1, with what was done to it. Reference masks are outlined in green.

    Args:
        dataset: without a transform; its seed is that of the copies.
        augmentation: what makes them.
        rows: samples of the dataset.
        copies: how many of each.
        names: display name per source.
    """
    from matplotlib.figure import Figure

    size = (INCHES * (1 + copies), (INCHES + 0.45) * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    lines = figure.subplots(len(rows), 1 + copies, squeeze=False)
    for axes, row in zip(lines, rows, strict=True):
        sample = dataset[row]
        what = f"{names[sample['source']]}, {LABEL_NAMES[sample['cls']]}"
        _show(axes[0], sample, what, sample["image_id"])
        for epoch, axis in enumerate(axes[1:]):
            augmentation.set_random_state(sample_seed(dataset.seed, epoch, row))
            copy = augmentation(sample)
            _show(axis, copy, ", ".join(augmentation.applied) or "as it is")
    return figure


def _show(axis: Axes, sample: Mapping[str, Any], *title: str) -> None:
    show_image(axis, sample["image"].numpy())
    if sample["mask"] is not None:
        show_outline(axis, sample["mask"].numpy() == 1, REFERENCE, width=0.8)
    lines = [line for text in title for line in textwrap.wrap(text, LETTERS)]
    axis.set_title("\n".join(lines).replace("$", r"\$"), fontsize=7)  # a dollar starts a formula
