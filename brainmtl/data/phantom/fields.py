"""Axes, smooth random fields and interpolation as products of small matrices.

A Gaussian random field on a product grid is white noise on knots times one matrix per axis. That
costs milliseconds where filtering or zooming a full-size array costs tens, has no border effect,
and gives the field at any set of planes, so that one slice is as cheap as it should be.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Axes = Sequence[np.ndarray]  # one 1-D float32 array of positions in mm per dimension


def apply_along_axes(matrices: Sequence[np.ndarray], array: np.ndarray) -> np.ndarray:
    """Multiply every axis k of ``array`` by ``matrices[k]`` of shape (new, old)."""
    for axis, matrix in enumerate(matrices):
        array = np.moveaxis(np.tensordot(matrix, array, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(array)


def gaussian_field(rng: np.random.Generator, axes: Axes, sigma: float) -> np.ndarray:
    """Zero-mean, unit-variance field at the product grid of ``axes``: white noise smoothed by sigma mm."""
    matrices = []
    for axis in axes:
        low, high = float(axis.min()) - 3 * sigma, float(axis.max()) + 3 * sigma
        knots = np.arange(low, high + sigma, sigma, dtype=np.float32)
        kernel = np.exp(-0.5 * ((np.asarray(axis)[:, None] - knots[None]) / sigma) ** 2)
        kernel /= np.sqrt((kernel**2).sum(1, keepdims=True))  # variance 1 at every position
        matrices.append(kernel.astype(np.float32))
    noise = rng.standard_normal([m.shape[1] for m in matrices], dtype=np.float32)
    return apply_along_axes(matrices, noise)


def interpolation_matrix(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Matrix (new, old) of linear interpolation from evenly spaced positions, constant outside."""
    step = float(old[1] - old[0])
    place = np.clip((np.asarray(new) - old[0]) / step, 0, len(old) - 1)
    left = np.minimum(place.astype(np.int64), len(old) - 2)
    matrix = np.zeros((len(new), len(old)), np.float32)
    rows = np.arange(len(new))
    matrix[rows, left] = 1 - (place - left)
    matrix[rows, left + 1] = place - left
    return matrix


def resample(array: np.ndarray, old: Axes, new: Axes) -> np.ndarray:
    """Trilinear interpolation of ``array`` on the grid ``old`` to the grid ``new`` (both in mm)."""
    return apply_along_axes(
        [interpolation_matrix(o, n) for o, n in zip(old, new, strict=True)], array
    )


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Logistic function, safe for large arguments."""
    return (0.5 * (1 + np.tanh(0.5 * x))).astype(np.float32)


def grid_offsets(axes: Axes, point: Sequence[float]) -> list[np.ndarray]:
    """Per dimension the offsets axis - point, shaped to broadcast against each other."""
    shapes = np.eye(len(axes), dtype=int) * -2 + 1  # (-1, 1, 1), (1, -1, 1), (1, 1, -1)
    return [
        (np.asarray(axis, np.float32) - np.float32(p)).reshape(shape)
        for axis, p, shape in zip(axes, point, shapes, strict=True)
    ]
