"""The model against baselines: figures against scikit-learn, and when a baseline counts as beaten."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from brainmtl.evaluation.shortcuts.baselines import BASELINES
from brainmtl.evaluation.shortcuts.comparison import cluster_interval, summarise_baselines


def rows(labels: np.ndarray, scores: np.ndarray, source: str = "a", size: int = 1) -> list[dict]:
    return [
        {
            "image_id": f"{source}{k}",
            "source": source,
            "group": f"{source}_g{k // size}",
            "cls": int(label),
            "calibrated": float(score),
            "probability": float(score),
            "call": int(score >= 0.5),
            "synthetic": 0,
        }
        for k, (label, score) in enumerate(zip(labels, scores, strict=True))
    ]


def as_lines(said: list[dict], name: str) -> list[dict]:
    return [
        {key: row[key] for key in ("image_id", "source", "group", "cls", "call")}
        | {"baseline": name, "score": row["calibrated"]}
        for row in said
        if row["cls"] >= 0
    ]


def noisy(labels: np.ndarray, quality: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(0.5 + quality * (labels - 0.5) + rng.normal(0, 0.2, len(labels)), 0, 1)


@pytest.mark.parametrize("seed", range(3))
def test_figures_against_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 80)
    model, other = noisy(labels, 0.6, seed), noisy(labels, 0.2, seed + 9)
    lines = as_lines(rows(labels, other), "border")
    found = summarise_baselines(lines, rows(labels, model))["sources"]["a"]
    border = found["baselines"]["border"]
    accuracy = [balanced_accuracy_score(labels, s >= 0.5) for s in (model, other)]
    assert found["model"]["balanced_accuracy"] == pytest.approx(accuracy[0])
    assert border["balanced_accuracy"] == pytest.approx(accuracy[1])
    assert border["difference"] == pytest.approx(accuracy[0] - accuracy[1])
    assert border["roc_auc"] == pytest.approx(roc_auc_score(labels, other))
    assert border["model_roc_auc"] == pytest.approx(roc_auc_score(labels, model))
    assert border["difference_interval"]["low"] < border["difference"]
    assert border["difference"] < border["difference_interval"]["high"]
    assert border["n"] == 80 and found["n_tumour"] == labels.sum()


def test_interval_resembles_a_brute_force_bootstrap_over_groups() -> None:
    labels = np.repeat(np.arange(60) % 2, 3)
    model = rows(labels, noisy(labels, 0.4, 0), size=3)
    other = rows(labels, noisy(labels, 0.2, 1), size=3)
    found = cluster_interval(model, other)
    rng = np.random.default_rng(5)
    index = np.arange(180).reshape(60, 3)
    calls = [np.array([row["call"] for row in part]) for part in (model, other)]
    draws = []
    for _ in range(800):
        drawn = index[rng.integers(0, 60, 60)].ravel()
        one, two = (balanced_accuracy_score(labels[drawn], c[drawn]) for c in calls)
        draws.append(one - two)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert found["n"] == 60
    assert found["low"] == pytest.approx(low, abs=0.03)
    assert found["high"] == pytest.approx(high, abs=0.03)


def test_beaten_needs_an_interval_above_zero() -> None:
    labels = np.arange(100) % 2
    good = rows(labels, labels.astype(float))
    lines = [
        *as_lines(rows(labels, noisy(labels, 0.0, 1)), "metadata"),
        *as_lines(good, "border"),
        *as_lines(rows(labels, noisy(labels, 0.9, 2)), "neighbour"),
    ]
    summary = summarise_baselines(lines, good)
    found = summary["sources"]["a"]["baselines"]
    assert found["metadata"]["beaten"] is True
    assert found["border"]["difference"] == 0 and found["border"]["beaten"] is False
    assert found["intensity"]["beaten"] is None and found["intensity"]["reason"]
    text = " ".join(summary["sentences"])
    assert f"On a the model does not beat {BASELINES['border']}" in text
    assert BASELINES["metadata"] not in text


def test_a_better_baseline_is_named_with_its_figures() -> None:
    labels = np.arange(60) % 2
    lines = as_lines(rows(labels, labels.astype(float)), "neighbour")
    summary = summarise_baselines(lines, rows(labels, noisy(labels, 0.1, 0)))
    found = summary["sources"]["a"]["baselines"]["neighbour"]
    assert found["beaten"] is False and found["difference_interval"]["high"] < 0
    assert "1-nearest-neighbour on 32x32 pixels (balanced accuracy 0." in summary["sentences"][0]
    assert "does not beat" in summary["sentences"][0] and "against 1.00" in summary["sentences"][0]


def test_a_lead_that_may_be_chance_is_worded_so() -> None:
    labels = np.arange(40) % 2
    other = labels.astype(float)
    other[:2] = 1 - other[:2]
    summary = summarise_baselines(
        as_lines(rows(labels, other), "border"), rows(labels, labels.astype(float))
    )
    found = summary["sources"]["a"]["baselines"]["border"]
    assert found["difference"] == pytest.approx(0.05)
    assert found["beaten"] is (found["difference_interval"]["low"] > 0)
    assert found["beaten"] is False
    assert "is not shown to beat" in summary["sentences"][0]


def test_model_that_beats_all_is_said_once() -> None:
    labels = np.arange(80) % 2
    lines = [
        line
        for k, name in enumerate(BASELINES)
        for line in as_lines(rows(labels, noisy(labels, 0.0, k)), name)
    ]
    summary = summarise_baselines(lines, rows(labels, labels.astype(float)))
    assert len(summary["sentences"]) == 1
    assert "beats every trivial baseline" in summary["sentences"][0]


def test_synthetic_sources_are_called_synthetic() -> None:
    labels = np.arange(20) % 2
    said = [row | {"synthetic": 1} for row in rows(labels, labels.astype(float), "phantom_x")]
    summary = summarise_baselines(as_lines(said, "border"), said)
    assert "x-like (synthetic)" in summary["sentences"][0]


def test_degenerate_test_sets_have_reasons() -> None:
    one_class = rows(np.ones(10, int), np.ones(10))
    found = summarise_baselines(as_lines(one_class, "border"), one_class)["sources"]["a"]
    assert found["model"]["balanced_accuracy"] is None
    (sentence,) = summarise_baselines(as_lines(one_class, "border"), one_class)["sentences"]
    assert "one label only" in sentence and "no labelled test image" not in sentence
    border = found["baselines"]["border"]
    assert border["balanced_accuracy"] is border["beaten"] is border["difference"] is None
    assert "one label" in border["reason"] and border["n"] == 10
    unlabelled = rows(np.full(4, -1), np.ones(4))
    summary = summarise_baselines([], unlabelled)
    assert summary["sources"]["a"]["n"] == 0
    assert "cannot be compared" in summary["sentences"][0]
    one_group = rows(np.arange(10) % 2, np.arange(10) % 2, size=10)
    summary = summarise_baselines(as_lines(one_group, "border"), one_group)
    border = summary["sources"]["a"]["baselines"]["border"]
    assert border["beaten"] is None and border["difference"] == 0
    assert border["difference_interval"]["low"] is None
    assert "too few groups" in summary["sentences"][0]


def test_folds_are_summarised_from_their_lines_together() -> None:
    labels = np.arange(80) % 2
    said = rows(labels, noisy(labels, 0.5, 0))
    lines = as_lines(rows(labels, noisy(labels, 0.2, 1)), "border")
    folds = [line | {"fold": 0} for line in lines[:40]] + [
        line | {"fold": 1} for line in lines[40:]
    ]
    shuffled = [folds[k] for k in np.random.default_rng(0).permutation(80)]
    one, other = (
        summarise_baselines(x, said)["sources"]["a"]["baselines"]["border"]
        for x in (lines, shuffled)
    )
    assert one["balanced_accuracy"] == other["balanced_accuracy"]
    assert one["difference"] == pytest.approx(other["difference"])
