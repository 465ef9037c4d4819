from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from brainmtl.data.preparation.splits import SPLITS, assign_folds, assign_splits
from brainmtl.errors import ConfigError, DataError


def cohort(n_groups: int, seed: int = 0, largest: int = 6) -> tuple[list[str], list[int]]:
    """Groups of 1..largest samples; a third of the groups has no label, the others one each."""
    rng = np.random.default_rng(seed)
    groups, labels = [], []
    for k in range(n_groups):
        size = int(rng.integers(1, largest + 1))
        groups += [f"g{k:03d}"] * size
        labels += [k % 3 - 1] * size
    return groups, labels


def samples_per(groups: list[str], where: dict[str, str | int]) -> Counter:
    return Counter(where[group] for group in groups)


@pytest.mark.parametrize("shares", [(0.7, 0.15, 0.15), (0.5, 0.25, 0.25), (0.8, 0.2, 0.0)])
@pytest.mark.parametrize("seed", range(4))
def test_shares_hold_for_all_samples_and_for_each_label(shares, seed: int) -> None:
    groups, labels = cohort(120, seed)
    options = dict(zip(SPLITS, shares, strict=True))
    splits = assign_splits(groups, labels, seed=seed, **options)
    assert set(splits) == set(groups)
    for label in (None, -1, 0, 1):
        rows = [g for g, y in zip(groups, labels, strict=True) if label is None or y == label]
        counts = samples_per(rows, splits)
        for name, share in options.items():
            assert abs(counts[name] - share * len(rows)) <= 6  # the size of one group


def test_forty_patients_of_unequal_size() -> None:
    rng = np.random.default_rng(0)
    for seed in range(5):
        groups = [f"p{k}" for k in range(40) for _ in range(rng.integers(110, 155))]
        splits = assign_splits(groups, [1] * len(groups), seed=seed)
        assert Counter(splits.values()) == {"train": 28, "val": 6, "test": 6}


def test_order_of_the_samples_does_not_matter_and_the_seed_does() -> None:
    groups, labels = cohort(60)
    rows = list(zip(groups, labels, strict=True))
    random.Random(1).shuffle(rows)
    first = assign_splits(groups, labels, seed=3)
    shuffled = assign_splits(*zip(*rows, strict=True), seed=3)
    assert first == shuffled
    assert first != assign_splits(groups, labels, seed=4)
    assert assign_folds(groups, labels, 4, 3) == assign_folds(*zip(*rows, strict=True), 4, 3)
    assert assign_folds(groups, labels, 4, 3) != assign_folds(groups, labels, 4, 4)


@pytest.mark.parametrize("n_groups", range(3, 12))
def test_every_split_gets_a_group(n_groups: int) -> None:
    for labels in ([1] * n_groups, [k % 2 for k in range(n_groups)], [1] + [0] * (n_groups - 1)):
        names = [f"g{k}" for k in range(n_groups)]
        splits = assign_splits(names, labels, train=0.96, val=0.02, test=0.02)
        assert set(splits.values()) == set(SPLITS)
    two = assign_splits(["a", "b"], [1, 0], train=0.9, val=0.0, test=0.1)
    assert sorted(two.values()) == ["test", "train"]


def test_both_labels_reach_every_split_where_there_are_enough() -> None:
    names = [f"g{k}" for k in range(40)]
    labels = [int(k % 4 == 0) for k in range(40)]
    splits = assign_splits(names, labels)
    pairs = {(splits[name], label) for name, label in zip(names, labels, strict=True)}
    assert len(pairs) == 6


def test_a_group_with_any_tumour_counts_as_tumour() -> None:
    groups = [f"g{k}" for k in range(20) for _ in range(2)]
    labels = [y for k in range(20) for y in ((0, 1) if k < 10 else (0, None))]
    splits = assign_splits(groups, labels, train=0.5, val=0.5, test=0)
    tumour = Counter(splits[f"g{k}"] for k in range(10))
    assert tumour == {"train": 5, "val": 5}


def test_pinned_groups_stay_and_count() -> None:
    groups = [f"g{k}" for k in range(20)]
    pinned = {f"g{k}": "test" for k in range(8)} | {"elsewhere": "val"}
    splits = assign_splits(groups, [1] * 20, train=0.5, val=0.1, test=0.4, pinned=pinned)
    assert all(splits[g] == "test" for g in groups[:8])
    assert Counter(splits.values()) == {"train": 10, "val": 2, "test": 8}
    assert "elsewhere" not in splits
    modes = assign_splits(groups, [1] * 20, mode="all_train", pinned=pinned)
    assert Counter(modes.values()) == {"test": 8, "train": 12}
    every = dict.fromkeys(groups, "train")
    assert assign_splits(groups, [1] * 20, pinned=every) == every


