"""Lock files that the system takes back from a process that is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def held(path: Path, timeout: float) -> Iterator[None]:
    """Hold the lock ``path``, waiting up to ``timeout`` seconds for it (-1: as long as it takes).

    On a file system without locks nothing is held.

    Raises:
        filelock.Timeout: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except NotImplementedError:
        yield
        return
    try:
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock ``path``; False on a file system without locks."""
    if not path.is_file():
        return False
    try:
        with held(path, timeout=0):
            return False
    except (Timeout, OSError):  # OSError: a folder of somebody else, who alone may lock it
        return True
