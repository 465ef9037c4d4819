"""The phantom must not be solved by a threshold or by the histogram of an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from joblib import Parallel, delayed
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from brainmtl.data.phantom.atlas import load_atlas
from brainmtl.data.phantom.photo import render_photo
from brainmtl.data.phantom.render import render_volume
from brainmtl.data.phantom.writer import PHOTO_STREAM, VOLUME_STREAM, is_healthy, subject_rng

VOLUMES, PHOTOS = 24, 120  # the default set's volumes
THRESHOLDS = np.arange(-1, 5, 0.1)  # of the z-score over the brain


def ten_statistics(values: np.ndarray) -> list[float]:
    """Mean, SD, skewness, kurtosis, five percentiles and entropy of an intensity sample."""
    values = values.ravel().astype(float)
    histogram = np.histogram(values, 64)[0] / values.size
    histogram = histogram[histogram > 0]
    return [
        values.mean(),
        values.std(),
        float(stats.skew(values)),
        float(stats.kurtosis(values)),
        *np.percentile(values, [5, 25, 50, 75, 95]),
        -float((histogram * np.log(histogram)).sum()),
    ]


@dataclass
class VolumeFacts:
    """What the tests need of one volume."""

    dice: np.ndarray | None  # at each threshold; None in healthy subjects
    whole: list[list[float]]  # statistics of each labelled slice, background included
    brain: list[list[float]]  # of its brain pixels, z-scored over the slice
    label: list[int]


def volume_facts(index: int) -> VolumeFacts:
    with threadpool_limits(1):
        rng = subject_rng(0, VOLUME_STREAM, index)
        flair, labels = render_volume(load_atlas(), rng, tumour=not is_healthy(index, 0.33))
    mask, brain = labels > 0, flair > 0
    inside = flair[brain].astype(np.float32)
    z, truth = (inside - inside.mean()) / inside.std(), mask[brain]
    dice = None
    if truth.any():
        edges = np.append(THRESHOLDS, np.inf)
        hits, found = (np.histogram(v, edges)[0][::-1].cumsum()[::-1] for v in (z[truth], z))
        dice = 2 * hits / (truth.sum() + found)
    facts = VolumeFacts(dice, [], [], [])
    for k in range(0, flair.shape[2], 2):  # neighbours are near copies
        area, pixels = np.count_nonzero(mask[:, :, k]), flair[:, :, k][brain[:, :, k]]
        if 0 < area < 100 or len(pixels) < 500:
            continue
        facts.whole.append(ten_statistics(flair[:, :, k] / flair[:, :, k].max()))
        facts.brain.append(ten_statistics((pixels - pixels.mean()) / pixels.std()))
        facts.label.append(int(area > 0))
    return facts


def photo_statistics(index: int) -> list[float]:
    with threadpool_limits(1):
        photo = render_photo(load_atlas(), subject_rng(0, PHOTO_STREAM, index), index % 2 == 0)
    return ten_statistics(np.asarray(photo.convert("L")))


def grouped_auc(features: list[list[float]], label: list[int], group: list[int]) -> float:
    """Cross-validated ROC-AUC of logistic regression, subjects kept apart."""
    model = make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=2000, class_weight="balanced")
    )
    scores = cross_val_predict(
        model, np.array(features), label, groups=group, cv=GroupKFold(5), method="decision_function"
    )
    return float(roc_auc_score(label, scores))


@pytest.fixture(scope="module")
def volumes() -> list[VolumeFacts]:
    return Parallel(n_jobs=2)(delayed(volume_facts)(i) for i in range(VOLUMES))


def test_best_global_threshold_stays_below_half(volumes: list[VolumeFacts]) -> None:
    dice = np.stack([v.dice for v in volumes if v.dice is not None])
    best = float(dice.mean(0).max())
    assert 0.2 < best < 0.50  # the lower bound: lesions are not invisible either


@pytest.mark.parametrize("region", ["whole", "brain"])
def test_statistics_of_slices_do_not_tell(volumes: list[VolumeFacts], region: str) -> None:
    features = [row for v in volumes for row in getattr(v, region)]
    label = [value for v in volumes for value in v.label]
    group = [i for i, v in enumerate(volumes) for _ in v.label]
    assert 0.2 < np.mean(label) < 0.6
    assert grouped_auc(features, label, group) < 0.75


def test_statistics_of_pictures_do_not_tell() -> None:
    features = Parallel(n_jobs=2)(delayed(photo_statistics)(i) for i in range(PHOTOS))
    label = [int(i % 2 == 0) for i in range(PHOTOS)]
    assert grouped_auc(features, label, list(range(PHOTOS))) < 0.75


def test_the_probe_itself_can_tell_brighter_images() -> None:
    """The bound above means something: an obvious difference gives an AUC near 1."""
    rng = np.random.default_rng(0)
    label = [i % 2 for i in range(60)]
    features = [ten_statistics(rng.normal(0.6 * y, 1, 400)) for y in label]
    assert grouped_auc(features, label, list(range(60))) > 0.95
