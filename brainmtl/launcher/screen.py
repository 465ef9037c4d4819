"""One terminal for the launcher and the logs of its parts."""

from __future__ import annotations

import contextlib
import time
from types import TracebackType

EVERY_S = 10.0


class Screen:
    """Whole lines, each with the name of who says it in front; in between a line of progress."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._status = None
        self._said_at = time.monotonic()

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.clear_progress()

    def say(self, text: str) -> None:
        """A line of the launcher itself."""
        self.log("demo", text)

    def log(self, name: str, line: str) -> None:
        """A line of a part; may be called from any thread."""
        with _whoever_listens():
            self._console.print(f"[{name}] {line}")

    def progress(self, text: str) -> None:
        """Show ``text`` in the last line; without a terminal as a line of its own now and then."""
        if self._console.is_terminal:
            with _whoever_listens():
                if self._status is None:
                    self._status = self._console.status(text)
                    self._status.start()
                self._status.update(text)
        elif time.monotonic() - self._said_at >= EVERY_S:
            self._said_at = time.monotonic()
            self.say(text)

    def clear_progress(self) -> None:
        """Take the line of progress away."""
        if self._status is not None:
            with _whoever_listens():
                self._status.stop()
            self._status = None


def _whoever_listens() -> contextlib.suppress:
    """The terminal may be gone, or who read the output (Rich exits then): the parts have to be ended
    all the same."""
    return contextlib.suppress(OSError, SystemExit)
