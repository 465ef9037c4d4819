"""Anatomy and lesions: exact masks, plausible contrast, mass effect, geodesic spread."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi

from brainmtl.data.phantom.anatomy import draw_anatomy, healthy_contrast, sample_tissue
from brainmtl.data.phantom.atlas import Atlas, load_atlas, signed_distance
from brainmtl.data.phantom.lesion import (
    Compartments,
    geodesic_arrival,
    grow_lesion,
    push_tissue,
)
from brainmtl.data.phantom.photo import MIN_LESION_MM2, render_photo, render_slice, window_8bit
from brainmtl.data.phantom.render import (
    acquire,
    brain_axes,
    draw_subject,
    render,
    render_volume,
    to_file_grid,
)
from brainmtl.data.phantom.sequences import SEQUENCES


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return load_atlas()


def test_atlas_maps_are_probabilities_and_distances(atlas: Atlas) -> None:
    assert atlas.gm.shape == (197, 233, 189)
    assert atlas.gm.min() >= 0
    assert (atlas.gm + atlas.wm).max() < 1.05
    litres = (atlas.brain_sdf > 0).sum() * 8 / 1e6  # 2 mm voxels
    assert 1.4 < litres < 2.2
    assert 10 < (atlas.ventricle_sdf > 0).sum() * 8 / 1e3 < 60  # ml
    assert (atlas.brain_sdf[atlas.ventricle_sdf > 0] > 0).all()


def test_signed_distance_of_a_ball() -> None:
    x, y, z = np.mgrid[-12:13, -12:13, -12:13] * 2.0
    radius = np.sqrt(x**2 + y**2 + z**2)
    distance = signed_distance(radius < 15, 2.0)
    assert np.abs(distance - (15 - radius)).max() < 3.0


@pytest.mark.parametrize("index", range(3))
def test_volume_is_stripped_and_its_labels_are_inside(atlas: Atlas, index: int) -> None:
    flair, labels = render_volume(atlas, np.random.default_rng(index), tumour=True)
    assert flair.shape == labels.shape == (240, 240, 32)
    assert (flair.dtype, labels.dtype) == (np.int16, np.uint8)
    assert set(np.unique(labels)) <= {0, 1, 2, 4}
    assert 3 < (labels > 0).sum() * 3e-3 < 300  # ml
    assert (flair[labels > 0] > 0).all()
    assert (flair == 0).mean() > 0.4
    _, parts = ndi.label(flair[:, :, 16] > 0)
    assert parts <= 3


def test_healthy_volume_has_an_empty_mask(atlas: Atlas) -> None:
    flair, labels = render_volume(atlas, np.random.default_rng(0), tumour=False)
    assert not labels.any()
    assert flair.any()


def test_lesion_lies_where_it_was_put_and_the_file_grid_turns_left_and_back(atlas: Atlas) -> None:
    subject = draw_subject(atlas, np.random.default_rng(3), tumour=True)
    centre = subject.lesion.centre
    axes = brain_axes(subject.anatomy, centre[2:])
    picture = render(atlas, subject, axes, SEQUENCES["flair"], np.random.default_rng(0))
    x, y, _ = (round(float(c.mean())) for c in np.nonzero(picture.labels))
    assert abs(axes[0][x] - centre[0]) < 15
    assert abs(axes[1][y] - centre[1]) < 15
    # rendered x runs to the right and y to the front; files run left and back, as BraTS has it
    turned = to_file_grid(picture.labels)
    rows, columns, _ = (float(c.mean()) for c in np.nonzero(turned))
    middle = [float(np.mean(np.nonzero(to_file_grid(picture.brain))[d])) for d in (0, 1)]
    inside = [float(np.mean(axes[d][np.nonzero(picture.brain)[d]])) for d in (0, 1)]
    assert turned.shape == (240, 240, 1)
    assert turned.sum() == picture.labels.sum()
    for place, mid, at, brain in zip((rows, columns), middle, centre, inside, strict=False):
        assert np.sign(place - mid) == -np.sign(at - brain)


def test_fluid_is_darker_than_white_and_white_than_grey(atlas: Atlas) -> None:
    rng = np.random.default_rng(5)
    subject = draw_subject(atlas, rng, tumour=False)
    axes = brain_axes(subject.anatomy, np.array([84.0, 87.0, 90.0]))
    tissue = sample_tissue(atlas, subject.anatomy, axes, rng)
    flair = healthy_contrast(tissue, axes, SEQUENCES["flair"], rng)
    fluid, grey, white = (flair[m > 0.9].mean() for m in (tissue.csf, tissue.gm, tissue.wm))
    assert fluid < white < grey
    total = tissue.csf + tissue.gm + tissue.wm
    assert np.allclose(total[tissue.brain], 1, atol=0.05)


def test_mass_effect_moves_tissue_outwards_and_leaves_the_rest(atlas: Atlas) -> None:
    anatomy = draw_anatomy(atlas, np.random.default_rng(7))
    before = anatomy.source.copy()
    centre = np.array([129.0, 120.0, 96.0])
    push_tissue(anatomy, centre, 15.0, 0.5)
    moved = np.sqrt(((anatomy.source - before) ** 2).sum(0))
    assert 3 < moved.max() < 15
    right = anatomy.source[0] - before[0]  # a point on the +x side now shows what was closer in
    assert right[(129 + 12) // 3, 40, 34] < -2
    assert moved[5].max() < 0.5


def test_arrival_equals_distance_in_uniform_tissue_and_walks_round_barriers() -> None:
    x, y, z = np.mgrid[-10:11, -10:11, -10:11].astype(np.float32)
    level = np.sqrt(x**2 + y**2 + z**2) * 2 - 5
    free = geodesic_arrival(level, np.ones_like(level), 2.0, 14.0)
    near = (level > 0) & (level < 12)
    # chamfer steps overestimate by at most about a tenth, sub-voxel starts by a fraction of a step
    assert (np.abs(free - level)[near] < 1.5 + 0.12 * level[near]).all()
    wall = np.where(x == 4, 50.0, 1.0).astype(np.float32)
    held = geodesic_arrival(level, wall, 2.0, 14.0)
    assert (held >= free - 1e-4).all()
    assert held[16, 10, 10] > free[16, 10, 10] + 20


def test_labels_follow_the_memberships() -> None:
    core = np.array([0.9, 0.9, 0.1, 0.0])
    parts = Compartments(core, np.array([0, 0, 0.8, 0.2]), np.array([0.8, 0.1, 0, 0]), core)
    assert parts.labels(enhancing=True).tolist() == [1, 4, 2, 0]
    assert parts.labels(enhancing=False).tolist() == [1, 1, 2, 0]


def test_lesions_vary_in_kind_size_and_side(atlas: Atlas) -> None:
    lesions = [
        grow_lesion(atlas, draw_anatomy(atlas, rng), rng)
        for rng in map(np.random.default_rng, range(12))
    ]
    assert {lesion.kind for lesion in lesions} == {"necrotic", "infiltrative", "dark"}
    radii = [lesion.radius for lesion in lesions]
    assert max(radii) - min(radii) > 5
    sides = [lesion.centre[0] > 98 for lesion in lesions]
    assert any(sides)
    assert not all(sides)


def test_noise_is_rician_and_bias_is_smooth() -> None:
    axes = (np.arange(60.0), np.arange(60.0), np.arange(4.0) * 3)
    signal = np.zeros((60, 60, 4), np.float32)
    noise = acquire(signal, axes, np.random.default_rng(0), 0.05, 0.1)
    assert noise.mean() == pytest.approx(0.05 * np.sqrt(np.pi / 2), rel=0.03)  # Rayleigh
    clean = acquire(signal + 1, axes, np.random.default_rng(0), 0.0, 0.1)
    assert np.abs(np.diff(clean, axis=0)).max() < 0.02
    assert clean.std() > 0.005


@pytest.mark.parametrize("index", range(3))
def test_slice_of_a_patient_shows_enough_lesion(atlas: Atlas, index: int) -> None:
    picture = render_slice(atlas, np.random.default_rng(index), tumour=True)
    assert picture.signal.shape[2] == 1
    assert np.count_nonzero(picture.labels) >= MIN_LESION_MM2
    assert not render_slice(atlas, np.random.default_rng(index), tumour=False).labels.any()


def test_photos_have_skull_and_differ_in_size_and_mode(atlas: Atlas) -> None:
    photos = [render_photo(atlas, np.random.default_rng(i), tumour=i % 2 == 0) for i in range(5)]
    assert {photo.mode for photo in photos} == {"L", "RGB"}
    assert len({photo.size for photo in photos}) == len(photos)
    for photo in photos:
        grey = np.asarray(photo.convert("L"), float)
        assert grey.std() > 10
        assert min(grey.shape) > 100


def test_window_uses_the_eight_bit_range() -> None:
    values = np.random.default_rng(0).uniform(0, 1, (50, 50)).astype(np.float32)
    pixels = window_8bit(values, np.random.default_rng(1))
    assert pixels.dtype == np.uint8
    assert pixels.max() >= 200
    assert pixels.min() <= 15
    order = np.argsort(values, axis=None)
    assert (np.diff(pixels.ravel()[order].astype(int)) >= 0).all()
