from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from prepared import head_image
from scipy import ndimage

from brainmtl.config import compose
from brainmtl.data.augmentation.compose import Augmentation, RandomAffine2d, standardize
from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE
from brainmtl.errors import ConfigError

CONF = Path(__file__).parents[2] / "conf" / "augmentation"
CHOICES = sorted(path.stem for path in CONF.glob("*.yaml"))


def load(name: str) -> Augmentation:
    return instantiate(compose("train", f"augmentation={name}", "run_dir=.")["augmentation"])


def sample(size: int = 96, channels: int = 1, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    image = np.concatenate([head_image(rng, size)[0] for _ in range(channels)])
    mask = np.zeros((size, size), dtype=np.uint8)
    mask[size // 3 : size // 2, size // 4 : size // 2] = 1
    return {
        "image": torch.from_numpy(image),
        "mask": torch.from_numpy(mask),
        "cls": 1,
        "image_id": "a",
        "source": "brats",
    }


def test_the_choices_are_there() -> None:
    assert CHOICES == ["light", "none", "source_style", "strong"]


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("channels", [1, 2])
def test_invariants_over_many_draws(name: str, channels: int) -> None:
    augmentation, given = load(name), sample(channels=channels)
    before = given["image"].clone()
    changed = 0
    for seed in range(25):
        result = augmentation.set_random_state(seed=seed)(given)
        image, mask = result["image"], result["mask"]
        assert type(image) is torch.Tensor and image.dtype == torch.float32
        assert image.shape == before.shape and torch.isfinite(image).all()
        assert mask.dtype == torch.uint8 and set(mask.unique().tolist()) <= {0, 1}
        foreground = (image != BACKGROUND_VALUE).any(dim=0)
        # The corners lie outside the head, whatever the drawn map.
        assert 0.1 < foreground.float().mean() < 1
        assert image[:, foreground].mean(dim=1).numpy() == pytest.approx(0, abs=2e-3)
        assert image[:, foreground].std(dim=1).numpy() == pytest.approx(1, abs=2e-3)
        assert result["cls"] == 1 and result["image_id"] == "a"
        changed += not torch.equal(image, before)
    assert torch.equal(given["image"], before)  # the caller's sample is left alone
    assert changed == 0 if name == "none" else changed > 20


@pytest.mark.parametrize("name", ["light", "strong"])
def test_same_seed_same_result(name: str) -> None:
    one, other, given = load(name), load(name), sample()
    for _ in range(3):
        other(given)  # draws before do not matter
    for seed in range(10):
        first = one.set_random_state(seed=seed)(given)
        second = other.set_random_state(seed=seed)(given)
        assert torch.equal(first["image"], second["image"])
        assert torch.equal(first["mask"], second["mask"])
    assert not torch.equal(one.set_random_state(seed=10)(given)["image"], second["image"])


def test_image_and_mask_move_together() -> None:
    affine = RandomAffine2d(
        flip_up_down=0.5, rotate_degrees=40, scale=0.3, shear=0.2, translate=0.1
    )
    size = 128
    rows, columns = np.mgrid[:size, :size]
    mask = torch.from_numpy(
        (((rows - 50) / 20) ** 2 + ((columns - 70) / 30) ** 2 < 1).astype(np.uint8)
    )
    image = torch.where(mask > 0, 2.0, -1.0)[None]
    rng = np.random.default_rng(0)
    for _ in range(20):
        moved, moved_mask = affine.apply(image, mask, affine.draw(rng))
        bright = moved[0] > 0.5
        dice = 2 * (bright & (moved_mask > 0)).sum() / (bright.sum() + moved_mask.sum())
        assert moved_mask.sum() > 100 and dice > 0.985


def test_affine_against_scipy() -> None:
    affine = RandomAffine2d(rotate_degrees=30, scale=0.2, shear=0.2, translate=0.1)
    image = torch.from_numpy(
        ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(64, 64)), 3)
    )
    image = image[None].float()
    for seed in range(8):
        parameters = affine.draw(np.random.default_rng(seed))
        moved, _ = affine.apply(image, None, parameters)
        # Normalised (x, y) -> pixel (row, column): centre (n - 1) / 2, scale n / 2.
        matrix = parameters.matrix.double().numpy()[::-1]
        linear, shift = matrix[:, 1::-1], matrix[:, 2] * 32
        offset = 31.5 - linear @ np.full(2, 31.5) + shift
        expected = ndimage.affine_transform(
            image[0].numpy(), linear, offset, order=1, cval=BACKGROUND_VALUE
        )
        inside = ndimage.binary_erosion(expected != BACKGROUND_VALUE, iterations=2)
        assert inside.mean() > 0.3
        assert moved[0].numpy()[inside] == pytest.approx(expected[inside], abs=1e-4)


