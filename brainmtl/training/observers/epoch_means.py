"""Means over an epoch whose batches several processes have shared."""

from __future__ import annotations

from collections import defaultdict

import torch
import torch.distributed as dist
from torch import Tensor


class SharedMeans:
    """Weighted means by name over all processes; empty again after :meth:`compute`.

    Lightning's ``sync_dist`` reduces name after name in the order in which each process first saw
    them, and a source or task may be missing from one share: gathering whole tables has no order.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor | float] = defaultdict(float)
        self._counts: dict[str, int] = defaultdict(int)

    def add(self, name: str, value: Tensor | float, count: int) -> None:
        """A mean over ``count`` samples of a batch."""
        # Stays on its device: a number for every batch would make the GPU wait.
        self._sums[name] += count * torch.as_tensor(value).detach().double()
        self._counts[name] += count

    def compute(self) -> dict[str, tuple[float, int]]:
        """{name: (mean, count)} over all processes, which must call this together."""
        own = {name: (float(self._sums[name]), n) for name, n in self._counts.items()}
        tables = [own] * dist.get_world_size()
        dist.all_gather_object(tables, own)
        self.__init__()
        found = {}
        for name in dict.fromkeys(name for table in tables for name in table):
            parts = [table[name] for table in tables if name in table]
            count = sum(n for _, n in parts)
            if count:
                found[name] = (sum(total for total, _ in parts) / count, count)
        return found
