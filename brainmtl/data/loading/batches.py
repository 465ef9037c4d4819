"""Batch samplers: one source, both alternating by batch, or both mixed in every batch."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from torch.utils.data import Sampler

from brainmtl.data.loading.sampling import Pool, PoolDraws, SampleKey, occurrence
from brainmtl.errors import ConfigError

log = logging.getLogger(__name__)


class EpochBatchSampler(Sampler[list[SampleKey]], ABC):
    """Batches of an epoch; a subclass says how many of which pool each batch takes.

    Args:
        pools: one or two non-empty pools.
        batch_size: samples per batch; the last batch of a pass may be smaller, nothing is dropped.
        balance_labels, balance_sources: draw both labels, and all sources, of a pool equally often
            (see :class:`PoolDraws`).
        images_per_epoch: images that an epoch draws, rounded up to whole batches (alternating:
            pairs of batches); None: one pass over the larger pool.
        rank, world_size: this process takes every world_size-th batch (alternating: pair of
            batches); the first ones are repeated where the number does not divide.
    """

    group = 1  # batches that stay together when ranks share the epoch

    def __init__(
        self,
        pools: Sequence[Pool],
        batch_size: int,
        *,
        balance_labels: bool = True,
        balance_sources: bool = False,
        images_per_epoch: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size} must be 1 or more")
        if images_per_epoch is not None and images_per_epoch < 1:
            raise ConfigError(
                f"images_per_epoch={images_per_epoch} must be 1 or more, or null for one pass over the data"
            )
        empty = [pool.name for pool in pools if len(pool) == 0]
        if empty:
            raise ConfigError(
                f"no training samples in {empty}: prepare them or choose another loader"
            )
        self.pools = list(pools)
        self.batch_size = batch_size
        self.share(rank, world_size)
        self.epoch = 0
        self._first_batch = 0
        # How many samples of each pool every batch takes, int (batches, pools).
        self._counts = (
            self._one_pass([len(pool) for pool in pools])
            if images_per_epoch is None
            else _repeated(self._full_group(), images_per_epoch)
        )
        self._draws = [
            PoolDraws(pool, count, number, seed, balance_labels, balance_sources)
            for number, (pool, count) in enumerate(zip(pools, self.images, strict=True))
        ]
        self._planned: tuple[int, list[np.ndarray]] | None = None

    @abstractmethod
    def _full_group(self) -> np.ndarray:
        """What the batches of a group take of each pool, where all are full, int (group, pools)."""

    @abstractmethod
    def _one_pass(self, sizes: Sequence[int]) -> np.ndarray:
        """What the batches of one pass over the larger pool take of each, int (batches, pools)."""

    @property
    def sampler(self) -> EpochBatchSampler:
        """Itself: Lightning calls ``dataloader.batch_sampler.sampler.set_epoch`` at each epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws."""
        self.epoch = int(epoch)

    def share(self, rank: int, world_size: int) -> None:
        """Take the batches of process ``rank`` of ``world_size``."""
        if not 0 <= rank < world_size:
            raise ConfigError(f"rank={rank} must lie in 0..world_size-1={world_size - 1}")
        self.rank, self.world_size = rank, world_size

    def start_at(self, batch: int) -> None:
        """Leave out the first ``batch`` batches of the next iteration, and of that one alone.

        The length stays that of a whole epoch.
        """
        self._first_batch = int(batch)

    def draws(self, epoch: int | None = None) -> list[np.ndarray]:
        """Dataset indices that ``epoch`` (default: the current one) draws, one array per pool."""
        epoch = self.epoch if epoch is None else epoch
        if self._planned is None or self._planned[0] != epoch:
            self._planned = (epoch, [draws.draw(epoch) for draws in self._draws])
        return self._planned[1]

    @property
    def images(self) -> list[int]:
        """Images of each pool that every epoch draws, all processes together."""
        return self._counts.sum(axis=0).tolist()

    @property
    def repeats(self) -> dict[str, int]:
        """Per pool: draws of the current epoch that show a sample the epoch has shown before."""
        return {
            pool.name: int(np.count_nonzero(occurrence(indices)))
            for pool, indices in zip(self.pools, self.draws(), strict=True)
        }

    def __len__(self) -> int:
        groups = len(self._counts) // self.group
        return -(-groups // self.world_size) * self.group

    def __iter__(self) -> Iterator[list[SampleKey]]:
        epoch, draws = self.epoch, self.draws()
        repeat = [occurrence(indices) for indices in draws]
        for pool, again in zip(self.pools, repeat, strict=True):
            log.info(
                "epoch %d: %d draws of %s, %d of them repeats",
                epoch,
                len(again),
                pool.name,
                np.count_nonzero(again),
            )
        ends = np.cumsum(self._counts, axis=0)
        first, self._first_batch = self._first_batch, 0
        for batch in islice(self._own_batches(), first, None):
            keys: list[SampleKey] = []
            for number, end in enumerate(ends[batch].tolist()):
                part = slice(end - int(self._counts[batch, number]), end)
                pairs = zip(
                    draws[number][part].tolist(),
                    repeat[number][part].tolist(),
                    strict=True,
                )
                keys += [SampleKey(index, epoch, again) for index, again in pairs]
            yield keys

    def _own_batches(self) -> Iterator[int]:
        groups = len(self._counts) // self.group
        for number in range(len(self) // self.group):
            mine = (number * self.world_size + self.rank) % groups
            yield from range(mine * self.group, (mine + 1) * self.group)


class SingleBatchSampler(EpochBatchSampler):
    """Every batch from the one pool."""

    def _full_group(self) -> np.ndarray:
        return np.array([[self.batch_size]])

    def _one_pass(self, sizes: Sequence[int]) -> np.ndarray:
        return _full_batches(sizes[0], self.batch_size)[:, None]


class AlternatingBatchSampler(EpochBatchSampler):
    """A whole batch of the first pool, a whole batch of the second, and so on."""

    group = 2  # ranks then work on the same pool at the same time

    def _full_group(self) -> np.ndarray:
        return np.diag([self.batch_size, self.batch_size])

    def _one_pass(self, sizes: Sequence[int]) -> np.ndarray:
        larger = int(np.argmax(sizes))
        passes = _full_batches(sizes[larger], self.batch_size)
        counts = np.zeros((2 * len(passes), 2), dtype=np.int64)
        counts[larger::2, larger] = passes
        counts[1 - larger :: 2, 1 - larger] = self.batch_size
        return counts


class MixedBatchSampler(EpochBatchSampler):
    """Both pools in every batch; ``mixed_ratio`` is the share of the first, within 0..1."""

    def __init__(
        self,
        pools: Sequence[Pool],
        batch_size: int,
        mixed_ratio: float = 0.5,
        **options: object,
    ) -> None:
        if not 0 < mixed_ratio < 1:
            raise ConfigError(
                f"mixed_ratio={mixed_ratio} must lie between 0 and 1: "
                "for one source take loader=brats_only or kaggle_only"
            )
        if batch_size < 2:
            raise ConfigError(
                "loader=mixed needs batch_size of 2 or more: each batch holds both sources"
            )
        self.mixed_ratio = mixed_ratio
        super().__init__(pools, batch_size, **options)  # type: ignore[arg-type]

    def _full_group(self) -> np.ndarray:
        first = min(max(round(self.batch_size * self.mixed_ratio), 1), self.batch_size - 1)
        return np.array([[first, self.batch_size - first]])

    def _one_pass(self, sizes: Sequence[int]) -> np.ndarray:
        larger = int(np.argmax(sizes))
        [share] = self._full_group().tolist()
        counts = np.empty((-(-sizes[larger] // share[larger]), 2), dtype=np.int64)
        counts[:] = share
        # The tail keeps the ratio, and both sources.
        tail = sizes[larger] - (len(counts) - 1) * share[larger]
        counts[-1, larger] = tail
        counts[-1, 1 - larger] = max(round(tail * share[1 - larger] / share[larger]), 1)
        return counts


def _repeated(group: np.ndarray, images: int) -> np.ndarray:
    """As many groups of full batches as ``images`` need."""
    return np.tile(group, (-(-images // int(group.sum())), 1))


def _full_batches(total: int, batch_size: int) -> np.ndarray:
    """Sizes of the batches of ``total`` samples: all full but perhaps the last."""
    counts = np.full(-(-total // batch_size), batch_size, dtype=np.int64)
    counts[-1] = total - (len(counts) - 1) * batch_size
    return counts
