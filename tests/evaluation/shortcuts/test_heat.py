"""Means of the heat shares against a direct computation, and images that enter no mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from planted import Spec, new_model, parts, said, trained_model, write_folder

from brainmtl.data.samples import read_sample
from brainmtl.evaluation.shortcuts.heat import heat_report
from brainmtl.inference.gradcam import head_mask, heat_shares, layercam


def test_means_against_a_direct_computation(tmp_path: Path) -> None:
    train, test = parts(write_folder(tmp_path, {"a": Spec(40, 20, "blob", masks=True)}))
    model = trained_model(tmp_path, train)
    probabilities = np.arange(20) / 20  # the calls need not be the model's own
    rows = said(test, probabilities)
    found = heat_report(model, tmp_path, test, rows, limit=20, progress=False)["a"]
    expected: dict[str, list[tuple]] = {"called": [], "tumour": []}
    flat = []
    for row, probability in zip(test.itertuples(), probabilities, strict=True):
        sample = read_sample(tmp_path / row.path)
        heat = layercam(model, torch.from_numpy(sample.image[None]))[0].numpy()
        mask = sample.mask > 0 if sample.mask.any() else None
        shares = heat_shares(heat, head_mask(sample.image), mask)
        if probability >= 0.5:
            expected["called"].append(shares)
        if row.label == 1:
            expected["tumour"].append(shares)
            flat.append(mask.mean())
    for key, shares in expected.items():
        outside = [s.outside_head for s in shares if s.outside_head is not None]
        inside = [s for s in shares if s.inside_tumour is not None]
        own = found[key]
        assert own["n"] == len(outside) and own["n"] + own["n_without_heat"] == 10
        assert own["outside_head"] == pytest.approx(np.mean(outside), abs=1e-6)
        assert own["inside_tumour"] == pytest.approx(np.mean([s.inside_tumour for s in inside]))
        hits = sum(s.pointing_hit for s in inside)
        assert own["pointing"] == {"rate": hits / len(inside), "counts": [hits, len(inside)]}
    if found["tumour"]["n_with_mask"] == 10:
        assert found["tumour"]["flat_inside_tumour"] == pytest.approx(np.mean(flat))


def test_sources_without_masks_calls_or_tumours(tmp_path: Path) -> None:
    specs = {"pictures": Spec(0, 8, "blob"), "healthy": Spec(0, 8, labels=(0,), masks=True)}
    _, test = parts(write_folder(tmp_path, specs))
    rows = said(test, np.zeros(len(test)))
    found = heat_report(new_model(), tmp_path, test, rows, limit=8, progress=False)
    pictures = found["pictures"]
    assert pictures["called"]["outside_head"] is None and pictures["called"]["reason"]
    assert pictures["tumour"]["n"] + pictures["tumour"]["n_without_heat"] == 4
    assert pictures["tumour"]["inside_tumour"] is None
    assert pictures["tumour"]["pointing"] == {"rate": None, "counts": [0, 0]}
    assert found["healthy"]["tumour"]["n"] == 0 and found["healthy"]["tumour"]["reason"]


def test_limit_and_nothing_to_look_at(tmp_path: Path) -> None:
    _, test = parts(
        write_folder(tmp_path, {"a": Spec(0, 30, "blob"), "b": Spec(0, 4, labels=(0,))})
    )
    found = heat_report(
        new_model(), tmp_path, test, said(test, np.ones(34)), limit=5, progress=False
    )
    called = found["a"]["called"]
    assert called["n"] + called["n_without_heat"] == 5
    healthy = test[test["source"] == "b"]
    rows = said(healthy, np.zeros(4))
    nothing = heat_report(new_model(), tmp_path, healthy, rows, limit=5, progress=False)
    assert nothing["b"]["called"]["n"] == nothing["b"]["tumour"]["n"] == 0
