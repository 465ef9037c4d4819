"""The fit of the operating point against exhaustive search, and on data that say little."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import special
from sklearn.metrics import balanced_accuracy_score
from tallied import PLAIN, SHAPE, add, geometry

from brainmtl.evaluation.candidates import DICE_MARGIN, Candidate, CandidateTally
from brainmtl.evaluation.fitting import VOLUME_LIMITS_ML, fit_operating_point, fit_volume_limit
from brainmtl.inference.operating.calibration import apply
from brainmtl.inference.operating.decision import decide_many
from brainmtl.inference.operating.operating_point import OperatingPoint
from brainmtl.inference.operating.postprocess import PostprocessOptions


def test_volumes_are_those_of_called_slices_per_patient() -> None:
    tally = CandidateTally()
    called, left = {"none": 0.8, "flip": 0.1}, {"none": 0.6, "flip": 0.9}
    items = [
        add(tally, 1, probabilities=called),
        add(tally, 2, probabilities=left),
        add(tally, 3, probabilities=called, case_id="A_2", reference=np.zeros(SHAPE, bool)),
        add(tally, 4, probabilities=left, group="H", case_id="H", reference=np.zeros(SHAPE, bool)),
        add(tally, 5, probabilities=called, source="lgg", case_id="L", geometry=geometry("stack")),
        add(tally, 6, probabilities=called, case_id="picture", geometry=geometry("picture")),
    ]
    temperature, threshold = 2.0, 0.6  # 0.8 becomes 0.67 and 0.6 becomes 0.55
    assert apply(0.8, temperature) > threshold > apply(0.6, temperature)
    pixels = [np.count_nonzero(item["maps"]["none"] >= 0.5) for item in items]
    # a pixel of the prepared grid is 0.5 x 0.5 voxels of 1 x 1 x 5 mm
    ml, tumour = tally.patient_volumes(PLAIN, temperature, threshold, "ml")
    assert ml.tolist() == pytest.approx([max(pixels[0], pixels[2]) * 0.25 * 0.005, 0.0])
    assert tumour.tolist() == [True, False]
    voxels, tumour = tally.patient_volumes(PLAIN, temperature, threshold, "voxels")
    assert voxels.tolist() == pytest.approx([pixels[4] * 0.25]) and tumour.tolist() == [True]
    flip, _ = tally.patient_volumes(Candidate("flip", 0, False), temperature, threshold, "ml")
    flipped = [np.count_nonzero(item["maps"]["flip"] >= 0.5) for item in items]
    assert flip.tolist() == pytest.approx([flipped[1] * 0.25 * 0.005, flipped[3] * 0.25 * 0.005])


@pytest.mark.parametrize("seed", range(20))
def test_limit_is_the_best_of_the_grid(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 12))
    has_tumour = np.arange(n) < rng.integers(1, n)
    volumes = np.where(has_tumour, rng.exponential(2, n), rng.exponential(0.4, n))
    volumes *= rng.random(n) < 0.8
    found = fit_volume_limit(volumes, has_tumour, VOLUME_LIMITS_ML)
    scores = [balanced_accuracy_score(has_tumour, volumes > v) for v in VOLUME_LIMITS_ML]
    best = [v for v, s in zip(VOLUME_LIMITS_ML, scores, strict=True) if s > max(scores) - 1e-9]
    assert found.limit == best[-1]
    assert (found.sensitivity + found.specificity) / 2 == pytest.approx(max(scores))
    assert (found.n_tumour, found.n_healthy) == (has_tumour.sum(), (~has_tumour).sum())


@pytest.mark.parametrize(
    ("volumes", "limit"),
    [
        ([5.0, 3.0], 2.0),
        ([5.0, 0.6], 0.5),
        ([5.0, 0.5], 0.25),
        ([5.0, 0.01], 0.0),
        ([0.0, 1.5], 1.0),
        ([0.0], 2.0),
    ],
)
def test_without_healthy_patients_no_more_are_missed_than_at_zero(
    volumes: list[float], limit: float
) -> None:
    has_tumour = np.ones(len(volumes), bool)
    found = fit_volume_limit(np.array(volumes), has_tumour, VOLUME_LIMITS_ML)
    assert found.limit == limit and found.specificity is None
    assert found.sensitivity == np.mean(np.array(volumes) > 0)


def test_without_tumour_patients_the_limit_is_zero() -> None:
    found = fit_volume_limit(np.array([0.0, 0.7]), np.zeros(2, bool), VOLUME_LIMITS_ML)
    assert (found.limit, found.sensitivity, found.specificity) == (0.0, None, 0.5)
    found = fit_volume_limit(np.array([]), np.zeros(0, bool), VOLUME_LIMITS_ML)
    assert (found.limit, found.sensitivity, found.specificity) == (0.0, None, None)


HASHES = {"checkpoint_sha256": "c" * 64, "manifest_sha256": "m" * 64}


def images(n: int = 80) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Overconfident probabilities, another set for flip, and some images without a label."""
    rng = np.random.default_rng(5)
    labels = np.where(rng.random(n) < 0.1, -1, rng.integers(0, 2, n))
    logits = rng.normal(2 * labels - 1, 1.5)
    raw = {"none": special.expit(4 * logits), "flip": special.expit(2 * logits)}
    return labels, raw, rng.choice(["brats", "kaggle"], n)


