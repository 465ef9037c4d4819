"""A process with all its descendants, its log, and an end that leaves none of them behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

TAIL_LINES = 20
GRACE_S = 20.0  # between being asked to end and being ended; a request that runs is finished within
POLL_S = 0.1


class ChildProcess:
    """``command``, started in a session of its own, so that a Ctrl-C in the terminal reaches the
    launcher alone, and so that one signal reaches all that the command has started.

    ``log`` is called with every line of its output (stdout and stderr), in another thread; None
    leaves the output to the terminal. ``tail`` holds the last lines.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        cwd: Path | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        piped = log is not None
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else None,
            stderr=subprocess.STDOUT if piped else None,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._reader = None
        if piped:
            self._reader = threading.Thread(target=self._read, args=(log,), daemon=True)
            self._reader.start()

    @property
    def pid(self) -> int:
        """Number of the process, and of its group."""
        return self._process.pid

    def poll(self) -> int | None:
        """The exit status, negative after a signal; None while it runs."""
        return self._process.poll()

    def signal_all(self, number: int) -> None:
        """Send a signal to the process and its descendants, as far as they live."""
        # Also where only zombies are left, which macOS answers with EPERM.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def forget(self) -> None:
        """After its end: end descendants that outlive it, and read what is left of its log."""
        self.signal_all(signal.SIGKILL)
        if self._reader is not None:
            self._reader.join(timeout=2)

    def _read(self, log: Callable[[str], None]) -> None:
        for line in self._process.stdout:
            self.tail.append(line.rstrip())
            log(line.rstrip())


def end(processes: Iterable[ChildProcess]) -> None:
    """Ask all to end (SIGTERM), wait up to 20 s, and kill what is left then."""
    processes = list(processes)
    for process in processes:
        process.signal_all(signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while any(p.poll() is None for p in processes) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    for process in processes:
        process.signal_all(signal.SIGKILL)
        while process.poll() is None:
            time.sleep(POLL_S)
        process.forget()
