"""Distances against scikit-learn, and the limit from validation images and their altered copies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf

from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE
from brainmtl.errors import DataError
from brainmtl.inference.ood import (
    EDGES,
    EXTRA_SHRINKAGE,
    INTENSITIES,
    Cluster,
    Features,
    OodDetector,
    image_statistics,
    pool,
)


def features(n: int, f: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(f, f)) / np.sqrt(f)
    return rng.normal(size=(n, f)) @ mixing + np.arange(f)


def labelled(
    values: np.ndarray,
    sources: list[str] | None = None,
    groups: int | None = None,
    copies: np.ndarray | None = None,
) -> Features:
    """Features of one source, every image a group of its own, unless said otherwise; and of copies."""
    names = np.array(sources or ["a"] * len(values))
    group = (np.arange(len(values)) % (groups or len(values))).astype(str)
    if copies is None:
        return Features(values, names, group, np.zeros(len(values), dtype=bool))
    altered = np.arange(2 * len(values)) >= len(values)
    return Features(np.concatenate([values, copies]), np.tile(names, 2), np.tile(group, 2), altered)


def expected_covariance(training: np.ndarray) -> np.ndarray:
    """Ledoit and Wolf's by scikit-learn, shrunk once more towards the same multiple of one."""
    fitted = LedoitWolf().fit(training).covariance_
    round_part = np.trace(fitted) / len(fitted) * np.eye(len(fitted))
    return (1 - EXTRA_SHRINKAGE) * fitted + EXTRA_SHRINKAGE * round_part


def expected_distance(training: np.ndarray, others: np.ndarray) -> np.ndarray:
    inverse = np.linalg.inv(expected_covariance(training))
    return np.array([mahalanobis(one, training.mean(axis=0), inverse) for one in others])


@pytest.mark.parametrize(("n", "f"), [(200, 5), (50, 50), (30, 200), (11, 3), (500, 1)])
def test_distance_is_that_of_a_dense_covariance(n: int, f: int) -> None:
    training, others = features(n, f), features(40, f, seed=1) + 2
    found = Cluster.fit(training).distance(others)
    np.testing.assert_allclose(found, expected_distance(training, others), rtol=1e-6)


def test_nearest_source_counts_and_the_limit_is_the_quantile() -> None:
    first, second = features(60, 8), features(80, 8, seed=1) + 30
    training = np.concatenate([first, second])
    sources = np.array(["a"] * 60 + ["b"] * 80)
    validation = features(200, 8, seed=2)
    detector = OodDetector.fit(labelled(training, list(sources)), labelled(validation), 0.9)
    assert np.mean(detector.score(validation) > detector.threshold) == pytest.approx(0.1, abs=0.006)
    both = detector.score(np.stack([first.mean(axis=0), second.mean(axis=0)]))
    assert (both < 1e-6).all()
    between = detector.score((first.mean(axis=0) + second.mean(axis=0))[None] / 2)
    assert between > detector.threshold, "the middle of two sources is like neither"
    others = features(30, 8, seed=3) + 15
    mean, scale = training.mean(axis=0), training.std(axis=0)
    parts = [(training[sources == name] - mean) / scale for name in "ab"]
    wanted = [expected_distance(part, (others - mean) / scale) for part in parts]
    np.testing.assert_allclose(detector.score(others), np.min(wanted, axis=0), rtol=1e-6)


def test_every_source_of_validation_weighs_the_same_in_the_limit() -> None:
    training = labelled(features(120, 6), ["a"] * 60 + ["b"] * 60)
    near, far = features(400, 6, seed=1), 1.6 * features(20, 6, seed=2)
    validation = labelled(np.concatenate([near, far]), ["a"] * 400 + ["b"] * 20)
    detector = OodDetector.fit(training, validation, 0.9)
    refused = detector.score(validation.values) > detector.threshold
    shares = refused[:400].mean(), refused[400:].mean()
    assert np.mean(shares) == pytest.approx(0.1, abs=0.05) and shares[1] > shares[0]
    pooled = np.quantile(detector.score(validation.values), 0.9)
    assert detector.threshold > pooled, "of all images together the many would decide"


