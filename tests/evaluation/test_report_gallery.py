"""Heat maps in the gallery: one picture more per case, on the image that they belong to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image

from brainmtl.evaluation.gallery import Panel, draw
from brainmtl.evaluation.predict import Prediction

SHAPE = (64, 64)


def prediction(k: int, reference: bool) -> Prediction:
    image = tiny.head(SHAPE, k)[None]
    return Prediction(
        row=SimpleNamespace(position=k, kind="volume" if reference else "image"),
        image=(image - image.mean()) / image.std(),
        probability=0.9,
        calibrated=0.8,
        call=1,
        mask=tiny.disc(SHAPE, (25, 30), 6),
        reference=tiny.disc(SHAPE, (25, 34), 7) if reference else None,
        geometry=None,
    )


def drawn(path: Path, images: tuple[int, ...], reference: bool, heat: Any) -> np.ndarray:
    names = iter(range(sum(images)))
    panels = [Panel("title", tuple(str(next(names)) for _ in range(n))) for n in images]
    predictions = [prediction(k, reference) for k in range(sum(images))]
    ((caption, found),) = draw(panels, predictions, "brats", path, heat)
    assert ("LayerCAM" in caption) == (heat is not None)
    with Image.open(found) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def coloured(picture: np.ndarray) -> np.ndarray:
    """Columns of the picture with more of a bright map's yellow than any contour has."""
    red, green, blue = np.moveaxis(picture, -1, 0)
    yellow = (red > 150) & (green > 90) & (blue < 90) & (red > green + 20)
    return np.flatnonzero(yellow.sum(axis=0) > 100)


@pytest.mark.parametrize(
    ("images", "reference", "columns"),
    [
        ((3, 1), True, 4),
        ((1, 1, 1), True, 2),
        ((1,), True, 2),
        ((1, 1, 1), False, 3),
        ((1,), False, 1),
    ],
)
def test_one_picture_more_per_case(
    images: tuple[int, ...], reference: bool, columns: int, tmp_path: Path
) -> None:
    without = drawn(tmp_path / "a.png", images, reference, None)
    heat = [np.full(SHAPE, 0.75, dtype=np.float32)] * sum(images)
    with_heat = drawn(tmp_path / "b.png", images, reference, heat)
    per_picture = without.shape[1] / columns
    more = 1 if reference else {3: 1, 1: 1}[len(images)]  # pairs: two side by side at most
    assert with_heat.shape[1] == pytest.approx(without.shape[1] + more * per_picture, rel=0.01)
    assert not coloured(without).size and coloured(with_heat).size > 100
    if reference:
        assert coloured(with_heat).min() > 0.95 * without.shape[1]


def test_empty_map_leaves_the_image_as_it_is(tmp_path: Path) -> None:
    nothing = [np.zeros(SHAPE, dtype=np.float32)]
    assert not coloured(drawn(tmp_path / "a.png", (1,), True, nothing)).size


def test_a_map_for_every_prediction(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 heat maps for 1 predictions"):
        drawn(tmp_path / "a.png", (1,), True, [np.zeros(SHAPE)] * 2)
    assert draw([], [], "brats", tmp_path / "a.png", []) == []


@pytest.mark.parametrize("tumour", [True, False])
def test_the_caption_says_by_what_cases_were_ranked(tmp_path: Path, tumour: bool) -> None:
    """Masks without any tumour, as of healthy people, leave no Dice to rank by."""
    found = [prediction(k, True) for k in range(2)]
    predictions = [replace(one, reference=one.reference & tumour) for one in found]
    panels = [Panel("title", (str(k),)) for k in range(2)]
    ((caption, _),) = draw(panels, predictions, "brats", tmp_path / "cases.png")
    assert ("by Dice" in caption) == tumour and ("farthest from the label" in caption) != tumour