def test_stretch_changes_the_aspect_and_not_the_area() -> None:
    affine = RandomAffine2d(flip_left_right=0.0, stretch=0.3)
    drawn = [affine.draw(np.random.default_rng(seed)) for seed in range(200)]
    matrices = np.array([one.matrix.numpy() for one in drawn if one is not None])
    assert len(matrices) == 200 and np.count_nonzero(matrices) == 400  # its diagonal alone
    wider = matrices[:, 1, 1] / matrices[:, 0, 0]
    assert 1 / 1.3 <= wider.min() < 0.8 and 1.25 < wider.max() <= 1.3
    assert np.median(wider) == pytest.approx(1, abs=0.03)
    np.testing.assert_allclose(matrices[:, 0, 0] * matrices[:, 1, 1], 1, rtol=1e-6)


def test_flips() -> None:
    given = sample()
    for axis, options in (
        (-1, {"flip_left_right": 1.0}),
        (-2, {"flip_left_right": 0.0, "flip_up_down": 1.0}),
    ):
        result = Augmentation(RandomAffine2d(**options))(given)
        assert torch.equal(result["mask"], given["mask"].flip(axis))
        assert torch.allclose(result["image"], given["image"].flip(axis), atol=1e-4)


def test_left_right_is_flipped_half_the_time() -> None:
    affine, rng = RandomAffine2d(), np.random.default_rng(0)
    flips = sum(affine.draw(rng) is not None for _ in range(1000))
    assert 440 < flips < 560


def test_sample_without_mask() -> None:
    given = {**sample(), "mask": None}
    result = load("strong").set_random_state(seed=1)(given)
    assert result["mask"] is None and not torch.equal(result["image"], given["image"])


def test_intensities_stay_within_the_foreground() -> None:
    class Everything:
        def __call__(self, image: np.ndarray) -> np.ndarray:
            assert image.dtype == np.float32
            assert float(image[0, 0, 0]) == 0.0  # the background is shown as the mean
            return image**3 + 7

    given = sample()
    result = Augmentation(None, {"all": Everything()})(given)["image"]
    background = given["image"] == BACKGROUND_VALUE
    assert torch.equal(result == BACKGROUND_VALUE, background)
    values = given["image"][~background] ** 3
    expected = (values - values.mean()) / values.std(unbiased=False)
    assert torch.allclose(result[~background], expected, atol=1e-4)


def test_a_value_equal_to_the_background_stays_foreground() -> None:
    foreground = np.zeros((8, 8), dtype=np.float32)
    foreground[1:6, 2:6] = 1
    # Mean 0 and SD 1 already, with two values that are exactly those of the background.
    values = np.zeros(20, dtype=np.float32)
    values[:4] = -3, 3, -1, 1
    image = np.zeros((1, 8, 8), dtype=np.float32)
    image[0, foreground > 0] = values
    assert np.sqrt((values**2).mean()) == 1 and values.mean() == 0
    result = standardize(image, foreground)
    np.testing.assert_array_equal(result[0] != BACKGROUND_VALUE, foreground > 0)
    np.testing.assert_allclose(result[0][foreground > 0], values, atol=2e-3)


def test_standardize_keeps_what_has_no_contrast() -> None:
    empty = np.zeros((1, 8, 8), dtype=np.float32)
    assert (standardize(empty, empty[0]) == BACKGROUND_VALUE).all()
    foreground = empty[0].copy()
    foreground[2:5, 2:5] = 1
    constant = standardize(1.5 * foreground[None], foreground)
    np.testing.assert_array_equal(constant[0], np.where(foreground > 0, 1.5, BACKGROUND_VALUE))


def test_a_transform_of_monai_itself() -> None:
    from monai.transforms import RandAdjustContrast

    given = sample()
    augmentation = Augmentation(None, {"gamma": RandAdjustContrast(1.0, (0.5, 0.5))})
    result = augmentation.set_random_state(seed=0)(given)["image"]
    assert type(result) is torch.Tensor and not torch.equal(result, given["image"])
    assert torch.equal(result == BACKGROUND_VALUE, given["image"] == BACKGROUND_VALUE)


@pytest.mark.parametrize(
    "options", [{"prob": 1.5}, {"flip_left_right": -0.1}, {"scale": 1.0}, {"stretch": -0.1}]
)
def test_impossible_options(options: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        RandomAffine2d(**options)


@pytest.mark.parametrize("name", ["light", "strong"])
def test_unknown_keys_are_refused(name: str) -> None:
    config = OmegaConf.load(CONF / f"{name}.yaml")
    for node in (config, config.geometric, *config.intensity.values()):
        node.typo = 1
        with pytest.raises(Exception, match="typo"):
            instantiate(config)
        del node["typo"]