def test_few_patients_of_validation_move_the_limit_out() -> None:
    """Slices of a patient resemble each other: four patients do not show where a fifth may lie."""
    rng = np.random.default_rng(0)

    def patients(n: int) -> np.ndarray:  # 20 slices each, patient by patient in turn
        return np.tile(3 * rng.normal(size=(n, 30)), (20, 1)) + 0.3 * rng.normal(size=(20 * n, 30))

    training, validation, new = patients(8), patients(4), patients(40)
    few = OodDetector.fit(labelled(training, groups=8), labelled(validation, groups=4))
    many = OodDetector.fit(labelled(training, groups=8), labelled(validation))
    assert few.threshold > many.threshold
    assert np.mean(few.score(new) > few.threshold) < np.mean(many.score(new) > many.threshold)
    np.testing.assert_array_equal(few.score(new), many.score(new))


def test_altered_copies_widen_what_counts_as_alike() -> None:
    """The limit holds 98 % of the images and 95 % of the copies, and the copies take part in the spread."""
    training, validation = features(300, 6), features(200, 6, seed=1)
    plain = OodDetector.fit(labelled(training), labelled(validation))
    wide = OodDetector.fit(*(with_copies(values) for values in (training, validation)))
    scores = wide.score(with_copies(validation).values)
    assert np.mean(scores[200:] > wide.threshold) == pytest.approx(0.05, abs=0.006)
    assert np.mean(scores[:200] > wide.threshold) <= 0.02
    moved = with_copies(features(100, 6, seed=2)).values[100:]
    assert np.mean(plain.score(moved) > plain.threshold) > 0.5
    assert np.mean(wide.score(moved) > wide.threshold) < 0.2
    across = features(100, 6, seed=3) + np.array([0, 0, 0, 12.0, 0, 0])
    assert np.mean(wide.score(across) > wide.threshold) > 0.9, "no copy went there"


def with_copies(values: np.ndarray) -> Features:
    """Images and their copies, which differ along the first feature: sharpness, say."""
    further = 12 * np.random.default_rng(len(values)).random((len(values), 1)) ** 3
    return labelled(values, copies=values + further * np.array([1.0, 0, 0, 0, 0, 0]))


def test_copies_that_lie_nearer_leave_the_limit_to_the_images() -> None:
    training, validation = features(300, 6), features(200, 6, seed=1)
    middle = training.mean(axis=0)
    near = [
        labelled(values, copies=middle + 0.1 * (values - middle))
        for values in (training, validation)
    ]
    found = OodDetector.fit(*near)
    assert np.mean(found.score(validation) > found.threshold) == pytest.approx(0.02, abs=0.005)


def test_copies_count_as_no_images_of_their_own() -> None:
    few, enough = features(9, 4), labelled(features(30, 4))
    with pytest.raises(DataError, match="source a has 9 training images"):
        OodDetector.fit(labelled(few, copies=few), enough)
    with pytest.raises(DataError, match="9 validation images"):
        OodDetector.fit(enough, labelled(few, copies=few))


def test_dead_channels_do_not_matter() -> None:
    training = np.concatenate([features(40, 4), np.zeros((40, 3))], axis=1)
    detector = OodDetector.fit(labelled(training), labelled(training))
    assert np.isfinite(detector.score(training)).all()
    moved = training + np.array([0, 0, 0, 0, 50.0, 0, 0])
    assert (detector.score(moved) > detector.threshold).all(), "a channel that wakes up is news"


def test_channels_that_are_hardly_alive_do_not_set_the_limit() -> None:
    """Alive in one of a hundred training images, and a little more in one of fifty to validate on."""
    values = [features(300, 6), features(200, 6, seed=1)]
    plain = OodDetector.fit(*map(labelled, values))
    faint = [np.zeros((len(own), 2)) for own in values]
    faint[0][::100] = 1e-4
    faint[1][::40] = 1e-2  # a hundredth of what the other channels vary by
    wide = [np.concatenate([own, one], axis=1) for own, one in zip(values, faint, strict=True)]
    found = OodDetector.fit(*map(labelled, wide))
    assert found.threshold == pytest.approx(plain.threshold, rel=0.1)
    strangers = np.concatenate([features(50, 6, seed=2) + 6, np.zeros((50, 2))], axis=1)
    assert (found.score(strangers) > found.threshold).all()


