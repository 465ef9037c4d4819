"""What the commands of the benchmarks share: errors in one line, and counts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from brainmtl.config import own_words
from brainmtl.errors import BrainMTLError


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the command as those of brainmtl end, where a file or value cannot work."""
    try:
        with own_words():
            yield
    except (BrainMTLError, OSError) as error:
        sys.exit(f"error: {error}")


def count(text: str) -> int:
    """``type`` of an argument that must be a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)
