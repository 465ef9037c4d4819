"""Predictors that cannot know what a tumour looks like, and whether the model beats them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.evaluation.shortcuts.descriptors import describe
from brainmtl.evaluation.shortcuts.images import at_most

if TYPE_CHECKING:
    import pandas as pd

BASELINES = {
    "metadata": "file metadata",
    "border": "the image border",
    "intensity": "the intensity histogram",
    "neighbour": "1-nearest-neighbour on 32x32 pixels",
}
TRAIN_LIMIT = 1000  # training images per source, evenly over label and patient
Lines = list[dict[str, Any]]


def baseline_lines(
    data_dir: str | Path,
    train: pd.DataFrame,
    test: pd.DataFrame,
    *,
    train_limit: int = TRAIN_LIMIT,
    seed: int = 0,
    progress: bool = True,
) -> Lines:
    """What each baseline says of each labelled test image, trained within the image's source.

    One dict per image and baseline of :data:`BASELINES`: image_id, source, group, cls, baseline,
    ``score`` in [0, 1] (higher = tumour) and ``call`` (1 from 0.5 on; classes weigh the same). No
    lines for a source whose training images lack a class. Baselines: ``metadata`` (original height,
    width, spacing, place of the slice; gradient boosting), ``border`` (outer 8 % of the image;
    logistic regression), ``intensity`` (quantiles and histogram of the head; gradient boosting),
    ``neighbour`` (label of the nearest training image at 32x32; the score compares the distances to
    the nearest image of each class).
    """
    lines: Lines = []
    labelled = test[test["label"] >= 0]
    for source, own in labelled.groupby(labelled["source"].astype(str)):
        known = train[(train["source"].astype(str) == source) & (train["label"] >= 0)]
        if known["label"].nunique() < 2:
            continue
        known = at_most(known, train_limit)
        options = {"text": f"baselines, {source}", "progress": progress}
        seen, new = (describe(data_dir, part, **options) for part in (known, own))
        for name, score in _scores(seen, known["label"].to_numpy(), new, seed).items():
            lines += [
                {
                    "image_id": str(row.image_id),
                    "source": source,
                    "group": str(row.group),
                    "cls": int(row.label),
                    "baseline": name,
                    "score": float(value),
                    "call": int(value >= 0.5),
                }
                for row, value in zip(own.itertuples(index=False), score, strict=True)
            ]
    return lines


def _scores(
    train: Mapping[str, np.ndarray], labels: np.ndarray, test: Mapping[str, np.ndarray], seed: int
) -> dict[str, np.ndarray]:
    """Score in [0, 1] per baseline and test image, (N,) each."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def boosting() -> Any:
        return HistGradientBoostingClassifier(
            max_leaf_nodes=8, min_samples_leaf=5, class_weight="balanced", random_state=seed
        )

    logistic = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.1, max_iter=500, class_weight="balanced")
    )
    models = {"metadata": boosting(), "border": logistic, "intensity": boosting()}
    found = {
        name: model.fit(train[name], labels).predict_proba(test[name])[:, 1]
        for name, model in models.items()
    }
    return found | {"neighbour": nearest_neighbour(train["pixels"], labels, test["pixels"])}


def nearest_neighbour(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """(N,) in [0, 1]: d0 / (d0 + d1), the Euclidean distances to the nearest image of each class.

    At 0.5 or above the nearest training image (M, F) shows a tumour, or both are equally far.
    """
    from sklearn.metrics import pairwise_distances_argmin_min

    none, tumour = (
        pairwise_distances_argmin_min(test, train[labels == label])[1] for label in (0, 1)
    )
    total = none + tumour
    return np.divide(none, total, out=np.full(len(test), 0.5), where=total > 0)
