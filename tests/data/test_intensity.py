"""What the intensity transforms do, against MONAI where it has them, how often, and that a seed repeats them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from monai import transforms as monai
from PIL import Image

from brainmtl.data.augmentation import intensity
from brainmtl.data.augmentation.intensity import RandGaussianNoise, RandInvert, RandJpeg
from brainmtl.errors import ConfigError


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 32, 48)).astype(np.float32)


# name -> options of both, and of MONAI's alone
AS_MONAI: dict[str, tuple[dict, dict]] = {
    "RandBiasField": ({"degree": 3, "coeff_range": (0.0, 0.3)}, {}),
    "RandAdjustContrast": ({"gamma": (0.5, 2.0)}, {}),
    "RandHistogramShift": ({"num_control_points": (8, 12)}, {}),
    "RandSimulateLowResolution": (
        {"zoom_range": (0.4, 0.9)},
        {"downsample_mode": "area", "upsample_mode": "bilinear"},
    ),
    "RandGaussianSmooth": ({"sigma_x": (0.5, 1.5), "sigma_y": (0.5, 1.5)}, {}),
}


@pytest.mark.parametrize("name", AS_MONAI)
def test_same_draws_and_results_as_monai(name: str, image: np.ndarray) -> None:
    """The seed alone decides chance and parameters, so that equal results mean equal distributions."""
    both, alone = AS_MONAI[name]
    own = getattr(intensity, name)(prob=0.5, **both).set_random_state(seed=1)
    other = getattr(monai, name)(prob=0.5, **both, **alone).set_random_state(seed=1)
    before, changed = image.copy(), 0
    for _ in range(30):
        found, expected = own(image), np.asarray(other(image))
        assert found.dtype == np.float32 and found.shape == image.shape
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)
        changed += found is not image
    assert 5 < changed < 25
    np.testing.assert_array_equal(image, before)


def test_constant_images_stay_finite() -> None:
    flat = np.zeros((1, 32, 32), dtype=np.float32)
    for name in ("RandAdjustContrast", "RandHistogramShift"):
        np.testing.assert_allclose(getattr(intensity, name)(prob=1.0)(flat), flat, atol=1e-6)


@pytest.mark.parametrize("sample_std", [False, True])
def test_noise_has_the_distribution_of_monai(sample_std: bool) -> None:
    flat = np.zeros((1, 64, 64), dtype=np.float32)
    spreads = []
    for make in (RandGaussianNoise, monai.RandGaussianNoise):
        noise = make(prob=1.0, std=0.2, sample_std=sample_std).set_random_state(seed=0)
        drawn = np.stack([np.asarray(noise(flat)) for _ in range(200)])
        assert abs(drawn.mean()) < 1e-3 and drawn.dtype == np.float32
        assert not np.array_equal(drawn[0], drawn[1])
        spreads.append(drawn.std(axis=(1, 2, 3)))
    own, other = spreads
    assert own.mean() == pytest.approx(0.1 if sample_std else 0.2, abs=0.015)
    assert own.mean() == pytest.approx(other.mean(), abs=0.02)
    assert own.std() == pytest.approx(0.2 / 12**0.5 if sample_std else 0.0022, abs=0.01)


def test_invert_is_the_negative(image: np.ndarray) -> None:
    np.testing.assert_array_equal(RandInvert(1.0)(image), -image)
    assert RandInvert(0.0)(image) is image


def test_jpeg_is_that_of_the_library(image: np.ndarray) -> None:
    found = RandJpeg(1.0, (30, 30))(image)
    for channel, result in zip(image, found, strict=True):
        low, high = channel.min(), channel.max()
        pixels = np.round((channel - low) / (high - low) * 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=30)
        expected = np.asarray(Image.open(buffer)) / 255 * (high - low) + low
        np.testing.assert_allclose(result, expected, atol=1.5 * (high - low) / 255)
    assert found.dtype == np.float32
    assert not np.array_equal(found, image)


def test_worse_quality_loses_more(image: np.ndarray) -> None:
    errors = [float(np.abs(RandJpeg(1.0, (q, q))(image) - image).mean()) for q in (10, 50, 95)]
    assert errors[0] > errors[1] > errors[2]


def test_a_constant_image_stays(image: np.ndarray) -> None:
    flat = np.zeros_like(image)
    np.testing.assert_array_equal(RandJpeg(1.0)(flat), flat)


@pytest.mark.parametrize("make", [RandGaussianNoise, RandInvert, RandJpeg])
def test_chance_and_seed(make: type, image: np.ndarray) -> None:
    def draws() -> list[bytes | None]:
        transform = make(prob=0.25)
        transform.set_random_state(seed=3)
        results = [transform(image) for _ in range(400)]
        return [None if result is image else result.tobytes() for result in results]

    first = draws()
    assert first == draws()
    assert 60 < sum(result is not None for result in first) < 140  # 100 expected, SD 8.7


@pytest.mark.parametrize("quality", [(0, 50), (60, 40), (50, 96)])
def test_quality_outside_its_range(quality: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="quality"):
        RandJpeg(0.5, quality)
