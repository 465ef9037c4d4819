"""Ctrl-C and friends as something to ask for, so that nothing is interrupted half-way."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):  # noqa: N818  (no error: it was asked for)
    """The command shall end; ``status`` is what a shell expects then, 128 + the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class StopSignals:
    """Within the block SIGINT, SIGTERM and SIGHUP are noted, and :meth:`check` raises.

    A handler that raised could do so between the start of a process and the note that it was
    started, which would leave it behind.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._earlier: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        for number in SIGNALS:
            self._earlier[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = self._received or number

    def check(self) -> None:
        """Raise :class:`Stopped` once a signal has come."""
        if self._received is not None:
            raise Stopped(self._received)
