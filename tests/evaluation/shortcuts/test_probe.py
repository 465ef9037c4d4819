"""Linear probes: 1 where sources differ, 0.5 where they do not, None where nothing can be told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from planted import Spec, new_model, parts, write_folder
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from brainmtl.evaluation.shortcuts.probe import (
    FEATURES,
    probe_features,
    probe_report,
    probe_source,
)


def features(sources: dict[str, tuple[int, float]], seed: int, width: int = 6) -> dict:
    """Gaussian features (n, width) around an own mean per source; labels alternate."""
    rng = np.random.default_rng(seed)
    source = np.repeat(list(sources), [n for n, _ in sources.values()]).astype(object)
    shift = np.repeat([mean for _, mean in sources.values()], [n for n, _ in sources.values()])
    values = rng.normal(size=(len(source), width)) + shift[:, None]
    return dict.fromkeys(FEATURES, values) | {
        "source": source,
        "group": np.arange(len(source)).astype(str),
        "label": np.arange(len(source)) % 2,
    }


def test_separable_and_identical_sources() -> None:
    apart = {"a": (200, 0.0), "b": (200, 3.0), "c": (200, -3.0)}
    found = probe_source(features(apart, 0), features(apart, 1))
    assert found["bottleneck"] > 0.99 and found["n_test"] == 600
    assert set(found["pairs"]) == {"a | b", "a | c", "b | c"}
    assert all(pair["pixels"] > 0.99 for pair in found["pairs"].values())
    alike = {"a": (300, 0.0), "b": (300, 0.0)}
    found = probe_source(features(alike, 0), features(alike, 1))
    assert found["bottleneck"] == pytest.approx(0.5, abs=0.06)
    assert found["pairs"]["a | b"]["n_test_a"] == found["pairs"]["a | b"]["n_test_b"] == 300


def test_macro_auc_is_the_mean_of_one_against_the_rest() -> None:
    sources = {"a": (60, 0.0), "b": (40, 0.4), "c": (50, -0.3)}
    train, test = features(sources, 0), features(sources, 1)
    scaler = StandardScaler().fit(train["bottleneck"])
    probe = LogisticRegression(C=0.1, max_iter=500, class_weight="balanced")
    probe.fit(scaler.transform(train["bottleneck"]), train["source"])
    scores = probe.predict_proba(scaler.transform(test["bottleneck"]))
    single = [roc_auc_score(test["source"] == name, scores[:, k]) for k, name in enumerate("abc")]
    assert probe_source(train, test)["bottleneck"] == pytest.approx(np.mean(single))


def test_report_of_planted_images(tmp_path: Path) -> None:
    frame = write_folder(
        tmp_path,
        {
            "scalp": Spec(40, 40, "intensity", scalp=True),
            "bare": Spec(40, 40, None, smooth=2.0),
        },
    )
    model = new_model()
    train, test = (probe_features(model, tmp_path, p, progress=False) for p in parts(frame))
    assert train["bottleneck"].shape == (80, model.head.in_features)
    assert train["pixels"].shape == (80, 32 * 32)
    found = probe_report(train, test)
    assert found["source"]["all"]["pixels"] == 1.0
    assert found["source"]["all"]["bottleneck"] > 0.99
    tumour = found["source"]["tumour_only"]
    assert tumour["n_test"] == 40 and tumour["untrained"] > 0.99
    assert found["label"]["scalp"]["pixels"] > 0.9
    assert 0.2 < found["label"]["bare"]["pixels"] < 0.8
    label = found["label"]["bare"]
    assert label["n_test_tumour"] == label["n_test_no_tumour"] == 20


def test_sources_drawn_alike_cannot_be_told_apart(tmp_path: Path) -> None:
    frame = write_folder(tmp_path, {"one": Spec(60, 60), "two": Spec(60, 60)})
    train, test = (probe_features(new_model(), tmp_path, p, progress=False) for p in parts(frame))
    found = probe_report(train, test)["source"]["all"]
    assert all(0.35 < found[name] < 0.65 for name in FEATURES)


def test_degenerate_sources_have_reasons() -> None:
    one = features({"a": (30, 0.0)}, 0)
    found = probe_report(one, one)
    assert found["source"]["all"]["bottleneck"] is None and found["source"]["all"]["reason"]
    train = features({"a": (30, 0.0), "b": (30, 1.0)}, 0)
    test = features({"a": (30, 0.0), "b": (30, 1.0), "new": (30, 2.0)}, 1)
    found = probe_source(train, test)
    assert set(found["left_out"]) == {"new"} and found["n_test"] == 60
    tumour_only_a = test | {"label": (test["source"] == "a").astype(int)}
    report = probe_report(train, tumour_only_a)
    assert report["source"]["tumour_only"]["pixels"] is None
    assert set(report["source"]["tumour_only"]["left_out"]) == set()
    assert report["label"]["b"]["bottleneck"] is None and report["label"]["b"]["reason"]