@pytest.mark.parametrize(
    ("training", "sources", "validation", "message"),
    [
        (features(9, 4), ["a"] * 9, features(20, 4), "source a has 9 training images"),
        (features(30, 4), ["a"] * 21 + ["b"] * 9, features(20, 4), "source b has 9"),
        (features(30, 4), ["a"] * 30, features(9, 4), "9 validation images"),
        (np.ones((30, 4)), ["a"] * 30, features(20, 4), "no spread"),
    ],
)
def test_too_little_to_fit_on(
    training: np.ndarray, sources: list[str], validation: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        OodDetector.fit(labelled(training, sources), labelled(validation))
    assert "ood=false" in str(caught.value)


def test_arrays_there_and_back() -> None:
    detector = OodDetector.fit(
        labelled(features(40, 6), ["a/b"] * 20 + ["c"] * 20), labelled(features(30, 6, seed=1))
    )
    again = OodDetector.from_arrays(detector.to_arrays())
    others = features(10, 6, seed=2)
    np.testing.assert_array_equal(again.score(others), detector.score(others))
    assert again.threshold == detector.threshold and set(again.clusters) == {"a/b", "c"}


@pytest.mark.parametrize(
    "change", ["mean", "c/axes", "c/rest", "threshold", "version", "nan", "shape", "none"]
)
def test_broken_arrays_are_data_errors(change: str) -> None:
    arrays = OodDetector.fit(
        labelled(features(40, 6), ["c"] * 40), labelled(features(30, 6))
    ).to_arrays()
    if change == "nan":
        arrays["c/precision"] = np.full_like(arrays["c/precision"], np.nan)
    elif change == "shape":
        arrays["c/axes"] = arrays["c/axes"][:, :-1]
    elif change == "none":
        arrays = {name: array for name, array in arrays.items() if not name.startswith("c/")}
    else:
        del arrays[change]
    with pytest.raises(DataError, match="export the model again"):
        OodDetector.from_arrays(arrays)


def test_pooled_features() -> None:
    maps = [torch.rand(3, 2, 8, 8), torch.rand(3, 5, 4, 4), torch.rand(3, 9, 2, 2)]
    images = np.random.default_rng(0).normal(size=(3, 2, 32, 32)).astype(np.float32)
    found = pool(maps, images)
    assert found.shape == (3, 14 + 2 * 10) and found.dtype == np.float64
    wanted = [f(m.numpy(), axis=(2, 3)) for m in maps[:2] for f in (np.mean, np.std)]
    np.testing.assert_allclose(found[:, :14] ** 2, np.concatenate(wanted, axis=1), rtol=1e-5)
    np.testing.assert_array_equal(found[:, 14:], [image_statistics(image) for image in images])


def test_image_statistics_against_numpy_on_every_pixel() -> None:
    """Only every second pixel is looked at; on smooth structures that changes little."""
    rows, columns = np.indices((256, 256)) / 256
    plane = np.sin(9 * rows) * np.cos(7 * columns) + rows
    head = (rows - 0.5) ** 2 + (columns - 0.5) ** 2 < 0.16
    image = np.where(head, plane, BACKGROUND_VALUE).astype(np.float32)
    edges = np.hypot(*np.gradient(image))[head]
    wanted = [*np.quantile(plane[head], INTENSITIES), *np.quantile(edges, EDGES[:2])]
    found = image_statistics(np.stack([image, np.full_like(image, BACKGROUND_VALUE)]))
    np.testing.assert_allclose(found[:9], wanted, atol=0.02)
    assert found[9] > 0.5, "the rim of the head is an edge"
    assert found.shape == (20,) and not found[10:].any()
