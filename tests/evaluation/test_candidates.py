"""Postprocessing and augmentation at test time: candidates counted, and the one that is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tallied import PLAIN, SHAPE, add

from brainmtl.errors import ConfigError
from brainmtl.evaluation import metrics
from brainmtl.evaluation.candidates import (
    DICE_MARGIN,
    MIN_COMPONENT_PIXELS,
    Candidate,
    CandidateTally,
    choose_candidate,
)
from brainmtl.inference.operating.postprocess import PostprocessOptions, clean_slice


def test_counts_are_those_of_cleaned_masks() -> None:
    tally = CandidateTally()
    items = [
        add(tally, 1),
        add(tally, 2),
        add(tally, 3, case_id="A_2"),
        add(tally, 4, group="B", case_id="B"),
        add(tally, 5, source="lgg", group="A", case_id="L"),
        add(tally, 6, source="lgg", group="H", case_id="H", reference=np.zeros(SHAPE, bool)),
    ]
    table = tally.table()
    assert len(table) == 2 * len(MIN_COMPONENT_PIXELS) * 2
    assert len({line["mean"] for line in table}) > 8  # the options differ on these maps
    for line in table:
        options = PostprocessOptions(line["min_component_pixels"], line["fill_holes"])
        counts: dict[str, np.ndarray] = {}
        for item in items:
            mask = clean_slice(item["maps"][line["tta"]] >= 0.5, options)
            pair = np.array(metrics.overlap(mask, item["reference"]))
            counts[item["case_id"]] = counts.get(item["case_id"], 0) + pair
        dice = {case: metrics.dice_from_counts(*map(int, c)) for case, c in counts.items()}
        brats = ((dice["A_1"] + dice["A_2"]) / 2 + dice["B"]) / 2
        assert line["dice"] == {"brats": pytest.approx(brats), "lgg": pytest.approx(dice["L"])}
        assert line["mean"] == pytest.approx((brats + dice["L"]) / 2)
        assert line["n"] == {"brats": 2, "lgg": 1}
        assert dice["H"] is None


def test_the_pixel_threshold_is_the_tallys() -> None:
    strict, loose = CandidateTally(seg_threshold=0.9), CandidateTally(seg_threshold=0.1)
    item = add(strict, 1)
    add(loose, 1)
    plane = item["maps"]["none"].astype(np.float32)
    for tally, threshold in ((strict, 0.9), (loose, 0.1)):
        expected = metrics.dice(plane >= threshold, item["reference"])
        assert tally.table()[0]["mean"] == pytest.approx(expected)


def test_full_and_empty_masks_are_counted() -> None:
    tally = CandidateTally(("none",))
    for k, (value, reference) in enumerate([(1.0, 1), (0.0, 1), (1.0, 0), (0.0, 0)]):
        maps = {"none": np.full(SHAPE, value, np.float16)}
        add(
            tally, 0, group=f"g{k}", case_id=f"c{k}", maps=maps, reference=np.full(SHAPE, reference)
        )
    assert {line["mean"] for line in tally.table()} == {0.5}
    assert {line["n"]["brats"] for line in tally.table()} == {2}


def test_modes_are_checked() -> None:
    with pytest.raises(ConfigError, match="rotate"):
        CandidateTally(("none", "rotate"))
    with pytest.raises(ValueError, match="plain image"):
        CandidateTally(("flip",))


def table_of(values: dict[Candidate, float | None]) -> list[dict[str, Any]]:
    return [
        candidate._asdict() | {"mean": mean, "dice": {"brats": mean}, "n": {"brats": 3}}
        for candidate, mean in values.items()
    ]


@pytest.mark.parametrize(
    ("gains", "chosen"),
    [
        ({Candidate("flip", 10, True): 0.9 * DICE_MARGIN}, PLAIN),
        ({Candidate("flip", 0, False): 1.1 * DICE_MARGIN}, Candidate("flip", 0, False)),
        (  # nothing more than what the gain needs
            {Candidate("none", 30, False): 0.010, Candidate("flip", 30, True): 0.011},
            Candidate("none", 30, False),
        ),
        (  # the smaller of two sizes that are as good, and cleaning before twice the time
            {
                Candidate("none", 100, True): 0.010,
                Candidate("none", 30, True): 0.010,
                Candidate("flip", 0, False): 0.010,
            },
            Candidate("none", 30, True),
        ),
        ({Candidate("flip", 100, True): -0.5}, PLAIN),
        ({}, PLAIN),
    ],
)
def test_noise_does_not_choose(gains: dict[Candidate, float], chosen: Candidate) -> None:
    values = {PLAIN: 0.7} | {candidate: 0.7 + gain for candidate, gain in gains.items()}
    for order in (values, dict(reversed(values.items()))):
        assert choose_candidate(table_of(order)) == (chosen, None)


def test_without_tumour_masks_nothing_is_chosen() -> None:
    found, remark = choose_candidate(table_of({Candidate("flip", 10, True): None, PLAIN: None}))
    assert found == PLAIN and "masks stay as they are" in remark
    assert choose_candidate(CandidateTally().table())[0] == PLAIN
