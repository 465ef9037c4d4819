"""Random fields and interpolation, against scipy and against theory."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi
from scipy.interpolate import RegularGridInterpolator

from brainmtl.data.phantom.fields import gaussian_field, grid_offsets, resample, sigmoid

AXES = (np.arange(0.0, 20, 4), np.arange(-6.0, 9, 3), np.arange(10.0, 22, 2))


def test_resample_is_trilinear_inside_and_constant_outside() -> None:
    values = np.random.default_rng(0).standard_normal([len(a) for a in AXES]).astype(np.float32)
    new = (np.array([1.0, 7.5, 15.9]), np.array([-5.0, 0.3]), np.array([11.0, 12.0, 19.7]))
    expected = RegularGridInterpolator(AXES, values)(
        np.stack(np.meshgrid(*new, indexing="ij"), axis=-1)
    )
    np.testing.assert_allclose(resample(values, AXES, new), expected, atol=1e-5)
    corner = resample(values, AXES, (np.array([-50.0]), np.array([-50.0]), np.array([-50.0])))
    assert corner.item() == pytest.approx(values[0, 0, 0])


@pytest.mark.parametrize("sigma", [2.0, 5.0])
def test_gaussian_field_has_unit_variance_and_the_stated_smoothness(sigma: float) -> None:
    axes = (np.arange(200.0), np.arange(200.0), np.arange(3.0) * 3)
    field = gaussian_field(np.random.default_rng(1), axes, sigma)
    assert field.shape == (200, 200, 3)
    assert field.dtype == np.float32
    assert field.std() == pytest.approx(1, abs=0.12)
    lag = int(2 * sigma)
    measured = float(np.mean(field[lag:] * field[:-lag]) / np.mean(field**2))
    # white noise smoothed by a Gaussian of sigma has correlation exp(-d^2 / (4 sigma^2))
    assert measured == pytest.approx(np.exp(-(lag**2) / (4 * sigma**2)), abs=0.12)


def test_gaussian_field_does_not_change_variance_at_the_border() -> None:
    rng = np.random.default_rng(2)
    axes = (np.arange(40.0), np.arange(40.0))
    fields = np.stack([gaussian_field(rng, axes, 6.0) for _ in range(300)])
    spread = fields.std(0)
    assert spread.min() > 0.8
    assert spread.max() < 1.2


def test_one_plane_can_be_drawn_without_the_volume() -> None:
    plane = gaussian_field(
        np.random.default_rng(0), (np.arange(30.0), np.arange(20.0), np.array([7.0])), 4.0
    )
    assert plane.shape == (30, 20, 1)
    smooth = ndi.gaussian_filter(plane[:, :, 0], 1)
    assert np.corrcoef(smooth.ravel(), plane.ravel())[0, 1] > 0.95


def test_sigmoid_and_offsets() -> None:
    values = np.array([-1e4, -2.0, 0.0, 2.0, 1e4], np.float32)
    expected = [0, 1 / (1 + np.exp(2)), 0.5, 1 / (1 + np.exp(-2)), 1]
    np.testing.assert_allclose(sigmoid(values), expected, atol=1e-6)
    x, y, z = grid_offsets(AXES, (4.0, 0.0, 10.0))
    assert (x.shape, y.shape, z.shape) == ((5, 1, 1), (1, 5, 1), (1, 1, 6))
    assert x[1].item() == 0
    assert z[0, 0, 0] == 0
