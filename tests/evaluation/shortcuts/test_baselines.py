"""A planted shortcut is found by the baseline that can see it, and by no other."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from planted import Spec, parts, write_folder
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier

from brainmtl.data.preprocessing.geometry import SliceGeometry, VolumeGeometry
from brainmtl.data.samples import Sample
from brainmtl.evaluation.shortcuts.baselines import BASELINES, baseline_lines, nearest_neighbour
from brainmtl.evaluation.shortcuts.descriptors import (
    METADATA,
    UNKNOWN,
    border,
    file_metadata,
    intensities,
    slice_count,
)

# Which baselines see a feature: a border is part of the thumbnail and of the head's pixels too.
SEES = {
    "border": {"border", "intensity", "neighbour"},
    "metadata": {"metadata"},
    "intensity": {"intensity"},
    "copies": {"neighbour"},
    None: set(),
}


def accuracies(folder: Path, spec: Spec) -> dict[str, float]:
    train, test = parts(write_folder(folder, {"source": spec}))
    lines = baseline_lines(folder, train, test, progress=False)
    assert len(lines) == len(BASELINES) * len(test)
    found = {}
    for name in BASELINES:
        own = [line for line in lines if line["baseline"] == name]
        assert [line["image_id"] for line in own] == list(test["image_id"])
        assert all(line["call"] == (line["score"] >= 0.5) for line in own)
        assert all(0 <= line["score"] <= 1 for line in own)
        found[name] = balanced_accuracy_score(
            [line["cls"] for line in own], [line["call"] for line in own]
        )
    return found


@pytest.mark.parametrize("shortcut", ["border", "metadata", "intensity", "copies"])
def test_planted_shortcut_is_found_by_what_can_see_it(tmp_path: Path, shortcut: str) -> None:
    found = accuracies(tmp_path, Spec(80, 80, shortcut))
    for name, value in found.items():
        if name in SEES[shortcut]:
            assert value > 0.9, (name, found)
        elif not (shortcut == "intensity" and name == "neighbour"):  # it may see a brighter head
            assert 0.3 < value < 0.7, (name, found)


def test_nothing_is_found_where_nothing_was_planted(tmp_path: Path) -> None:
    found = accuracies(tmp_path, Spec(120, 120))
    assert all(0.35 < value < 0.65 for value in found.values()), found
    assert found["metadata"] == 0.5  # constant: all images are called alike


def test_baselines_stay_within_a_source(tmp_path: Path) -> None:
    """Two sources with opposite rules would cancel out if they were trained together."""
    specs = {"up": Spec(60, 40, "metadata"), "plain": Spec(60, 40, None, labels=(1, 0))}
    train, test = parts(write_folder(tmp_path, specs))
    lines = [
        line
        for line in baseline_lines(tmp_path, train, test, progress=False)
        if line["baseline"] == "metadata"
    ]
    right = {
        source: np.mean([line["cls"] == line["call"] for line in lines if line["source"] == source])
        for source in specs
    }
    assert right == {"up": 1.0, "plain": 0.5}


def test_sources_without_two_classes_in_training_give_no_lines(tmp_path: Path) -> None:
    specs = {
        "healthy": Spec(10, 10, labels=(0,)),
        "unseen": Spec(0, 10),
        "unlabelled": Spec(10, 10, labels=(-1,)),
        "fine": Spec(20, 9, labels=(0, 1, -1)),
    }
    train, test = parts(write_folder(tmp_path, specs))
    lines = baseline_lines(tmp_path, train, test, progress=False)
    assert {line["source"] for line in lines} == {"fine"}
    assert len(lines) == 6 * len(BASELINES)  # a third of the nine images has no label


def test_nearest_neighbour_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(50, 8)), rng.normal(size=(40, 8))
    labels = rng.integers(0, 2, 50)
    reference = KNeighborsClassifier(1).fit(train, labels).predict(test)
    scores = nearest_neighbour(train, labels, test)
    assert np.array_equal(scores >= 0.5, reference == 1)
    same = nearest_neighbour(np.zeros((2, 3)), np.array([0, 1]), np.zeros((1, 3)))
    assert same.tolist() == [0.5]


def test_metadata_of_volumes_and_pictures() -> None:
    affine = np.array([[0, 0, 3.0, -5], [1.0, 0, 0, 7], [0, -1.5, 0, 60], [0, 0, 0, 1]])
    volume = VolumeGeometry.from_affine(affine, (40, 6, 48))
    depth = volume.orient(np.zeros((40, 6, 48))).shape[2]
    frame = ((30, 60), (0, 30, 0, 60), (0, 0, 0, 0), (1.0, 1.0), 64)
    geometry = SliceGeometry(*frame, (1.5, 3.0), 2.0, 4, volume)
    assert slice_count(geometry) == depth
    sample = Sample(np.zeros((1, 64, 64)), 0, None, {"geometry": geometry.to_dict()})
    found = dict(zip(METADATA, file_metadata(SimpleNamespace(position=4), sample), strict=True))
    assert found["height"] == 30 and found["aspect"] == 2 and found["slice spacing"] == 2
    assert found["relative slice position"] == pytest.approx(4 / (depth - 1))
    stack = SliceGeometry(*frame, volume=VolumeGeometry.stack((30, 60), 9))
    assert slice_count(stack) == 9
    single = Sample(np.zeros((1, 64, 64)), 0, None, {"geometry": SliceGeometry(*frame).to_dict()})
    found = dict(zip(METADATA, file_metadata(SimpleNamespace(position=0), single), strict=True))
    assert found["slices in the volume"] == found["row spacing"] == UNKNOWN


def test_border_sees_the_border_alone() -> None:
    image = np.zeros((2, 64, 64), dtype=np.float32)
    image[:, 5:-5, 5:-5] = 7.0
    assert (border(image) == 0).all() and len(border(image)) == 2 * (64**2 - 54**2)
    image[1, 0, 0] = 3.0
    assert border(image).sum() == 3.0


def test_intensities_do_not_see_the_background() -> None:
    image = np.full((1, 64, 64), -3.0, dtype=np.float32)
    image[0, 20:40, 20:40] = 1.25
    found = intensities(image)
    assert (found[:9] == 1.25).all() and found[9:].sum() == pytest.approx(1)
    image[0, 20:30, 20:40] = 80.0  # beyond the bins: counted in the last one
    assert intensities(image)[-1] == 0.5
