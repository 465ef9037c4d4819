"""The rim that makes heads of skull-stripped slices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainmtl.data.augmentation.compose import Augmentation
from brainmtl.data.augmentation.skull import RandomSkull, SkullParameters
from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE, preprocess_slice
from brainmtl.data.preprocessing.regions import bounding_box
from brainmtl.errors import ConfigError

SIZE, RADIUS = 256, 100
RIM = SkullParameters(4.0, 10.0, 8.0, 0.0, 0.3, 1.0, seed=3)


def brain(channels: int = 1) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """A disc of noise on background, a square in it as mask, and the distance from the centre."""
    rows, columns = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    radius = np.hypot(rows, columns)
    image = np.random.default_rng(0).normal(size=(channels, SIZE, SIZE)).astype(np.float32)
    image[:, radius > RADIUS] = BACKGROUND_VALUE
    mask = np.zeros((SIZE, SIZE), dtype=np.uint8)
    mask[100:140, 140:180] = 1
    return torch.from_numpy(image), torch.from_numpy(mask), radius


def shrunk(pixels: float, rim: SkullParameters = RIM) -> float:
    """A length after the image with its rim was brought back into the frame."""
    pad = 4 * np.ceil((rim.thickness + 2) / 4)
    return pixels * SIZE / (SIZE + 2 * pad)


def test_the_rim_has_the_drawn_thickness_and_everything_shrinks_alike() -> None:
    image, mask, radius = brain()
    head, moved = RandomSkull().apply(image, mask, RIM)
    assert head.shape == image.shape and head.dtype == torch.float32
    assert moved.shape == mask.shape and moved.dtype == torch.uint8
    foreground = (head[0] != BACKGROUND_VALUE).numpy()
    # a disc before and after: its radius from its area, uneven by about a pixel
    found = np.sqrt(foreground.sum() / np.pi)
    assert found == pytest.approx(shrunk(RADIUS + RIM.thickness), abs=3)
    assert foreground[radius < found - 8].all() and not foreground[radius > found + 8].any()
    assert float(moved.sum()) == pytest.approx(shrunk(40) ** 2, rel=0.06)
    centre = np.argwhere(moved.numpy()).mean(axis=0) - (SIZE - 1) / 2
    assert centre == pytest.approx([shrunk(-8), shrunk(32)], abs=1)


def test_the_layers_lie_in_order_of_brightness() -> None:
    image, mask, radius = brain()
    head = RandomSkull().apply(image, mask, replace(RIM, marrow_signal=0.0))[0][0].numpy()
    ring = lambda low, high: float(  # noqa: E731
        np.median(head[(radius > shrunk(low)) & (radius < shrunk(high))])
    )
    low, high = np.quantile(image[image != BACKGROUND_VALUE], [0.01, 0.9])
    bone = ring(RADIUS + RIM.dura + 2, RADIUS + RIM.dura + RIM.bone - 2)
    fat = ring(RADIUS + RIM.dura + RIM.bone + 2, RADIUS + RIM.thickness - 2)
    assert bone == pytest.approx(low, abs=0.35 * (high - low))
    assert fat == pytest.approx(high, abs=0.35 * (high - low))
    assert fat - bone > 0.6 * (high - low)


def test_a_head_with_its_rim_fills_the_frame_as_preprocessing_would_place_it() -> None:
    """A stripped brain in its own frame, a rim put round: framed again, it hardly moves."""
    image, _, _ = brain()
    prepared = preprocess_slice(image.numpy() - BACKGROUND_VALUE)
    given = torch.from_numpy(prepared.image)
    head = RandomSkull().apply(given, None, RIM)[0].numpy()
    again = preprocess_slice(head - BACKGROUND_VALUE)
    before, after = bounding_box(head[0] != BACKGROUND_VALUE), bounding_box(again.foreground)
    assert np.abs(np.subtract(before, after)).max() <= 8


def test_channels_share_the_layers_and_keep_their_own_range() -> None:
    image, _, radius = brain(channels=2)
    image[1] = torch.where(image[1] == BACKGROUND_VALUE, image[1], image[1] * 3 + 5)
    head = RandomSkull().apply(image, None, RIM)[0].numpy()
    assert ((head[0] != BACKGROUND_VALUE) == (head[1] != BACKGROUND_VALUE)).all()
    inside = radius < shrunk(RADIUS) - 3
    rim = (head[0] != BACKGROUND_VALUE) & (radius > shrunk(RADIUS) + 4)
    assert np.corrcoef(head[0][rim], head[1][rim])[0, 1] > 0.95
    assert head[1][inside].mean() > head[0][inside].mean() + 4


def test_it_is_drawn_for_stripped_sources_with_its_chance_and_within_its_ranges() -> None:
    skull, rng = RandomSkull(prob=0.4, dura=(2, 3), fat_signal=(1, 2)), np.random.default_rng(0)
    drawn = [skull.draw(rng, "my_brats_2021") for _ in range(1500)]
    found = [rim for rim in drawn if rim is not None]
    assert len(found) / 1500 == pytest.approx(0.4, abs=0.05)
    assert all(2 <= rim.dura <= 3 and 1 <= rim.fat_signal <= 2 for rim in found)
    assert len({rim.seed for rim in found}) > 500
    assert all(skull.draw(rng, source) is None for source in ("kaggle", "lgg") for _ in range(50))


def test_sources_match_whatever_their_case() -> None:
    skull = RandomSkull(prob=1.0, sources=("*brats*",))
    rng = np.random.default_rng(0)
    assert skull.draw(rng, "BraTS2021") is not None
    assert skull.draw(rng, "lgg") is None


def test_a_sample_is_a_function_of_its_seed_and_normalised() -> None:
    image, mask, _ = brain()
    sample = {"image": image, "mask": mask, "source": "brats"}
    augmentation = Augmentation(skull=RandomSkull(prob=1.0))
    first, again, other = (augmentation.set_random_state(seed=s)(sample) for s in (1, 1, 2))
    assert torch.equal(first["image"], again["image"]) and torch.equal(first["mask"], again["mask"])
    assert not torch.equal(first["image"], other["image"])
    values = first["image"][first["image"] != BACKGROUND_VALUE]
    assert float(values.mean()) == pytest.approx(0, abs=1e-3)
    assert float(values.std()) == pytest.approx(1, abs=1e-3)
    assert torch.equal(image, sample["image"]) and torch.equal(mask, sample["mask"])


def test_nothing_but_background_stays_as_it_is() -> None:
    empty = torch.full((1, 64, 64), BACKGROUND_VALUE)
    assert RandomSkull().apply(empty, None, RIM)[0] is empty


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"prob": 1.5}, "skull.prob=1.5"),
        ({"bone": (5.0, 2.0)}, r"skull.bone=\[5.0, 2.0\]"),
        ({"scalp": (0.0, 2.0)}, "pixels above 0"),
        ({"fat_signal": (2.0, 1.0)}, "skull.fat_signal"),
    ],
)
def test_bad_options_are_named(options: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        RandomSkull(**options)
