"""What a prepared folder holds, counted from its manifest; opens no sample and needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def dataset_statistics(
    frame: pd.DataFrame,
    seg_sources: Sequence[str] = ("brats",),
    cls_sources: Sequence[str] = ("kaggle",),
) -> dict[str, Any]:
    """Statistics of the manifest rows ``frame``; see :func:`count_statistics` for the keys.

    ``frame`` is :func:`brainmtl.data.manifest.read_manifest`'s, or any selection of its rows.
    """
    codes, names = frame["source"].factorize(sort=True)
    labels = np.asarray(frame["label"], dtype=np.int8)
    return count_statistics(
        np.asarray(codes),
        [str(name) for name in names],
        labels,
        seg_sources,
        cls_sources,
    )


def count_statistics(
    codes: np.ndarray,
    names: Sequence[str],
    labels: np.ndarray,
    seg_sources: Sequence[str],
    cls_sources: Sequence[str],
) -> dict[str, Any]:
    """Counts and ratios of samples with source ``codes`` (into ``names``) and labels 1, 0 or -1.

    Returns:
        ``total_samples``, ``labelled_samples``; ``brats_samples`` and ``kaggle_samples`` count the
        sources in the segmentation and in the classification role (a source that plays both counts
        in both), ``brats_ratio`` and ``kaggle_ratio`` are their shares of the total;
        ``tumor_ratio`` the share of tumour among the *labelled* samples; ``samples_per_source`` and
        ``tumor_ratio_per_source`` the same by source. A ratio over nothing is None.
    """
    total = len(codes)
    per_source = np.bincount(codes, minlength=len(names)).tolist()
    in_role = {
        role: sum(n for name, n in zip(names, per_source, strict=True) if name in set(sources))
        for role, sources in (("brats", seg_sources), ("kaggle", cls_sources))
    }
    return {
        "total_samples": total,
        "brats_samples": in_role["brats"],
        "brats_ratio": _ratio(in_role["brats"], total),
        "kaggle_samples": in_role["kaggle"],
        "kaggle_ratio": _ratio(in_role["kaggle"], total),
        "labelled_samples": int((labels >= 0).sum()),
        "tumor_ratio": _tumour_ratio(labels),
        "samples_per_source": dict(zip(names, per_source, strict=True)),
        "tumor_ratio_per_source": {
            name: _tumour_ratio(labels[codes == code]) for code, name in enumerate(names)
        },
    }


def inverse_frequency(labels: np.ndarray) -> np.ndarray:
    """Weights (2,) float64 of the labels 0 and 1, n / (2 n_c); unlabelled (-1) do not count.

    Their mean over the labelled samples is 1. Where a label does not occur, there is nothing to
    balance and both weights are 1.
    """
    counts = np.array([(labels == 0).sum(), (labels == 1).sum()], dtype=np.float64)
    if counts.min() == 0:
        return np.ones(2)
    return counts.sum() / (2.0 * counts)


def _tumour_ratio(labels: np.ndarray) -> float | None:
    return _ratio(int((labels == 1).sum()), int((labels >= 0).sum()))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
