"""The mean over an image and its mirror image."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from brainmtl.errors import ConfigError
from brainmtl.evaluation.predict import forward
from brainmtl.inference.operating.tta import TTA_MODES, predict_modes, predict_with_tta
from brainmtl.models import create_multi_task_model


@pytest.fixture(scope="module")
def network() -> Callable[[torch.Tensor], tuple[np.ndarray, np.ndarray]]:
    torch.manual_seed(0)
    model = create_multi_task_model(base_filters=4, depth=2, hidden_dim=8, norm="group").eval()
    return partial(forward, model)


def images(width: int = 40) -> torch.Tensor:
    return torch.randn(3, 1, 32, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("width", [40, 37])  # 37 is padded on the right inside the model
def test_flip_is_the_mean_on_the_grid_of_the_image(network: Callable, width: int) -> None:
    probability, pixels = predict_with_tta(network, images(width), "flip")
    plain = network(images(width))
    mirrored = network(torch.from_numpy(images(width).numpy()[..., ::-1].copy()))
    np.testing.assert_allclose(probability, np.mean([plain[0], mirrored[0]], axis=0), rtol=1e-6)
    expected = [(a + np.fliplr(b)) / 2 for a, b in zip(plain[1], mirrored[1], strict=True)]
    np.testing.assert_allclose(pixels, expected, rtol=1e-6)
    assert probability.shape == (3,) and pixels.shape == (3, 32, width)
    assert probability.dtype == pixels.dtype == np.float32
    assert not np.allclose(pixels, plain[1])


def test_a_mirrored_image_gives_the_mirrored_mask_and_the_same_probability(
    network: Callable,
) -> None:
    probability, pixels = predict_with_tta(network, images(), "flip")
    mirrored, mirrored_pixels = predict_with_tta(network, images().flip(-1), "flip")
    np.testing.assert_allclose(mirrored, probability, atol=1e-6)
    np.testing.assert_allclose(mirrored_pixels[..., ::-1], pixels, atol=1e-6)
    plain = network(images())[1]
    assert not np.allclose(network(images().flip(-1))[1][..., ::-1], plain, atol=1e-6)


@pytest.mark.parametrize(
    ("modes", "calls"), [(("none",), 1), (("flip",), 2), (("none", "flip"), 2)]
)
def test_modes_share_the_plain_prediction(
    network: Callable, modes: tuple[str, ...], calls: int
) -> None:
    seen = []

    def counting(batch: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        seen.append(batch)
        return network(batch)

    found = predict_modes(counting, images(), modes)
    assert tuple(found) == modes and len(seen) == calls
    for mode in modes:
        for one, other in zip(found[mode], predict_with_tta(network, images(), mode), strict=True):
            np.testing.assert_array_equal(one, other)


def test_none_is_the_network_itself(network: Callable) -> None:
    for one, other in zip(predict_with_tta(network, images()), network(images()), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_unknown_mode_is_refused_before_any_work() -> None:
    def never(_batch: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        raise AssertionError("called")

    with pytest.raises(ConfigError, match="choose none or flip"):
        predict_with_tta(never, images(), "rotate")
    assert TTA_MODES == ("none", "flip")
