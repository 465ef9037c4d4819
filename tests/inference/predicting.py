"""Predictors with other settings, what runs in them, and a head to show them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainmtl.inference.model_folder import read_model_folder
from brainmtl.inference.predictor import MultiTaskPredictor


def with_point(
    predictor: MultiTaskPredictor, model_dir: Path, **changes: object
) -> MultiTaskPredictor:
    contents = read_model_folder(model_dir)
    return MultiTaskPredictor(
        replace(contents, operating_point=replace(contents.operating_point, **changes))
    )


def count_calls(predictor: MultiTaskPredictor, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Images that go through each part, and calls of it."""
    counter: Counter[str] = Counter()
    model = predictor._served.network.model
    for name in ("encoder", "decoder", "head"):
        part = getattr(model, name)
        original = part.forward

        def counting(x: object, name: str = name, original: object = original) -> object:
            counter[f"{name} calls"] += 1
            counter[f"{name} images"] += len(x[-1] if isinstance(x, list) else x)
            return original(x)

        monkeypatch.setattr(part, "forward", counting)
    return counter


def head(size: tuple[int, int] = (200, 160)) -> np.ndarray:
    rows, columns = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    noise = np.random.default_rng(0).normal(110, 12, size)
    return ((rows**2 + columns**2 < 0.75) * noise).clip(0, 255).astype(np.uint8)
