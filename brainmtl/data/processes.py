"""How many processes work on a folder of raw or prepared files."""

from __future__ import annotations

import os

from brainmtl.errors import check_count


def process_count(workers: int | None) -> int:
    """``workers``, by default one per core.

    Raises:
        ConfigError: no whole number of at least 1.
    """
    if workers is None:
        return os.cpu_count() or 1
    check_count("workers", workers)
    return workers
