"""Which cases and slices are shown: best, median, worst, and what happens with few of them."""

from __future__ import annotations

from typing import Any

from brainmtl.evaluation.gallery import CLASSIFICATION_PANELS, choose_panels


def case(case_id: str, dice: float | None, kind: str = "volume") -> dict[str, Any]:
    return {"case_id": case_id, "dice": dice, "kind": kind}


def row(case_id: str, position: int, pixels: int | None, **more: Any) -> dict[str, Any]:
    image_id = f"{case_id}_{position}"
    values = {"image_id": image_id, "case_id": case_id, "position": position, "group": image_id}
    return values | {"reference_pixels": pixels, "cls": -1, "calibrated": 0.5} | more


def test_best_median_and_worst_by_dice() -> None:
    dices = {"a": 0.9, "b": 0.1, "c": 0.5, "d": 0.7, "e": 0.3, "healthy": None}
    rows = [row(name, 0, 10) for name in dices]
    panels = choose_panels(rows, [case(name, value) for name, value in dices.items()])
    assert [panel.title for panel in panels] == [
        "best: a\nvolume Dice 0.900",
        "median: c\nvolume Dice 0.500",
        "worst: b\nvolume Dice 0.100",
    ]


def test_a_case_is_shown_once() -> None:
    (only,) = choose_panels([row("a", 0, 10)], [case("a", 0.4, "image")])
    assert only.title == "best = median = worst: a\nimage Dice 0.400"
    rows = [row("a", 0, 10), row("b", 0, 10)]
    panels = choose_panels(rows, [case("a", 0.5), case("b", 0.5)])
    assert sorted(image for panel in panels for image in panel.image_ids) == ["a_0", "b_0"]


def test_slices_shown_of_a_volume() -> None:
    pixels = [0, 5, 20, 90, 30, 7, 0]
    rows = [row("a", position, count) for position, count in enumerate(pixels)]
    (panel,) = choose_panels(rows, [case("a", 0.5)])
    assert panel.image_ids[0] == "a_3"  # most reference
    assert len(set(panel.image_ids)) == 3
    assert all(pixels[int(name[-1])] > 0 for name in panel.image_ids)
    # a tumour on one slice only, or on none of the prepared ones, still gives a picture
    assert choose_panels(rows[:2], [case("a", 0.5)])[0].image_ids == ("a_1",)
    assert choose_panels(rows[:1], [case("a", 0.0)])[0].image_ids == ("a_0",)


def test_without_masks_the_worst_errors_come_first_and_duplicates_once() -> None:
    rows = [
        row("right", 0, None, cls=1, calibrated=0.9),
        row("missed", 0, None, cls=1, calibrated=0.1, group="g"),
        row("missed_copy", 0, None, cls=1, calibrated=0.95, group="g"),
        row("invented", 0, None, cls=0, calibrated=0.8),
        row("unlabelled", 0, None),
    ]
    shown = [panel.image_ids[0] for panel in choose_panels(rows, [])]
    assert shown == ["missed_0", "invented_0", "right_0"]
    many = [row(f"i{k}", 0, None, cls=0, calibrated=k / 100) for k in range(50)]
    assert len(choose_panels(many, [])) == CLASSIFICATION_PANELS
    assert len(choose_panels([row("u", 0, None)], [])) == 1  # no label at all: nearest to 0.5
