"""Metamorphic checks: changes of an image that must not change what the model says about it.

No reference is needed, since each image is compared with itself: flipped left to right, shifted by
a few pixels, and with all raw intensities multiplied by a number. The idea is Chen, Cheung and Yiu,
"Metamorphic testing: a new approach for generating next test cases", 1998.

A flip and a shift only move prepared pixels. The scale goes through
:func:`brainmtl.data.preprocessing.preprocess.preprocess_slice` with its search for the head, once with and once
without the factor, in the stored frame: what differs is the pipeline's and the model's doing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainmtl.data.preprocessing.geometry import SliceGeometry
from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE, preprocess_slice
from brainmtl.evaluation.metrics import overlap, ratio
from brainmtl.evaluation.robustness.corruptions import head_of, raw_like

MAX_SHIFT = 8  # pixels of the prepared grid, along each axis
MAX_FACTOR = 2.0


@dataclass(frozen=True)
class Variant:
    """Two images (C, H, W) that deserve one answer.

    ``original`` is None where the stored image itself is the one to compare with. ``undo`` takes the
    mask of ``changed`` and the mask of the original (H, W), both bool, to one grid.
    """

    changed: np.ndarray
    original: np.ndarray | None
    undo: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def flip_left_right(image: np.ndarray, rng: np.random.Generator) -> Variant:
    """The mirror image: patient's left for right."""
    return Variant(
        np.ascontiguousarray(image[..., ::-1]),
        None,
        lambda changed, original: (changed[:, ::-1], original),
    )


def translation(image: np.ndarray, rng: np.random.Generator) -> Variant:
    """A shift of 1 to :data:`MAX_SHIFT` whole pixels along each axis, background coming in.

    Masks are compared on the pixels that are in both pictures.
    """
    down, right = rng.integers(1, MAX_SHIFT + 1, size=2) * rng.choice([-1, 1], size=2)
    to_rows, from_rows = _overlap(image.shape[1], int(down))
    to_columns, from_columns = _overlap(image.shape[2], int(right))
    changed = np.full_like(image, BACKGROUND_VALUE)
    changed[:, to_rows, to_columns] = image[:, from_rows, from_columns]
    return Variant(
        changed,
        None,
        lambda moved, original: (moved[to_rows, to_columns], original[from_rows, from_columns]),
    )


def intensity_scale(image: np.ndarray, rng: np.random.Generator) -> Variant:
    """Raw intensities times a factor between 1 / :data:`MAX_FACTOR` and :data:`MAX_FACTOR`."""
    factor = np.float32(MAX_FACTOR ** rng.uniform(-1, 1))
    head = head_of(image)
    raw = np.stack([raw_like(plane, head).plane for plane in image])
    return Variant(
        _prepare(raw * factor), _prepare(raw), lambda changed, original: (changed, original)
    )


CHECKS: dict[str, tuple[str, Callable[[np.ndarray, np.random.Generator], Variant]]] = {
    "flip_left_right": ("Flip left to right", flip_left_right),
    "translation": (f"Shift by 1 to {MAX_SHIFT} pixels", translation),
    "intensity_scale": (
        f"Raw intensities times {1 / MAX_FACTOR:g} to {MAX_FACTOR:g}",
        intensity_scale,
    ),
}


def agreement(first: np.ndarray, second: np.ndarray) -> float | None:
    """Dice between two predicted masks (bool, one shape); None where both are empty."""
    both, one, other = overlap(first, second)
    return ratio(2 * both, one + other)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Figures of one check and source from one dict per image.

    Each row holds ``change`` (|dP|, P calibrated), ``flipped`` (the call, 0 or 1) and
    ``mask_dice`` (see :func:`agreement`).

    Returns:
        ``n, probability_change {mean, p95, max}, flipped {rate, counts}, mask_dice {mean, p5, min,
        n}``; the percentile of the masks' Dice is the 5th: there the low values are the bad ones.
    """
    changes = np.array([row["change"] for row in rows], dtype=np.float64)
    dices = np.array([row["mask_dice"] for row in rows if row["mask_dice"] is not None])
    flipped = sum(bool(row["flipped"]) for row in rows)
    return {
        "n": len(rows),
        "probability_change": _spread(changes, "p95", 95, "max", np.max),
        "flipped": {"rate": ratio(flipped, len(rows)), "counts": [flipped, len(rows)]},
        "mask_dice": {**_spread(dices, "p5", 5, "min", np.min), "n": int(dices.size)},
    }


def _spread(
    values: np.ndarray, name: str, percentile: float, worst: str, extreme: Callable[..., Any]
) -> dict[str, float | None]:
    if not values.size:
        return {"mean": None, name: None, worst: None}
    return {
        "mean": float(values.mean()),
        name: float(np.percentile(values, percentile)),
        worst: float(extreme(values)),
    }


def _overlap(size: int, shift: int) -> tuple[slice, slice]:
    """(target, origin) of the pixels that stay when an axis of ``size`` is shifted by ``shift``."""
    return slice(max(shift, 0), size + min(shift, 0)), slice(max(-shift, 0), size - max(shift, 0))


def _prepare(raw: np.ndarray) -> np.ndarray:
    """The pipeline's way for a raw-like image (C, H, W), whose frame is kept."""
    height, width = raw.shape[1:]
    frame = SliceGeometry((height, width), (0, height, 0, width), (0, 0, 0, 0), (1.0, 1.0), height)
    return preprocess_slice(raw, geometry=frame).image
