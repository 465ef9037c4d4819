"""A small prepared folder, a small network after some training, and its observations."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "data"))  # `import prepared`

import tiny
from prepared import both_sources
from textured_heads import DRAW_SEED

from brainmtl.data.samples import read_sample
from brainmtl.evaluation.robustness.observe import Predictor, observe
from brainmtl.evaluation.robustness.subset import choose_images


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """Folder of 64x64 samples (brats with masks, kaggle without) and its manifest."""
    folder = tmp_path_factory.mktemp("small")
    return folder, both_sources(folder)


@pytest.fixture(scope="session")
def predictor(small: tuple[Path, pd.DataFrame]) -> Predictor:
    folder, frame = small
    own = frame[(frame["source"] == "brats") & (frame["split"] == "train")]
    model = tiny.trained_model(folder, own["path"].tolist(), steps=15)
    images = np.stack([read_sample(folder / path).image for path in own["path"]])
    plain = Predictor(model, temperature=1.7, threshold=0.5, seg_threshold=0.5)
    # In the midst of the probabilities, so that corruptions do flip calls.
    return replace(plain, threshold=float(np.median(plain(images).calibrated)))


@pytest.fixture(scope="session")
def observed(
    small: tuple[Path, pd.DataFrame], predictor: Predictor
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    folder, frame = small
    chosen = choose_images(frame, limit=8, seed=DRAW_SEED)
    return chosen, observe(predictor, folder, chosen, seed=DRAW_SEED, batch_size=3, progress=False)
