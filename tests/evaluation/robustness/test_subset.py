"""Images are drawn evenly over labels and patients, from the seed alone."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import pytest

from brainmtl.errors import ConfigError
from brainmtl.evaluation.robustness.subset import MAX_PER_GROUP, choose_images


def frame(spec: dict[tuple[str, int], dict[str, int]]) -> pd.DataFrame:
    """Rows from {(source, label): {group: count}}."""
    rows = [
        {"source": source, "label": label, "group": group, "image_id": f"{group}_{label}_{k}"}
        for (source, label), groups in spec.items()
        for group, count in groups.items()
        for k in range(count)
    ]
    return pd.DataFrame(rows).astype({"source": "category", "group": "category"})


MANY = {f"p{k:02d}": 30 for k in range(40)}


def test_labels_and_patients_get_equal_shares() -> None:
    chosen = choose_images(frame({("a", 0): MANY, ("a", 1): MANY, ("a", -1): MANY}), 60, seed=0)
    assert Counter(chosen["label"]) == {0: 30, 1: 30}
    # 40 patients for 30 places: nobody is drawn twice for a label.
    assert max(Counter(zip(chosen["label"], chosen["group"], strict=True)).values()) == 1
    assert len(choose_images(frame({("a", 0): MANY, ("a", 1): MANY}), 100, seed=0)) == 100


def test_few_patients_take_turns_up_to_the_cap() -> None:
    few = {"p": 100, "q": 2, "r": 100}
    chosen = choose_images(frame({("a", 1): few}), 9, seed=1)
    assert Counter(chosen["group"]) == {"p": MAX_PER_GROUP, "q": 2, "r": 3} or Counter(
        chosen["group"]
    ) == {"p": 3, "q": 2, "r": MAX_PER_GROUP}
    chosen = choose_images(frame({("a", 1): few}), 60, seed=1)
    assert Counter(chosen["group"]) == {"p": MAX_PER_GROUP, "q": 2, "r": MAX_PER_GROUP}


def test_a_rare_label_is_taken_whole_and_the_other_keeps_its_share() -> None:
    rare = {f"p{k:02d}": 1 for k in range(7)}
    chosen = choose_images(frame({("a", 0): rare, ("a", 1): MANY}), 60, seed=0)
    assert Counter(chosen["label"]) == {0: 7, 1: 30}


def test_sources_are_drawn_apart_and_unlabelled_rows_only_without_labels() -> None:
    spec = {("a", 1): MANY, ("a", -1): MANY, ("b", -1): MANY, ("c", 0): {"z": 1}}
    chosen = choose_images(frame(spec), 20, seed=0)
    assert Counter(zip(chosen["source"], chosen["label"], strict=True)) == {
        ("a", 1): 20,
        ("b", -1): 20,
        ("c", 0): 1,
    }


def test_the_seed_decides_and_the_order_is_that_of_the_frame() -> None:
    rows = frame({("b", 0): MANY, ("a", 1): MANY})
    first, again = choose_images(rows, 20, seed=3), choose_images(rows, 20, seed=3)
    assert first.equals(again)
    assert list(first.index) == sorted(first.index)
    assert set(first["image_id"]) != set(choose_images(rows, 20, seed=4)["image_id"])
    # Rows of the manifest keep their old index after a selection.
    shifted = rows.set_index(rows.index + 1000)
    assert list(choose_images(shifted, 20, seed=3)["image_id"]) == list(first["image_id"])


def test_nothing_to_draw_from_is_refused() -> None:
    rows = frame({("a", 1): MANY})
    with pytest.raises(ConfigError, match="the frame has no rows"):
        choose_images(rows.iloc[:0], 60, seed=0)
    with pytest.raises(ConfigError, match="limit=1 must be at least 2"):
        choose_images(rows, 1, seed=0)
