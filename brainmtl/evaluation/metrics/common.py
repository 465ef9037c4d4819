"""Ratios, means and crops that the metric modules share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

Rate = tuple[int, int]


def ratio(numerator: float, denominator: float) -> float | None:
    """``numerator / denominator``, or None when the denominator is 0."""
    return float(numerator) / float(denominator) if denominator else None


def mean_sd(values: Sequence[float | None]) -> dict[str, float | int | None]:
    """``{"mean", "sd", "n"}`` of the defined values; mean is None for n = 0, SD for n < 2."""
    defined = np.array([value for value in values if value is not None], dtype=np.float64)
    return {
        "mean": float(defined.mean()) if defined.size else None,
        "sd": float(defined.std(ddof=1)) if defined.size > 1 else None,
        "n": int(defined.size),
    }


def group_means(pairs: Iterable[tuple[str, float | None]]) -> list[float]:
    """Mean of the defined values of each group, from (group, value) pairs.

    A group without a defined value is left out; groups come in the order of their first pair.
    """
    by_group: dict[str, list[float]] = {}
    for group, value in pairs:
        if value is not None:
            by_group.setdefault(group, []).append(value)
    return [float(np.mean(values)) for values in by_group.values()]


def check_same_grid(prediction: np.ndarray, reference: np.ndarray) -> None:
    """ValueError where two masks differ in shape."""
    if prediction.shape != reference.shape:
        raise ValueError(
            f"prediction {prediction.shape} and reference {reference.shape} differ in shape: "
            "bring both to the same grid first"
        )


def bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Smallest box that holds every true element of a mask; empty slices for an empty mask."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        inside = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(0, 0))
    return tuple(box)
