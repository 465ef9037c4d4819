"""Uploads that a server must survive: damaged, disguised, oversized, misbuilt; and odd but legal ones.

`uploads(count, seed)` runs through all kinds in random order, each time with other random details.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module

import numpy as np

from hostile.building import BODY_LIMIT_MB, KINDS, Hostile, encode, header, kind, nifti, zeros_gz

__all__ = ["Hostile", "KINDS", "kind", "uploads", "BODY_LIMIT_MB"]
__all__ += ["encode", "header", "nifti", "zeros_gz"]

# In this order they register their kinds, which decides what a seed draws.
for section in ("damaged", "bombs", "disguises", "odd", "volumes", "multipart"):
    import_module(f"hostile.{section}")


def uploads(count: int, seed: int = 0) -> Iterator[Hostile]:
    rng = np.random.default_rng(seed)
    order: list[str] = []
    for _ in range(count):
        if not order:
            order = list(rng.permutation(sorted(KINDS)))
        name = order.pop()
        yield replace(KINDS[name](rng), kind=name)
