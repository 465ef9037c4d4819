"""Prepared images as a person looks at them: which ones, their grey values, outlines of masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REFERENCE, PREDICTION = "lime", "darkorange"
LABEL_NAMES = {1: "tumour", 0: "no tumour", -1: "no label"}


def spread_choice(labels: np.ndarray, count: int) -> list[int]:
    """Places of ``count`` samples, half of them with tumour where there are both, over all patients.

    Middles of equal shares and not the first and last rows: those are the ends of volumes, where a
    slice shows little brain and less tumour.

    Args:
        labels: (N,) of 1 tumour, 0 none; others are not chosen.
        count: at most so many.
    """
    chosen: list[int] = []
    for label in (1, 0):
        rows = np.flatnonzero(labels == label)
        share = min(len(rows), -(-count // 2))
        middles = (np.arange(share) + 0.5) * len(rows) / max(share, 1)
        chosen += [int(row) for row in rows[middles.astype(int)]]
    return chosen[:count]


def show_image(axis: Axes, image: np.ndarray) -> None:
    """Draw the first channel of a prepared image (C, H, W), in SD of its foreground."""
    axis.imshow(image[0], cmap="gray", vmin=-3, vmax=4)
    axis.axis("off")


def show_outline(axis: Axes, mask: np.ndarray, colour: str, width: float) -> None:
    """Draw the outline of a mask (H, W); nothing where it is empty."""
    if mask.any():
        axis.contour(mask.astype(float), levels=[0.5], colors=colour, linewidths=width)
