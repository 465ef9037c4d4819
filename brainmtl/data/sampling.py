"""Which samples an epoch draws, in which order and in which batches.

Everything here is a pure function of (seed, epoch): no generator is carried along, so a resumed run
draws what the uninterrupted one would have drawn. Batches consist of :class:`SampleKey`, which
carry the epoch to where the sample is loaded: persistent workers need not be told of a new one.

An epoch is one pass over the larger source. Of the smaller one, every sample is drawn equally often
(once at least, where the epoch has room), and the rest continues from epoch to epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from brainmtl.errors import ConfigError

NO_VOLUME = -1


class SampleKey(NamedTuple):
    """A draw: index into the dataset, the epoch, and how often the epoch drew this index before."""

    index: int
    epoch: int = 0
    repeat: int = 0


@dataclass(frozen=True)
class Pool:
    """The samples that play one role, as columns of equal length.

    ``indices`` into the dataset; ``labels`` 1, 0 or -1; ``volumes`` a number per volume, -1 for
    single images; ``positions`` slice index within the volume; ``sources`` a number per source.
    """

    name: str
    indices: np.ndarray
    labels: np.ndarray
    volumes: np.ndarray
    positions: np.ndarray
    sources: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)


def slice_phases(volumes: np.ndarray, positions: np.ndarray, stride: int, seed: int) -> np.ndarray:
    """Phase 0..stride-1 in which each slice is taken; -1 (always) for single images.

    Slices of a volume take turns in order of position, and each volume starts at a phase of its
    own, so that the epochs are of nearly equal size. Over ``stride`` epochs each slice comes once.
    """
    phases = np.full(len(volumes), NO_VOLUME, dtype=np.int64)
    order = np.lexsort((positions, volumes))
    order = order[volumes[order] != NO_VOLUME]
    if len(order) == 0:
        return phases
    _, first, codes = np.unique(volumes[order], return_index=True, return_inverse=True)
    rank = np.arange(len(order)) - first[codes]
    start = np.random.default_rng([seed, 0]).integers(stride, size=len(first))
    phases[order] = (rank + start[codes]) % stride
    return phases


class PoolDraws:
    """Draws from one :class:`Pool`: a pure function of (seed, epoch, count).

    With ``balance_labels`` the two labels are drawn equally often, evenly spread over the epoch,
    and samples without a label (they serve segmentation) keep their natural share. Then the
    commoner label is not exhausted within one epoch; its samples take turns over the epochs. With
    ``balance_sources`` the same holds for the sources of the pool, so that a small cohort is not
    drowned by a large one.
    """

    def __init__(
        self,
        pool: Pool,
        number: int,
        seed: int,
        stride: int,
        balance_labels: bool,
        balance_sources: bool = False,
    ) -> None:
        self.pool = pool
        self.key = (seed, 1 + number)
        self.stride = stride
        phases = slice_phases(pool.volumes, pool.positions, stride, seed)
        self._rows = [np.flatnonzero((phases == NO_VOLUME) | (phases == p)) for p in range(stride)]
        if not all(len(rows) for rows in self._rows):
            raise ConfigError(
                f"data.train_slice_stride={stride} leaves epochs without a single slice of {pool.name}: its "
                f"volumes are too few or too thin. Choose a smaller stride"
            )
        # The largest phase, for every epoch: loops and schedules plan with one constant length.
        self.size = max(len(rows) for rows in self._rows)
        self.balance_labels = balance_labels
        self._sources = np.unique(pool.sources) if balance_sources else None

    def draw(self, epoch: int, count: int) -> np.ndarray:
        """Dataset indices (count,) of ``epoch``, in order."""
        phase, turn = epoch % self.stride, epoch // self.stride
        rows = self._rows[phase]
        strata: list[np.ndarray] = []
        counts: list[int] = []
        for part, share in self._by_source(rows, count):
            parts, shares = self._by_label(part, share)
            strata += parts
            counts += shares
        draws = [
            self._take(s, k, phase, turn, i)
            for i, (s, k) in enumerate(zip(strata, counts, strict=True))
        ]
        return self.pool.indices[_interleave(draws)]

    def _by_source(self, rows: np.ndarray, count: int) -> list[tuple[np.ndarray, int]]:
        """Rows and number of draws per source; all rows together where sources are not balanced."""
        if self._sources is None:
            return [(rows, count)]
        parts = [rows[self.pool.sources[rows] == code] for code in self._sources]
        parts = [part for part in parts if len(part)]  # a phase may lack a source of few slices
        ends = [round(count * (i + 1) / len(parts)) for i in range(len(parts))]
        return list(zip(parts, np.diff([0, *ends]).tolist(), strict=True))

    def _by_label(self, rows: np.ndarray, count: int) -> tuple[list[np.ndarray], list[int]]:
        """Rows without a label, of label 0 and of label 1, and how many draws each gets."""
        labels = self.pool.labels[rows]
        strata = [rows[labels == label] for label in (-1, 0, 1)]
        if not self.balance_labels or not (len(strata[1]) and len(strata[2])):
            # One label alone (of the source, or of this phase of it) is drawn in proportion.
            return [rows], [count]
        unlabelled = round(count * len(strata[0]) / len(rows))
        half = (count - unlabelled) // 2
        return strata, [unlabelled, count - unlabelled - half, half]

    def _take(
        self, rows: np.ndarray, count: int, phase: int, turn: int, stratum: int
    ) -> np.ndarray:
        """``count`` of ``rows``: whole shuffled passes, then a stream that goes on next turn."""
        if count == 0 or len(rows) == 0:
            return rows[:0]
        key = (*self.key, phase, stratum)
        passes, rest = divmod(count, len(rows))
        parts = [_shuffled(rows, (*key, 0, turn, number)) for number in range(passes)]
        cycle, start = divmod(turn * rest, len(rows))
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
