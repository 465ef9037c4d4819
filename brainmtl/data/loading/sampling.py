"""Which samples an epoch draws, in which order and in which batches.

Everything here is a pure function of (seed, epoch): no generator is carried along, so a resumed run
draws what the uninterrupted one would have drawn. Batches consist of :class:`SampleKey`, which
carry the epoch to where the sample is loaded: persistent workers need not be told of a new one.

An epoch is a number of images that the user chooses, or one pass over the larger role. Every sample of
a source and label is drawn equally often: whole passes where the epoch has room, and what is left of
it goes through the samples from epoch to epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Stratum = tuple[np.ndarray, int]


class SampleKey(NamedTuple):
    """A draw: index into the dataset, the epoch, and how often the epoch drew this index before."""

    index: int
    epoch: int = 0
    repeat: int = 0


@dataclass(frozen=True)
class Pool:
    """The samples that play one role, as columns of equal length.

    ``indices`` into the dataset; ``labels`` 1, 0 or -1; ``sources`` a number per source.
    """

    name: str
    indices: np.ndarray
    labels: np.ndarray
    sources: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)


class PoolDraws:
    """``count`` draws an epoch from one :class:`Pool`: a pure function of (seed, epoch).

    With ``balance_labels`` the two labels are drawn equally often, evenly spread over the epoch,
    and samples without a label (they serve segmentation) keep their natural share. Then the
    commoner label is not exhausted within one epoch; its samples take turns over the epochs. With
    ``balance_sources`` the same holds for the sources of the pool, so that a small cohort is not
    drowned by a large one. ``number`` of the pool: each shuffles in its own way.
    """

    def __init__(
        self,
        pool: Pool,
        count: int,
        number: int,
        seed: int,
        balance_labels: bool,
        balance_sources: bool = False,
    ) -> None:
        self.pool = pool
        self.key = (seed, 1 + number)
        self.balance_labels = balance_labels
        self.balance_sources = balance_sources
        # Rows, and how many of them an epoch draws.
        self._strata = [
            stratum for part in self._by_source(count) for stratum in self._by_label(*part)
        ]

    def draw(self, epoch: int) -> np.ndarray:
        """Dataset indices (count,) of ``epoch``, in order."""
        draws = [self._take(*stratum, epoch, i) for i, stratum in enumerate(self._strata)]
        return self.pool.indices[_interleave(draws)]

    def _by_source(self, count: int) -> list[Stratum]:
        """Rows and number of draws per source; all rows together where sources are not balanced."""
        if not self.balance_sources:
            return [(np.arange(len(self.pool)), count)]
        codes = np.unique(self.pool.sources)
        parts = [np.flatnonzero(self.pool.sources == code) for code in codes]
        ends = [round(count * (i + 1) / len(parts)) for i in range(len(parts))]
        return list(zip(parts, np.diff([0, *ends]).tolist(), strict=True))

    def _by_label(self, rows: np.ndarray, count: int) -> list[Stratum]:
        """Rows without a label, of label 0 and of label 1, and how many draws each gets."""
        labels = self.pool.labels[rows]
        strata = [rows[labels == label] for label in (-1, 0, 1)]
        if not self.balance_labels or not (len(strata[1]) and len(strata[2])):
            # One label alone is drawn in proportion.
            return [(rows, count)]
        unlabelled = round(count * len(strata[0]) / len(rows))
        half = (count - unlabelled) // 2
        return list(zip(strata, [unlabelled, count - unlabelled - half, half], strict=True))

    def _take(self, rows: np.ndarray, count: int, epoch: int, stratum: int) -> np.ndarray:
        """``count`` of ``rows``: whole shuffled passes, then a stream that goes on next epoch."""
        if count == 0 or len(rows) == 0:
            return rows[:0]
        key = (*self.key, stratum)
        passes, rest = divmod(count, len(rows))
        parts = [_shuffled(rows, (*key, 0, epoch, number)) for number in range(passes)]
        cycle, start = divmod(epoch * rest, len(rows))
        while rest > 0:
            part = _shuffled(rows, (*key, 1, cycle))[start : start + rest]
            parts.append(part)
            rest, cycle, start = rest - len(part), cycle + 1, 0
        return np.concatenate(parts)


def _shuffled(rows: np.ndarray, key: Sequence[int]) -> np.ndarray:
    return np.random.default_rng(list(key)).permutation(rows)


def _interleave(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Merge so that every stretch of the result holds the parts in proportion."""
    places = np.concatenate([(np.arange(len(part)) + 0.5) / max(len(part), 1) for part in parts])
    return np.concatenate(parts)[np.argsort(places, kind="stable")]


def occurrence(draws: np.ndarray) -> np.ndarray:
    """How often each element occurred before: [7, 3, 7] -> [0, 0, 1]."""
    order = np.argsort(draws, kind="stable")
    ranked = draws[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]]) if len(draws) else order
    result = np.empty_like(order)
    result[order] = np.arange(len(draws)) - np.repeat(starts, np.diff(np.r_[starts, len(draws)]))
    return result
