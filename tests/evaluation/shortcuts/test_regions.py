"""Where the brain is, and what an exchange of surroundings leaves as it was."""

from __future__ import annotations

import numpy as np
import pytest
from planted import RADIUS, RIM, SIZE, disc, head

from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE
from brainmtl.evaluation.shortcuts.regions import (
    Rim,
    brain_region,
    find_rim,
    head_region,
    relative_depth,
    swap_surroundings,
)

STRIPPED = Rim(0.0, 0.0, 1)


def heads(scalp: bool, count: int = 8, **options: float) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [head(rng, scalp, **options) for _ in range(count)]


def test_head_is_all_that_is_not_background() -> None:
    image = heads(False, 1)[0]
    image[:, 30:33, 30:33] = BACKGROUND_VALUE  # a hole is no background
    assert np.array_equal(head_region(image), disc(RADIUS))


def test_relative_depth_of_a_disc() -> None:
    depth = relative_depth(disc(RADIUS))
    assert depth.max() == 1 and (depth[~disc(RADIUS)] == 0).all()
    assert depth[SIZE // 2, SIZE // 2 + 13] == pytest.approx(0.5, abs=0.05)
    assert (relative_depth(np.zeros((8, 8), dtype=bool)) == 0).all()
    assert relative_depth(np.ones((9, 9), dtype=bool))[0, 4] == pytest.approx(0.2)


def test_rim_of_stripped_and_unstripped_heads() -> None:
    assert find_rim(heads(False)).stripped
    rim = find_rim(heads(True))
    assert not rim.stripped and rim.n == 8 and rim.drop > 3
    # The skull is RIM / 2 to RIM pixels below the outline of a disc of RADIUS.
    assert RIM / 2 / RADIUS < rim.depth < RIM / RADIUS + 0.05
    assert find_rim([]) == Rim(0.0, 0.0, 0)


def test_brain_lies_inside_the_skull() -> None:
    images = heads(True)
    rim = find_rim(images)
    for image in images:
        brain = brain_region(image, rim)
        assert brain.any() and not (brain & ~disc(RADIUS - RIM / 2)).any()
    stripped = heads(False, 1)[0]
    assert np.array_equal(brain_region(stripped, STRIPPED), head_region(stripped))


@pytest.mark.parametrize("scalp", [False, True])
def test_image_into_itself_is_itself(scalp: bool) -> None:
    image = heads(scalp, 1)[0]
    brain = brain_region(image, find_rim(heads(scalp)))
    composite, place = swap_surroundings(image, brain, image, brain)
    assert np.array_equal(composite, image) and np.array_equal(place, brain)


def test_swap_is_exact_inside_and_outside() -> None:
    image, donor = heads(False, 1)[0], heads(True, 1, radius=31.0)[0]
    brain = disc(RADIUS - RIM)
    target = np.roll(disc(RADIUS - RIM), (3, -2), (0, 1))  # same box elsewhere: no resizing
    composite, place = swap_surroundings(image, brain, donor, target)
    assert np.array_equal(place, target)
    moved = np.roll(image, (3, -2), (1, 2))
    assert np.array_equal(composite[:, place], moved[:, place])
    assert np.array_equal(composite[:, ~place], donor[:, ~place])


@pytest.mark.parametrize("radius", [10.0, 20.0, 30.0])
def test_resized_brain_brings_nothing_of_its_old_surroundings(radius: float) -> None:
    image = np.full((2, SIZE, SIZE), 9.0, dtype=np.float32)  # bright scalp everywhere
    brain = disc(14.0)
    image[0, brain], image[1, brain] = 1.0, -1.0
    donor = np.full((2, SIZE, SIZE), 5.0, dtype=np.float32)
    target = disc(radius)
    composite, place = swap_surroundings(image, brain, donor, target)
    assert np.allclose(composite[0, place], 1.0, atol=1e-5)
    assert np.allclose(composite[1, place], -1.0, atol=1e-5)
    assert (composite[:, target & ~place] == BACKGROUND_VALUE).all()
    assert (composite[:, ~target & ~place] == 5.0).all()
    assert place.sum() == pytest.approx(target.sum(), rel=0.06)


def test_aspect_is_kept() -> None:
    image = heads(False, 1)[0]
    tall, wide = np.zeros((2, SIZE, SIZE), dtype=bool)
    tall[10:50, 20:40] = True  # 40 x 20
    wide[20:40, 5:59] = True  # 20 x 54
    composite, place = swap_surroundings(image, tall, image, wide)
    rows, columns = np.flatnonzero(place.any(1)), np.flatnonzero(place.any(0))
    assert (len(rows), len(columns)) == (20, 10)
    assert (composite[:, wide & ~place] == BACKGROUND_VALUE).all()
