"""Log lines that a progress bar on the same terminal does not tear."""

from __future__ import annotations

import logging
import sys
from typing import TextIO


class StdoutHandler(logging.Handler):
    """Writes to what ``sys.stdout`` is when a line is logged.

    logging.StreamHandler keeps the stream of its construction. Rich replaces ``sys.stdout`` while it
    draws a bar, so that lines appear above the bar; a stream kept from before writes into it.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one formatted line."""
        try:
            stream: TextIO = sys.stdout
            stream.write(f"{self.format(record)}\n")
            stream.flush()
        except Exception:
            self.handleError(record)
