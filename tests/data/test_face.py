"""The face in front of a drawn skull."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from brainmtl.data.augmentation.face import Face, FaceParameters, Orbit, draw_face, place_face
from brainmtl.data.augmentation.skull import RandomSkull, SkullParameters
from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE, preprocess_slice
from brainmtl.data.preprocessing.regions import bounding_box
from brainmtl.errors import ConfigError

SIZE = 256
FACE = FaceParameters(0.25, 0.12, 0.6, 1.0, -0.2, 0.3, 0.5, ahead=(0.8, 0.8), depth=(1.2, 1.2))
RIM = SkullParameters(4.0, 10.0, 8.0, 0.0, 0.3, 3.0, seed=3)


def brain(rows: float = 100, columns: float = 80, centre: float = (SIZE - 1) / 2) -> np.ndarray:
    """bool (SIZE, SIZE), an ellipse of these half axes."""
    down, right = np.mgrid[:SIZE, :SIZE] - centre
    return np.hypot(down / rows, right / columns) < 1


def image_of(foreground: np.ndarray) -> torch.Tensor:
    values = np.random.default_rng(0).normal(size=(1, *foreground.shape)).astype(np.float32)
    values[:, ~foreground] = BACKGROUND_VALUE
    return torch.from_numpy(values)


def head_of(image: torch.Tensor) -> np.ndarray:
    return (image[0] != BACKGROUND_VALUE).numpy()


def test_it_lies_in_front_and_leaves_the_rest_of_the_head_as_it_is() -> None:
    image = image_of(brain(124, 100))
    mask = torch.from_numpy(brain(20, 20).astype(np.uint8))
    plain, _ = RandomSkull().apply(image, mask, RIM)
    long = replace(FACE, apart=0.2, nose=1.0, ahead=(1.0, 1.0), depth=(1.4, 1.4))
    whole, moved = RandomSkull().apply(image, mask, replace(RIM, face=long))
    assert whole.shape == plain.shape and moved is not None and moved.dtype == torch.uint8
    top, bottom, left, right = bounding_box(head_of(plain))
    high, low, first, last = bounding_box(head_of(whole))
    # the whole head is smaller, for the face is in the frame too, and longer for its width
    assert (right - left) / (last - first) > 1.1
    assert (low - high) / (last - first) > 1.1 * (bottom - top) / (right - left)
    rows = np.argwhere(moved.numpy())[:, 0]
    assert rows.mean() > SIZE / 2 + 10  # the brain moved back
    aspect = np.ptp(np.argwhere(moved.numpy()), axis=0)
    assert aspect[0] == pytest.approx(aspect[1], abs=2)  # and kept its shape


def test_two_dark_globes_lie_in_bright_fat_on_either_side() -> None:
    image = image_of(brain())
    whole = RandomSkull().apply(image, None, replace(RIM, face=FACE))[0][0].numpy()
    low, high = np.quantile(image[image != BACKGROUND_VALUE], [0.01, 0.9])
    bright = whole > low + 2.2 * (high - low)
    found, count = ndimage.label(ndimage.binary_opening(bright, iterations=3))
    parts = [found == k for k in range(1, count + 1)]
    holes = [ndimage.binary_fill_holes(part | bright) & ~bright for part in parts]
    globes = holes[0] & (whole < low + 0.3 * (high - low))
    globes[SIZE // 2 :] = False
    _, eyes = ndimage.label(ndimage.binary_opening(globes, iterations=3))
    assert eyes == 2
    columns = np.argwhere(ndimage.binary_opening(globes, iterations=3))[:, 1]
    middle = (SIZE - 1) / 2
    assert np.abs(columns - middle).min() > 8
    assert (columns < middle).mean() == pytest.approx(0.5, abs=0.1)


def test_a_head_with_its_face_is_framed_as_preprocessing_would() -> None:
    prepared = preprocess_slice(image_of(brain()).numpy() - BACKGROUND_VALUE)
    given = torch.from_numpy(prepared.image)
    head = RandomSkull().apply(given, None, replace(RIM, face=FACE))[0].numpy()
    again = preprocess_slice(head - BACKGROUND_VALUE)
    before, after = bounding_box(head[0] != BACKGROUND_VALUE), bounding_box(again.foreground)
    assert np.abs(np.subtract(before, after)).max() <= 10


def test_faces_are_drawn_with_their_chance_and_change_nothing_else_of_a_draw() -> None:
    with_face, without = RandomSkull(prob=1.0, face=0.3), RandomSkull(prob=1.0, face=0.0)
    one, other = np.random.default_rng(0), np.random.default_rng(0)
    drawn = [with_face.draw(one, "brats") for _ in range(1500)]
    plain = [without.draw(other, "brats") for _ in range(1500)]
    assert sum(rim.face is not None for rim in drawn) / 1500 == pytest.approx(0.3, abs=0.05)
    assert [replace(rim, face=None) for rim in drawn] == plain
    assert one.random() == other.random()


@pytest.mark.parametrize("seed", range(12))
def test_the_whole_face_is_in_the_picture_and_its_outline_has_no_bay(seed: int) -> None:
    """Wide brains, narrow ones, high and low in their frame."""
    rng = np.random.default_rng(seed)
    foreground = brain(rng.uniform(40, 110), rng.uniform(40, 110), rng.uniform(115, 140))
    rim = replace(RIM, face=draw_face(rng), seed=seed)
    head = head_of(RandomSkull().apply(image_of(foreground), None, rim)[0])
    assert not head[0].any() and not head[:, [0, -1]].any()
    top = bounding_box(head)[0]
    part = head[top : top + 40]
    filled = np.array([np.ptp(np.flatnonzero(row)) + 1 for row in part])
    assert (part.sum(axis=1) == filled).all()  # what a row has of it is one piece


@pytest.mark.parametrize("at", [(0, 0), (0, 60), (63, 63), (30, 5)])
def test_specks_at_the_border_get_a_face_too(at: tuple[int, int]) -> None:
    image = torch.full((1, 64, 64), BACKGROUND_VALUE)
    image[0][at] = 1.0
    head = RandomSkull().apply(image, None, replace(RIM, face=FACE))[0]
    assert head.shape == image.shape and torch.isfinite(head).all()


def test_the_orbits_follow_the_brain_beside_them() -> None:
    """Lobes of unequal length: each eye lies in front of its own."""
    foreground = brain()
    foreground[:60, : SIZE // 2] = False
    face = place_face(FACE, foreground, skin=4.0)
    left, right = face.orbits
    assert left.row - right.row > 15 and left.column < SIZE / 2 < right.column
    assert (SIZE - 1) / 2 - left.column == pytest.approx(right.column - (SIZE - 1) / 2)
    assert face.tip[0] < right.row - right.radius


def test_an_orbit_covers_an_ellipse() -> None:
    inside = Orbit(100.0, 90.0, 20.0, depth=1.5).covers((SIZE, SIZE), skin=5.0)
    assert inside.sum() == pytest.approx(np.pi * 25 * 25 * 1.5, rel=0.01)
    assert bounding_box(inside) == (63, 138, 66, 115)
    coarse = Orbit(100.0, 90.0, 20.0, depth=1.5).covers((SIZE, SIZE), skin=5.0, step=4)
    np.testing.assert_array_equal(coarse, inside[::4, ::4])


def test_depth_below_the_skin_is_in_pixels_and_negative_outside() -> None:
    grid = brain()[::4, ::4]
    far = Orbit(100.0, (SIZE - 1) / 2, 1.0, depth=1.0)  # within the head: no face to be seen
    face = Face(replace(FACE, nose=0.0), (far, far), skin=0.0)
    below = face.depth_below_skin(grid, 4)
    assert below[32, 32] == pytest.approx(80, abs=6) and below.dtype == np.float32
    assert (below[grid] > -2).all() and (below[~grid] < 4).all()
    assert below[0, 0] < -40


def test_a_bad_chance_is_named() -> None:
    with pytest.raises(ConfigError, match=r"skull\.face=1\.5"):
        RandomSkull(face=1.5)