def test_everything_is_fitted_in_one_call() -> None:
    tally = CandidateTally()
    for seed in range(4):
        add(
            tally,
            seed,
            group=f"g{seed}",
            case_id=f"c{seed}",
            probabilities={"none": 0.99, "flip": 0.9},
        )
    labels, raw, sources = images()
    found = fit_operating_point(labels, raw, sources, tally, **HASHES)
    point = found.operating_point
    chosen = [line for line in point.candidates if line["chosen"]]
    assert len(chosen) == 1 and chosen[0]["tta"] == point.tta
    assert chosen[0]["min_component_pixels"] == point.postprocess.min_component_pixels
    assert chosen[0]["mean"] >= max(line["mean"] for line in point.candidates) - DICE_MARGIN
    assert point.fitted and point.split == "val" and point.seg_gate == 0.3
    assert point.temperature == found.temperature.temperature > 1
    assert point.threshold == found.threshold.threshold >= point.seg_gate
    keep = labels >= 0
    calls = decide_many(raw[point.tta][keep], point).label
    for source, value in found.threshold.balanced_accuracy.items():
        own = sources[keep] == source
        assert balanced_accuracy_score(labels[keep][own], calls[own]) == pytest.approx(value)
    assert point.counts["images"]["kaggle"] == {
        "tumour": int(((sources == "kaggle") & (labels == 1)).sum()),
        "no_tumour": int(((sources == "kaggle") & (labels == 0)).sum()),
    }
    assert point.counts["patients"]["ml"] == {"tumour": 4, "healthy": 0}
    assert any("patient specificity: not defined" in remark for remark in point.remarks)
    assert any("validation volumes with a known voxel size" in r for r in point.remarks)
    assert (point.checkpoint_sha256, point.manifest_sha256) == ("c" * 64, "m" * 64)
    text = json.dumps(point.to_dict(), allow_nan=False)
    assert OperatingPoint.from_dict(json.loads(text)) == point


def test_probabilities_are_those_of_the_chosen_augmentation() -> None:
    """Where flipping wins on Dice, T and threshold are fitted on flipped probabilities."""
    reference = np.zeros(SHAPE, bool)
    reference[100:140, 100:140] = True
    good, bad = reference.astype(np.float16), np.roll(reference, 20, axis=0).astype(np.float16)
    labels, raw, sources = images(200)
    fits = {}
    for winner, loser in (("flip", "none"), ("none", "flip")):
        tally = CandidateTally()
        add(tally, 0, maps={winner: good, loser: bad}, reference=reference)
        fits[winner] = fit_operating_point(labels, raw, sources, tally, **HASHES)
        assert fits[winner].operating_point.tta == winner
    # the logits of "none" are twice those of "flip"
    ratio = fits["none"].temperature.temperature / fits["flip"].temperature.temperature
    assert ratio == pytest.approx(2, rel=1e-3)


def test_what_was_chosen_is_what_the_point_holds() -> None:
    """Each value another than its default, and the limits those of volumes at that point."""
    tally = CandidateTally(seg_threshold=0.4)
    for group, kind, side, p in (
        ("A", "volume", 40, 0.9999),  # 1,600 pixels: 2 ml
        ("B", "volume", 16, 0.9),  # 0.32 ml, but below the threshold once P is calibrated
        ("S", "stack", 40, 0.9999),  # 400 voxels
    ):
        reference = np.zeros(SHAPE, bool)
        reference[100 : 100 + side, 100 : 100 + side] = True
        pixels = np.where(reference, 0.45, 0.0)
        pixels[104:112, 104:112] = 0.0
        add(
            tally,
            0,
            group=group,
            case_id=group,
            geometry=geometry(kind),
            reference=reference,
            maps=dict.fromkeys(tally.modes, pixels.astype(np.float16)),
            probabilities=dict.fromkeys(tally.modes, p),
        )
    point = fit_operating_point(*images(), tally, **HASHES, seg_gate=0.7).operating_point
    assert (point.seg_gate, point.threshold, point.seg_threshold) == (0.7, 0.7, 0.4)
    assert point.postprocess == PostprocessOptions(0, fill_holes=True)
    assert (point.limit_ml, point.limit_voxels) == (1.0, 250.0)


def test_nothing_at_all_gives_the_defaults_with_remarks() -> None:
    found = fit_operating_point([], {"none": [], "flip": []}, [], CandidateTally(), **HASHES)
    point = found.operating_point
    assert (point.temperature, point.threshold, point.tta) == (1.0, 0.5, "none")
    assert point.postprocess == PostprocessOptions() and point.limit_ml == point.limit_voxels == 0
    assert len(point.remarks) == 4 and point.fitted
    assert "from the first voxel on" in point.remarks[-1]
    json.dumps(point.to_dict(), allow_nan=False)


def test_healthy_patients_alone_leave_the_limit_at_zero() -> None:
    tally = CandidateTally()
    add(tally, 0, reference=np.zeros(SHAPE, bool))
    point = fit_operating_point(*images(), tally, **HASHES).operating_point
    assert point.limit_ml == 0 and point.counts["patients"]["ml"] == {"tumour": 0, "healthy": 1}
    assert any("No patient with tumour" in remark for remark in point.remarks)


def test_misuse_is_refused() -> None:
    labels, raw, sources = images()
    tally = CandidateTally()
    with pytest.raises(ValueError, match="lack the mode none"):
        fit_operating_point(labels, {"flip": raw["flip"]}, sources, tally, **HASHES)
    with pytest.raises(ValueError, match="alike"):
        fit_operating_point(labels, raw, sources[:-1], tally, **HASHES)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        fit_operating_point(labels, {"none": raw["none"] + 1}, sources, tally, **HASHES)
