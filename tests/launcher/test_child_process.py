"""What is started is ended with all that it has started, whatever it does about it."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
from launching import alive, until

from brainmtl.launcher import process
from brainmtl.launcher.process import ChildProcess, end
from brainmtl.launcher.signals import Stopped, StopSignals

# Starts a process of its own and prints both numbers.
PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("pids", os.getpid(), child.pid, flush=True)
"""
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
WAIT = "import time; time.sleep(600)\n"


def start(script: str) -> tuple[ChildProcess, list[str]]:
    lines: list[str] = []
    return ChildProcess([sys.executable, "-c", script], os.environ, log=lines.append), lines


def pids(lines: list[str]) -> list[int]:
    until(lambda: bool(lines), "the first line")
    return [int(word) for word in lines[0].split()[1:]]


def test_descendants_end_too() -> None:
    child, lines = start(PARENT + WAIT)
    numbers = pids(lines)
    assert all(map(alive, numbers)) and numbers[0] == child.pid
    end([child])
    assert child.poll() == -signal.SIGTERM
    until(lambda: not any(map(alive, numbers)), "their end")


def test_descendants_that_outlive_their_parent_end() -> None:
    child, lines = start(PARENT)
    numbers = pids(lines)
    until(lambda: child.poll() is not None, "its end")
    child.forget()
    until(lambda: not any(map(alive, numbers)), "the end of its child")


def test_who_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_S", 0.5)
    child, lines = start(DEAF + PARENT + WAIT)
    numbers = pids(lines)
    before = time.monotonic()
    end([child])
    assert child.poll() == -signal.SIGKILL and time.monotonic() - before < 10
    until(lambda: not any(map(alive, numbers)), "their end")


def test_the_last_lines_are_kept() -> None:
    script = "import sys; print(*range(100), sep='\\n'); print('\\udcff', file=sys.stderr); exit(3)"
    child, lines = start(f"import sys; sys.stderr.reconfigure(errors='surrogateescape'); {script}")
    until(lambda: child.poll() is not None, "its end")
    child.forget()
    assert child.poll() == 3 and len(lines) == 101, "stderr is in the log, undecodable or not"
    assert (
        len(child.tail) == process.TAIL_LINES and list(child.tail) == lines[-process.TAIL_LINES :]
    )


def test_signals_are_noted_and_the_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as stop:
        stop.check()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Stopped) as caught:
            stop.check()
    assert caught.value.status == 143, "that of the first"
    assert signal.getsignal(signal.SIGTERM) is before
