"""How far the source of an image gives its label away: counts, and the label guessed from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.evaluation.metrics import ratio

if TYPE_CHECKING:
    import pandas as pd


def label_source_association(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
    """Counts of labels per source, and what the source alone says about the label.

    Args:
        train, test: parts of the manifest; rows without a label (-1) are counted and used nowhere.

    Returns:
        ``counts`` per part and source; per part ``cramers_v`` in [0, 1] (Cramer 1946, without bias
        correction), ``mutual_information_bits`` and ``label_entropy_bits`` (their ratio is the
        share of the uncertainty about the label that the source removes); ``source_only``: test
        accuracy of calling each image the more frequent label that its source has in training
        (equal counts: tumour), and ``majority_only``: of calling all the overall one. A figure that
        is not defined is None, and ``reason`` says why.
    """
    parts = {"train": train, "test": test}
    strength = {name: _strength(part) for name, part in parts.items()}
    return {
        "counts": {name: _counts(part) for name, part in parts.items()},
        "strength": strength,
        **_source_only(train, test),
    }


def _counts(part: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {
        source: {
            "n": len(rows),
            "n_groups": int(rows["group"].astype(str).nunique()),
            "n_tumour": int((rows["label"] == 1).sum()),
            "n_no_tumour": int((rows["label"] == 0).sum()),
            "n_unlabelled": int((rows["label"] < 0).sum()),
        }
        for source, rows in part.groupby(part["source"].astype(str))
    }


def _strength(part: pd.DataFrame) -> dict[str, Any]:
    from scipy.stats import entropy
    from scipy.stats.contingency import association, crosstab
    from sklearn.metrics import mutual_info_score

    labelled = part[part["label"] >= 0]
    sources = labelled["source"].astype(str).to_numpy()
    labels = labelled["label"].to_numpy()
    table = crosstab(sources, labels).count if len(labelled) else np.zeros((0, 0), dtype=int)
    names = ("cramers_v", "mutual_information_bits", "label_entropy_bits")
    if min(table.shape) < 2:
        missing = "source" if table.shape[0] < 2 else "label"
        reason = f"fewer than two {missing}s: there is nothing to associate"
        return dict.fromkeys(names) | {"n": len(labelled), "reason": reason}
    values = (
        association(table, method="cramer"),
        mutual_info_score(sources, labels) / np.log(2),
        entropy(table.sum(axis=0), base=2),
    )
    return {k: float(v) for k, v in zip(names, values, strict=True)} | {"n": len(labelled)}


def _source_only(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
    labelled_train, labelled_test = train[train["label"] >= 0], test[test["label"] >= 0]
    share = labelled_train.groupby(labelled_train["source"].astype(str))["label"].mean()
    sources = labelled_test["source"].astype(str)
    known = labelled_test[sources.isin(share.index).to_numpy()]
    unknown = sorted(set(sources) - set(share.index))
    if known.empty:
        nothing = {
            "accuracy": None,
            "n": 0,
            "reason": "no labelled test image of a trained-on source",
        }
        return {"source_only": nothing, "majority_only": dict(nothing), "left_out": unknown}
    truth = known["label"].to_numpy()
    by_source = known["source"].astype(str).map(share >= 0.5).to_numpy(dtype=bool)
    overall = np.full(len(truth), labelled_train["label"].mean() >= 0.5)
    return {
        "source_only": _accuracy(truth, by_source),
        "majority_only": _accuracy(truth, overall),
        "majority": {
            str(name): "tumour" if value >= 0.5 else "no tumour" for name, value in share.items()
        },
        "left_out": unknown,
    }


def _accuracy(truth: np.ndarray, calls: np.ndarray) -> dict[str, Any]:
    right = int((truth == calls).sum())
    return {"accuracy": ratio(right, len(truth)), "counts": [right, len(truth)], "n": len(truth)}
