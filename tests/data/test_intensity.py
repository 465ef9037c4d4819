"""The negative and the JPEG: what they do, how often, and that a seed repeats them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from brainmtl.data.intensity import RandInvert, RandJpeg
from brainmtl.errors import ConfigError


@pytest.fixture
def image() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(2, 32, 48)).astype(np.float32))


def test_invert_is_the_negative(image: torch.Tensor) -> None:
    assert torch.equal(RandInvert(1.0)(image), -image)
    assert RandInvert(0.0)(image) is image


def test_jpeg_is_that_of_the_library(image: torch.Tensor) -> None:
    found = RandJpeg(1.0, (30, 30))(image)
    for channel, result in zip(image.numpy(), found.numpy(), strict=True):
        low, high = channel.min(), channel.max()
        pixels = np.round((channel - low) / (high - low) * 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=30)
        expected = np.asarray(Image.open(buffer)) / 255 * (high - low) + low
        np.testing.assert_allclose(result, expected, atol=1.5 * (high - low) / 255)
    assert found.dtype == torch.float32
    assert not torch.equal(found, image)


def test_worse_quality_loses_more(image: torch.Tensor) -> None:
    errors = [float((RandJpeg(1.0, (q, q))(image) - image).abs().mean()) for q in (10, 50, 95)]
    assert errors[0] > errors[1] > errors[2]


def test_a_constant_image_stays(image: torch.Tensor) -> None:
    flat = torch.zeros_like(image)
    assert torch.equal(RandJpeg(1.0)(flat), flat)


@pytest.mark.parametrize("make", [RandInvert, RandJpeg])
def test_chance_and_seed(make: type, image: torch.Tensor) -> None:
    def draws() -> list[bool]:
        transform = make(prob=0.25)
        transform.set_random_state(seed=3)
        return [not torch.equal(transform(image), image) for _ in range(400)]

    first = draws()
    assert first == draws()
    assert 60 < sum(first) < 140  # 100 expected, SD 8.7


@pytest.mark.parametrize("quality", [(0, 50), (60, 40), (50, 96)])
def test_quality_outside_its_range(quality: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="quality"):
        RandJpeg(0.5, quality)