def test_train_groups_are_glob_patterns() -> None:
    groups = [f"TCIA10_{k}_1" for k in range(5)] + [f"CBICA_{k}_1" for k in range(15)]
    splits = assign_splits(groups, [1] * 20, train_groups=["TCIA10_*", "*_3_1"])
    assert {splits[g] for g in groups[:5]} == {"train"} and splits["CBICA_3_1"] == "train"
    assert Counter(splits.values()) == {"train": 14, "val": 3, "test": 3}
    with pytest.raises(ConfigError, match="TCIA13"):
        assign_splits(groups, [1] * 20, train_groups=["TCIA13_*"])
    with pytest.raises(ConfigError, match="lies in test of another source"):
        assign_splits(groups, [1] * 20, train_groups=["*"], pinned={"CBICA_3_1": "test"})


SITES = ["CBICA"] * 12 + ["TCIA01"] * 5 + [""] * 3


def test_test_groups_are_patterns_of_groups_or_sites() -> None:
    groups = [f"p{k:02d}" for k in range(20)]
    splits = assign_splits(groups, [1] * 20, test_groups=["TCIA*", "p19"], sites=SITES)
    assert {group for group, split in splits.items() if split == "test"} == {*groups[12:17], "p19"}
    # They are more than the share of test: the rest is dealt to the others as their shares are.
    assert Counter(splits.values()) == {"train": 12, "val": 2, "test": 6}
    both = assign_splits(
        groups, [1] * 20, train_groups=["CBICA"], test_groups=["TCIA01"], sites=SITES
    )
    assert {both[group] for group in groups[:12]} == {"train"}
    assert {both[group] for group in groups[12:17]} == {"test"}


def test_a_group_with_samples_of_a_named_site_goes_as_a_whole() -> None:
    groups = ["a", "a", "b", "c", "d", "e", "f"]
    sites = ["here", "there", "here", "", "here", "here", ""]
    splits = assign_splits(groups, [1] * 7, test_groups=["there"], sites=sites, test=0, val=0.3)
    assert [group for group, split in splits.items() if split == "test"] == ["a"]


def test_patterns_that_contradict_or_name_nothing_say_what_there_is() -> None:
    groups = [f"p{k:02d}" for k in range(20)]
    with pytest.raises(ConfigError, match=r"test_groups: 'p00' is in split\.train_groups as well"):
        assign_splits(groups, [1] * 20, train_groups=["p00"], test_groups=["CBICA"], sites=SITES)
    with pytest.raises(
        ConfigError, match=r"test_groups: 'TCIA9' .*20 groups .*sites CBICA, TCIA01"
    ):
        assign_splits(groups, [1] * 20, test_groups=["TCIA9"], sites=SITES)
    with pytest.raises(ConfigError, match=r"test_groups: 'p01' lies in val of another source"):
        assign_splits(groups, [1] * 20, test_groups=["p01"], pinned={"p01": "val"})


@pytest.mark.parametrize("split", SPLITS)
def test_everything_into_one_split(split: str) -> None:
    assert assign_splits(["a", "a", "b"], [1, 1, 0], mode=f"all_{split}") == {
        "a": split,
        "b": split,
    }


def test_impossible_requests_name_the_remedy() -> None:
    with pytest.raises(DataError, match="split=all_test or split=all_train"):
        assign_splits(["a", "a", "b"], [1, 1, 0])
    for shares in (
        {"train": 0.8},
        {"train": 1.2, "val": -0.2, "test": 0.0},
        {"train": 0.6, "val": -0.2, "test": 0.6},
        {"val": float("nan")},
    ):
        with pytest.raises(ConfigError, match="together they must be 1"):
            assign_splits(["a", "b", "c"], [1, 1, 0], **shares)
    with pytest.raises(ConfigError, match="all_train"):
        assign_splits(["a"], [1], mode="all_nothing")
    with pytest.raises(ConfigError, match="at least 2"):
        assign_folds(["a", "b"], [1, 0], 1)
    with pytest.raises(DataError, match=r"split\.folds=2 or fewer"):
        assign_folds(["a", "b"], [1, 0], 3)


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_are_balanced_within_each_label(folds: int) -> None:
    groups, labels = cohort(60)
    chosen = assign_folds(groups, labels, folds)
    for label in (-1, 0, 1):
        rows = [g for g, y in zip(groups, labels, strict=True) if y == label]
        counts = samples_per(rows, chosen)
        assert set(counts) == set(range(folds))
        assert max(counts.values()) - min(counts.values()) <= 6


def test_as_many_folds_as_groups() -> None:
    names = [f"g{k}" for k in range(5)]
    assert sorted(assign_folds(names, [1, 1, 1, 1, 0], 5).values()) == [0, 1, 2, 3, 4]
