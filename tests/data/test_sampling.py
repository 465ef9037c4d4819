from __future__ import annotations

import logging
from collections import Counter

import numpy as np
import pytest

from brainmtl.data.loading.batches import (
    AlternatingBatchSampler,
    EpochBatchSampler,
    MixedBatchSampler,
    SingleBatchSampler,
)
from brainmtl.data.loading.sampling import Pool
from brainmtl.errors import ConfigError


def pool(
    name: str,
    count: int,
    start: int = 0,
    labels: list[int] | None = None,
    sources: list[int] | None = None,
) -> Pool:
    """``count`` samples from index ``start``; every third is negative, unless labels are given."""
    label = np.resize(labels or [1, 1, 0], count).astype(np.int8)
    source = np.zeros(count, dtype=np.int64) if sources is None else np.asarray(sources)
    return Pool(name, start + np.arange(count), label, source)


def indices(sampler: EpochBatchSampler, epoch: int = 0) -> list[list[int]]:
    sampler.set_epoch(epoch)
    return [[key.index for key in batch] for batch in sampler]


BOTH = (pool("brats", 37), pool("kaggle", 10, start=100))


@pytest.mark.parametrize("balance", [False, True])
@pytest.mark.parametrize("kind", [SingleBatchSampler, AlternatingBatchSampler, MixedBatchSampler])
def test_an_epoch_has_as_many_draws_as_the_larger_pool_has_samples(
    kind: type, balance: bool
) -> None:
    pools = BOTH[:1] if kind is SingleBatchSampler else BOTH
    sampler = kind(pools, 8, balance_labels=balance, seed=1)
    batches = indices(sampler)
    assert len(batches) == len(sampler)
    assert sum(index < 100 for batch in batches for index in batch) == 37
    if not balance:
        assert sorted(i for batch in batches for i in batch if i < 100) == list(range(37))


@pytest.mark.parametrize("kind", [SingleBatchSampler, AlternatingBatchSampler, MixedBatchSampler])
def test_pure_function_of_seed_and_epoch(kind: type) -> None:
    pools = BOTH[:1] if kind is SingleBatchSampler else BOTH

    def make(seed: int) -> EpochBatchSampler:
        return kind(pools, 8, images_per_epoch=24, seed=seed)

    walked = make(3)
    epochs = [indices(walked, epoch) for epoch in range(4)]
    assert indices(make(3), 3) == epochs[3]  # resumed: the epochs before were never drawn
    assert epochs[0] != epochs[2] and indices(make(4), 0) != epochs[0]


