from __future__ import annotations

import pytest

from brainmtl.errors import DataError
from brainmtl.evaluation.crossval.merge import mean_tree, merge_lines


def line(name: str, source: str = "brats") -> dict:
    return {"source": source, "image_id": name}


def test_lines_carry_their_fold() -> None:
    merged = merge_lines([(0, [line("a")]), (2, [line("b"), line("a", "lgg")])], "image_id")
    assert [(x["image_id"], x["fold"]) for x in merged] == [("a", 0), ("b", 2), ("a", 2)]


def test_a_sample_predicted_by_two_folds_is_refused() -> None:
    with pytest.raises(DataError, match=r"brats/a: the folds overlap"):
        merge_lines([(0, [line("a")]), (1, [line("a")])], "image_id")


def test_numbers_are_averaged_and_counts_summed() -> None:
    first = {"auc": 0.5, "n": 3, "counts": [1, 3], "n_groups": 2, "level": 4, "name": "x", "odd": 1}
    second = {
        "auc": 0.7,
        "n": 5,
        "counts": [2, 5],
        "n_groups": 3,
        "level": 4,
        "name": "x",
        "odd": 2,
    }
    merged = mean_tree([{"a": first}, {"a": second}])["a"]
    assert merged["auc"] == pytest.approx(0.6)
    assert (merged["n"], merged["counts"], merged["n_groups"]) == (8, [3, 8], 5)
    assert (merged["level"], merged["name"], merged["odd"]) == (4, "x", 1.5)


def test_a_rate_is_that_of_the_counts_beside_it() -> None:
    hits = [{"rate": 0.5, "counts": [1, 2]}, {"rate": None, "counts": [0, 0]}]
    assert mean_tree([*hits, {"rate": 1.0, "counts": [8, 8]}]) == {"rate": 0.9, "counts": [9, 10]}


def test_what_a_fold_does_not_define_does_not_count() -> None:
    merged = mean_tree([{"auc": None, "b": [1.0, None]}, {"auc": 0.4, "b": [2.0, None]}])
    assert merged == {"auc": 0.4, "b": [1.5, None]}
    assert mean_tree([None, None]) is None


def test_words_that_differ_are_left_out() -> None:
    assert mean_tree([{"why": "a", "ok": True}, {"why": "b", "ok": False}]) == {
        "why": None,
        "ok": None,
    }
