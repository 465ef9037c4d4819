"""One order of decisions, the same for one image and for many."""

from __future__ import annotations

import numpy as np
import pytest

from brainmtl.errors import ConfigError
from brainmtl.inference.operating.calibration import apply
from brainmtl.inference.operating.decision import Decision, decide, decide_many
from brainmtl.inference.operating.operating_point import OperatingPoint

POINTS = [
    OperatingPoint(),
    OperatingPoint(temperature=2.5, threshold=0.42, seg_gate=0.2),
    OperatingPoint(temperature=0.4, threshold=0.9, seg_gate=0.9),
    OperatingPoint(threshold=0.6, seg_gate=0.0),
]
PROBABILITIES = np.concatenate([[0.0, 1.0, 0.5], np.random.default_rng(0).random(300)])


@pytest.mark.parametrize("point", POINTS)
def test_one_and_many_say_the_same(point: OperatingPoint) -> None:
    many = decide_many(PROBABILITIES, point)
    assert (many.calibrated.dtype, many.segment.dtype, many.label.dtype) == (float, bool, int)
    for index, probability in enumerate(PROBABILITIES):
        one = decide(float(probability), point)
        assert one == Decision(many.calibrated[index], many.segment[index], many.label[index])
        assert (type(one.calibrated), type(one.segment), type(one.label)) == (float, bool, int)
        assert not one.abstained and one.reason is None


@pytest.mark.parametrize("point", POINTS)
def test_what_is_called_tumour_is_segmented(point: OperatingPoint) -> None:
    found = decide_many(PROBABILITIES, point)
    assert found.segment[found.label == 1].all()
    assert set(found.label) == {0, 1}
    np.testing.assert_array_equal(found.calibrated, apply(PROBABILITIES, point.temperature))


def test_gate_and_threshold_act_on_the_calibrated_probability() -> None:
    point = OperatingPoint(temperature=3.0, threshold=0.7, seg_gate=0.6)
    raw = [0.6, 0.8, 0.95]  # calibrated 0.53, 0.61, 0.73
    found = decide_many(raw, point)
    assert found.segment.tolist() == [False, True, True]
    assert found.label.tolist() == [0, 0, 1]
    uncalibrated = decide_many(raw, OperatingPoint(threshold=0.7, seg_gate=0.6))
    assert uncalibrated.label.tolist() == [0, 1, 1]


def test_both_limits_belong_to_the_upper_side() -> None:
    point = OperatingPoint(threshold=0.5, seg_gate=0.3)
    below = np.nextafter([0.3, 0.5], 0)
    found = decide_many([below[0], 0.3, below[1], 0.5], point)
    assert found.segment.tolist() == [False, True, True, True]
    assert found.label.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("probability", [None, 0.0, 0.99, 7.0, float("nan")])
def test_abstaining_comes_before_any_probability(probability: float | None) -> None:
    found = decide(probability, OperatingPoint(), "not a brain MRI")
    assert found == Decision(None, False, None, True, "not a brain MRI")


def test_misuse_is_refused() -> None:
    point = OperatingPoint()
    with pytest.raises(ValueError, match="must be given"):
        decide(None, point)
    with pytest.raises(ValueError, match="say why"):
        decide(0.5, point, " ")
    for probability in (float("nan"), -0.1, 1.1):
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            decide(probability, point)
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            decide_many([0.5, probability], point)


def test_no_image_at_all() -> None:
    assert all(len(array) == 0 for array in decide_many([], OperatingPoint()))


def test_a_gate_above_the_threshold_cannot_reach_a_decision() -> None:
    with pytest.raises(ConfigError, match="without being segmented"):
        OperatingPoint(threshold=0.4, seg_gate=0.5)