def test_mixed_holds_both_sources_in_every_batch() -> None:
    sampler = MixedBatchSampler(BOTH, 8, 0.5, balance_labels=False)
    batches = indices(sampler)
    assert len(batches) == 10  # 9 * 4 + 1
    assert all(sum(i < 100 for i in batch) == 4 == len(batch) // 2 for batch in batches[:-1])
    assert sum(i < 100 for i in batches[-1]) == 1 and len(batches[-1]) == 2
    assert sampler.repeats == {"brats": 0, "kaggle": 37 - 10}
    seen = Counter(i for batch in batches for i in batch if i >= 100)
    assert len(seen) == 10 and max(seen.values()) - min(seen.values()) <= 1


@pytest.mark.parametrize(("ratio", "first"), [(0.25, 2), (0.75, 6), (0.01, 1), (0.99, 7)])
def test_mixed_ratio(ratio: float, first: int) -> None:
    for batch in indices(MixedBatchSampler(BOTH, 8, ratio))[:-1]:
        assert sum(i < 100 for i in batch) == first and len(batch) == 8


def test_the_second_pool_may_be_the_larger() -> None:
    sampler = MixedBatchSampler(BOTH[::-1], 8, 0.5, balance_labels=False)
    assert sampler.repeats == {"brats": 0, "kaggle": 27}
    assert len(indices(AlternatingBatchSampler(BOTH[::-1], 8))) == 10


def test_alternating_takes_whole_batches_in_turn() -> None:
    batches = indices(AlternatingBatchSampler(BOTH, 8, balance_labels=False))
    origin = [{i < 100 for i in batch} for batch in batches]
    assert origin == [{True}, {False}] * 5
    assert [len(batch) for batch in batches] == [8, 8, 8, 8, 8, 8, 8, 8, 5, 8]


def test_labels_are_balanced_in_every_batch() -> None:
    labels = [1, 1, 1, 0, -1]
    first = pool("brats", 40, labels=labels)
    sampler = MixedBatchSampler([first, pool("kaggle", 12, start=100)], 16)
    for epoch in range(3):
        for batch in indices(sampler, epoch):
            counts = Counter(first.labels[i] for i in batch if i < 100)
            assert abs(counts[1] - counts[0]) <= 1
        total = Counter(first.labels[i] for i in sampler.draws()[0].tolist())
        assert total == {1: 16, 0: 16, -1: 8}  # the unlabelled keep their share


def test_balancing_reaches_every_sample_over_the_epochs() -> None:
    sampler = SingleBatchSampler([pool("brats", 40, labels=[1, 1, 1, 0])], 8)
    seen = Counter(int(i) for epoch in range(6) for i in sampler.draws(epoch)[0])
    common = [seen[i] for i in range(40) if i % 4 != 3]
    # 6 epochs * 20 draws over 30 samples: 4 each, none left out and none preferred.
    assert set(common) == {4}
    assert sampler.repeats["brats"] == 40 - 20 - 10


def test_the_smaller_pool_goes_on_where_it_stopped() -> None:
    # At 7:1 an epoch has room for only a part of the second pool.
    sampler = MixedBatchSampler(
        [pool("a", 35), pool("b", 30, start=100)], 8, 7 / 8, balance_labels=False
    )
    seen = Counter(int(i) for epoch in range(6) for i in sampler.draws(epoch)[1])
    assert len(sampler.draws(0)[1]) == 5 and len(seen) == 30 and set(seen.values()) == {1}


@pytest.mark.parametrize("images", [16, 48, 400])
@pytest.mark.parametrize("kind", [SingleBatchSampler, AlternatingBatchSampler, MixedBatchSampler])
def test_an_epoch_of_so_many_images_whatever_there_are(kind: type, images: int) -> None:
    """Fewer than a pass over 37 samples or many passes: full batches, every sample equally often."""
    pools = BOTH[:1] if kind is SingleBatchSampler else BOTH
    sampler = kind(pools, 8, images_per_epoch=images - 3, balance_labels=False)
    seen: Counter[int] = Counter()
    for epoch in range(6):
        batches = indices(sampler, epoch)
        assert [len(batch) for batch in batches] == [8] * (images // 8) == [8] * len(sampler)
        assert sum(sampler.images) == images
        seen.update(i for batch in batches for i in batch)
    for one in pools:
        counts = [seen[i] for i in one.indices.tolist()]
        assert max(counts) - min(counts) <= 1 and sum(counts) == 6 * images // len(pools)


def test_a_short_epoch_goes_on_where_the_one_before_stopped() -> None:
    sampler = SingleBatchSampler([pool("brats", 40)], 8, images_per_epoch=16, balance_labels=False)
    first, second, third = (set(sampler.draws(epoch)[0].tolist()) for epoch in range(3))
    assert len(first | second) == 32 and first | second | third == set(range(40))


def test_repeats_within_an_epoch_are_told_apart() -> None:
    keys = [key for batch in MixedBatchSampler(BOTH, 8) for key in batch]
    assert len(set(keys)) == len(keys)
    counts = Counter(key.index for key in keys)
    assert all(
        sorted(k.repeat for k in keys if k.index == i) == list(range(n)) for i, n in counts.items()
    )


@pytest.mark.parametrize("kind", [AlternatingBatchSampler, MixedBatchSampler])
def test_ranks_share_an_epoch(kind: type) -> None:
    whole = indices(kind(BOTH, 8, balance_labels=False))
    ranks = [indices(kind(BOTH, 8, balance_labels=False, rank=r, world_size=2)) for r in range(2)]
    assert len(ranks[0]) == len(ranks[1]) == len(kind(BOTH, 8, rank=0, world_size=2))
    assert {tuple(b) for part in ranks for b in part} == {tuple(b) for b in whole}
    if kind is AlternatingBatchSampler:
        for first, second in zip(*ranks, strict=True):
            assert (first[0] < 100) == (second[0] < 100)


def test_repeats_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "brainmtl.data.loading.batches"):
        indices(MixedBatchSampler(BOTH, 8, balance_labels=False), 2)
    assert "epoch 2: 37 draws of kaggle, 27 of them repeats" in caplog.text


def test_a_pool_of_one_label_is_not_balanced() -> None:
    sampler = SingleBatchSampler([pool("brats", 9, labels=[1])], 4)
    assert sorted(sampler.draws(0)[0].tolist()) == list(range(9))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 1}, "batch_size"),
        ({"batch_size": 0}, "batch_size"),
        ({"mixed_ratio": 1.0}, "mixed_ratio"),
        ({"images_per_epoch": 0}, "images_per_epoch=0 must be 1 or more, or null"),
        ({"rank": 2, "world_size": 2}, "rank"),
    ],
)
def test_options_that_cannot_work(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MixedBatchSampler(BOTH, **{"batch_size": 8, **options})


def test_an_empty_pool_is_named() -> None:
    with pytest.raises(ConfigError, match="lgg"):
        SingleBatchSampler([pool("lgg", 0)], 8)


@pytest.mark.parametrize("images", [None, 16, 200])
def test_sources_of_a_role_are_drawn_equally_often(images: int | None) -> None:
    # 40 of one cohort, 8 of another: drawn half and half, labels balanced in each.
    one = pool("brats+lgg", 48, 0, [1, 1, 0, 0, 1], sources=[0] * 40 + [1] * 8)
    sampler = SingleBatchSampler([one], 8, balance_sources=True, images_per_epoch=images, seed=1)
    for epoch in range(4):
        drawn = np.concatenate(indices(sampler, epoch))
        assert abs(int((drawn >= 40).sum()) - len(drawn) / 2) <= 1
        labels = one.labels[drawn[drawn < 40]]
        assert abs(int((labels == 1).sum()) * 2 - len(labels)) <= 1
    seen = {i for epoch in range(30) for batch in indices(sampler, epoch) for i in batch}
    assert seen == set(range(48))


def test_without_balance_sources_they_keep_their_shares() -> None:
    one = pool("brats+lgg", 48, sources=[0] * 40 + [1] * 8)
    sampler = SingleBatchSampler([one], 8, balance_labels=False, seed=1)
    drawn = np.concatenate(indices(sampler))
    assert int((drawn >= 40).sum()) == 8
