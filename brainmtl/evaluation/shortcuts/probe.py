"""Linear probes: what can be read off the features that the classification head pools.

Alain and Bengio, "Understanding intermediate layers using linear classifier probes", 2016.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.evaluation.metrics import roc_auc
from brainmtl.evaluation.shortcuts.images import sample_batches, thumbnail
from brainmtl.evaluation.shortcuts.network import pooled_bottleneck, untrained_encoder

if TYPE_CHECKING:
    import pandas as pd

    from brainmtl.models.multitask import MultiTaskModel

MIN_IMAGES = 5  # per class, in training and in test: below that a probe's figure is noise
FEATURES = ("bottleneck", "untrained", "pixels")
CLASSES = ("no_tumour", "tumour", "unlabelled")  # labels 0, 1 and -1, the last place
Part = dict[str, np.ndarray]


def probe_features(
    model: MultiTaskModel,
    data_dir: str | Path,
    part: pd.DataFrame,
    *,
    seed: int = 0,
    progress: bool = True,
) -> Part:
    """Features of the rows of ``part``, each (N, F), with their ``source``, ``label``, ``group``.

    ``bottleneck`` is pooled from the trained encoder, ``untrained`` from one of the same
    architecture with random weights, ``pixels`` is the image at 32x32.
    """
    fresh = untrained_encoder(model, seed)
    found: dict[str, list[np.ndarray]] = {name: [] for name in FEATURES}
    for _, samples in sample_batches(data_dir, part, text="features", progress=progress):
        images = [sample.image for sample in samples]
        found["bottleneck"].append(pooled_bottleneck(model.encoder, model, images))
        found["untrained"].append(pooled_bottleneck(fresh, model, images))
        found["pixels"].append(np.stack([thumbnail(image).ravel() for image in images]))
    features = {name: np.concatenate(values) for name, values in found.items() if values}
    return features | {
        "source": part["source"].astype(str).to_numpy(),
        "group": part["group"].astype(str).to_numpy(),
        "label": part["label"].to_numpy().astype(int),
    }


def probe_report(train: Part, test: Part) -> dict[str, Any]:
    """Probes fitted on ``train`` and scored on ``test``, from :func:`probe_features`.

    ``source``: which source an image is of, over all images and over tumour images alone (label and
    source go together, so a network that only knows the label tells sources apart too). ``label``:
    tumour or not, within each source. Figures are ROC-AUC on test images; with more than two
    sources the unweighted mean of one source against the rest.
    """
    tumour = [_rows(part, part["label"] == 1) for part in (train, test)]
    sources = sorted(set(test["source"]))
    return {
        "source": {"all": probe_source(train, test), "tumour_only": probe_source(*tumour)},
        "label": {source: _probe_label(train, test, source) for source in sources},
    }


def probe_source(train: Part, test: Part) -> dict[str, Any]:
    """ROC-AUC of the source, overall and for each pair of sources, with n and what was left out."""
    known = [name for name in sorted(set(test["source"])) if _enough(train, test, "source", name)]
    left_out = dict.fromkeys(
        sorted(set(test["source"]) - set(known)),
        f"fewer than {MIN_IMAGES} images in training or test",
    )
    pairs = {
        f"{first} | {second}": _score(train, test, "source", [first, second])
        for first, second in combinations(known, 2)
    }
    if len(known) < 2:
        reason = "fewer than two sources with enough images: there is nothing to tell apart"
        return _undefined(reason) | {"pairs": {}, "left_out": left_out}
    overall = (
        pairs[f"{known[0]} | {known[1]}"]
        if len(known) == 2
        else _score(train, test, "source", known)
    )
    return overall | {"pairs": pairs, "left_out": left_out}


def _probe_label(train: Part, test: Part, source: str) -> dict[str, Any]:
    own = [_rows(part, part["source"] == source) for part in (train, test)]
    named = [part | {"label": np.array(CLASSES, dtype=object)[part["label"]]} for part in own]
    if not all(_enough(*named, "label", name) for name in CLASSES[:2]):
        return _undefined(f"fewer than {MIN_IMAGES} images of a class in training or test")
    return _score(*named, "label", list(CLASSES[:2]))


def _score(train: Part, test: Part, target: str, classes: list[Any]) -> dict[str, Any]:
    train, test = (_rows(part, np.isin(part[target], classes)) for part in (train, test))
    return (
        {name: _auc(train, test, target, name) for name in FEATURES}
        | {
            "n_train": len(train[target]),
            "n_test": len(test[target]),
            "n_test_groups": len(set(test["group"])),
        }
        | {f"n_test_{name}": int((test[target] == name).sum()) for name in classes}
    )


def _auc(train: Part, test: Part, target: str, feature: str) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.1, max_iter=500, class_weight="balanced")
    )
    probe.fit(train[feature], train[target])
    scores = probe.predict_proba(test[feature])
    classes = probe[-1].classes_
    if len(classes) == 2:
        return roc_auc((test[target] == classes[1]).astype(int), scores[:, 1])
    return float(
        roc_auc_score(test[target], scores, labels=classes, multi_class="ovr", average="macro")
    )


def _undefined(reason: str) -> dict[str, Any]:
    return dict.fromkeys(FEATURES) | {"n_train": 0, "n_test": 0, "reason": reason}


def _rows(part: Part, keep: np.ndarray) -> Part:
    return {name: values[keep] for name, values in part.items()}


def _enough(train: Part, test: Part, target: str, value: Any) -> bool:
    return all((part[target] == value).sum() >= MIN_IMAGES for part in (train, test))
