"""Tumours of other contrast: what changes, what stays, and by how much."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from brainmtl.data.augmentation.compose import Augmentation
from brainmtl.data.augmentation.lesion_contrast import (
    MARGIN,
    LesionParameters,
    RandomLesionContrast,
)
from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE
from brainmtl.errors import ConfigError

FAINT = LesionParameters(contrast=0.4, core=None, signal=0.0, seed=3)
CORED = LesionParameters(contrast=1.0, core=0.4, signal=-1.0, seed=3)
BRAIN, TUMOUR = 0.0, 2.5  # median signals


def slice_with_tumour(channels: int = 1) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """A disc of grain on background, a bright disc in it, its mask, and the distance from its centre."""
    rows, columns = np.mgrid[:256, :256]
    radius = np.hypot(rows - 120, columns - 150)
    grain = np.random.default_rng(0).normal(0, 0.1, (channels, 256, 256)).astype(np.float32)
    image = grain + np.where(radius < 30, TUMOUR, BRAIN).astype(np.float32)
    image[:, np.hypot(rows - 128, columns - 128) > 100] = BACKGROUND_VALUE
    return torch.from_numpy(image), torch.from_numpy((radius < 30).astype(np.uint8)), radius


def test_contrast_is_scaled_and_texture_and_surroundings_stay() -> None:
    image, mask, radius = slice_with_tumour()
    changed = RandomLesionContrast().apply(image, mask, FAINT)[0].numpy()
    inner = radius < 20
    assert np.median(changed[inner]) == pytest.approx(BRAIN + 0.4 * (TUMOUR - BRAIN), abs=0.05)
    assert changed[inner].std() == pytest.approx(image[0].numpy()[inner].std(), rel=0.1)
    np.testing.assert_array_equal(changed[radius > 40], image[0].numpy()[radius > 40])
    assert image[0].numpy()[inner].mean() > 2  # the given image is untouched


def test_a_factor_of_one_without_core_changes_nothing() -> None:
    image, mask, _ = slice_with_tumour()
    same = RandomLesionContrast().apply(image, mask, replace(FAINT, contrast=1.0))
    torch.testing.assert_close(same, image, rtol=0, atol=1e-6)


def test_the_core_takes_the_drawn_signal_and_the_rim_keeps_its_own() -> None:
    image, mask, radius = slice_with_tumour()
    changed = RandomLesionContrast().apply(image, mask, CORED)[0].numpy()
    assert np.median(changed[radius < 8]) == pytest.approx(BRAIN - 1.0, abs=0.15)
    rim = (radius > 24) & (radius < 28)
    assert np.median(changed[rim]) == pytest.approx(TUMOUR, abs=0.3)
    # grey core, bright rim: the mask still is what differs from the brain at its outline
    smooth = ndimage.gaussian_filter(changed, 2)
    assert smooth[rim].mean() - smooth[(radius > 36) & (radius < 40)].mean() > 1.5


def test_background_and_everything_beyond_the_margin_stay_bit_equal() -> None:
    image, mask, radius = slice_with_tumour()
    image[:, 110:130, 150:] = BACKGROUND_VALUE  # the tumour touches the outside of the head
    changed = RandomLesionContrast().apply(image, mask, replace(CORED, contrast=0.5))
    outside = image[0] == BACKGROUND_VALUE
    torch.testing.assert_close(changed[0][outside], image[0][outside], rtol=0, atol=0)
    far = torch.from_numpy(radius > 30 + 2 * MARGIN)
    torch.testing.assert_close(changed[0][far], image[0][far], rtol=0, atol=0)


def test_each_channel_is_compared_with_its_own_brain() -> None:
    image, mask, radius = slice_with_tumour(channels=2)
    image[1] = torch.where(image[1] == BACKGROUND_VALUE, image[1], 5 - image[1])
    changed = RandomLesionContrast().apply(image, mask, FAINT).numpy()
    inner = radius < 20
    assert np.median(changed[0][inner]) == pytest.approx(1.0, abs=0.06)
    assert np.median(changed[1][inner]) == pytest.approx(5 - 1.0, abs=0.06)


def test_chance_and_empty_masks_leave_images_alone() -> None:
    image, mask, _ = slice_with_tumour()
    rng = np.random.default_rng(0)
    transform = RandomLesionContrast(prob=1.0)
    assert transform.draw(rng, None) is None
    assert transform.draw(rng, torch.zeros_like(mask)) is None
    assert RandomLesionContrast(prob=0.0).draw(rng, mask) is None
    assert transform.apply(image, mask, None) is image
    everything = torch.ones_like(mask)
    assert transform.apply(image, everything, FAINT) is image  # no brain to compare with


def test_draws_lie_in_their_ranges_and_cores_come_as_often_as_asked() -> None:
    _, mask, _ = slice_with_tumour()
    transform = RandomLesionContrast(1.0, (0.5, 0.9), 0.3, (0.2, 0.6), (-1.0, 0.0))
    rng = np.random.default_rng(0)
    drawn = [transform.draw(rng, mask) for _ in range(2000)]
    assert all(0.5 <= p.contrast <= 0.9 and -1 <= p.signal <= 0 for p in drawn)
    cores = [p.core for p in drawn if p.core is not None]
    assert min(cores) < 0.25 and max(cores) > 0.55 and 0.2 <= min(cores) <= max(cores) <= 0.6
    assert len(cores) / len(drawn) == pytest.approx(0.3, abs=0.04)


def test_augmentation_applies_it_reproducibly_and_normalises_again() -> None:
    image, mask, radius = slice_with_tumour()
    sample = {"image": image, "mask": mask, "source": "brats"}
    augment = Augmentation(lesion=RandomLesionContrast(prob=1.0, contrast=(0.3, 0.3), core_prob=0))
    first = augment.set_random_state(5)(sample)
    again = augment.set_random_state(5)(sample)
    torch.testing.assert_close(first["image"], again["image"], rtol=0, atol=0)
    inside = first["image"] != BACKGROUND_VALUE
    values = first["image"][inside].double()
    assert float(values.mean()) == pytest.approx(0, abs=1e-3)
    assert float(values.std()) == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(first["mask"], mask, rtol=0, atol=0)
    # in units of the grain: the image's own SD falls with the tumour's contrast
    before, after = (_contrast_to_noise(x[0].numpy(), radius) for x in (image, first["image"]))
    assert after == pytest.approx(0.3 * before, rel=0.1)


def _contrast_to_noise(plane: np.ndarray, radius: np.ndarray) -> float:
    tumour, brain = plane[radius < 20], plane[(radius > 40) & (radius < 60)]
    return float((np.median(tumour) - np.median(brain)) / brain.std())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"prob": 1.5}, "prob=1.5"),
        ({"core_prob": -1}, "core_prob=-1"),
        ({"contrast": (0.9, 0.4)}, "contrast="),
        ({"contrast": (0.0, 1.0)}, "vanish"),
        ({"core": (0.0, 0.5)}, "vanish"),
        ({"core_signal": (1.0, 0.0)}, "core_signal="),
    ],
)
def test_impossible_options_are_named(options: dict, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        RandomLesionContrast(**options)
