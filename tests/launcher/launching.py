"""``python -m brainmtl.demo`` and other commands as processes, and what they leave behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

HOST = "127.0.0.1"
WAIT_S = 300  # torch alone takes long on a machine that does other work


def until(condition: Callable[[], bool], what: str, seconds: float = WAIT_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.1)


@contextmanager
def listening(port: int = 0) -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as listener:
        listener.bind((HOST, port))
        listener.listen()
        yield listener.getsockname()[1]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def is_open(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(5)
        return client.connect_ex((HOST, port)) == 0


def status_of(url: str) -> int | None:
    """Status of a GET; None where nobody listens."""
    try:
        return httpx.get(url, timeout=10, trust_env=False).status_code
    except httpx.TransportError:
        return None


@dataclass(frozen=True)
class Command:
    """A process in a session of its own, whose output goes to ``log``."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, pattern: str, seconds: float = WAIT_S) -> re.Match[str]:
        """The first match in the log, once it is there."""
        compiled = re.compile(pattern)

        def there() -> bool:
            ended = self.process.poll() is not None
            assert compiled.search(self.text) or not ended, self.text[-4000:]
            return compiled.search(self.text) is not None

        until(there, f"{pattern!r} in {self.log}", seconds)
        found = compiled.search(self.text)
        assert found is not None
        return found

    def pids(self, name: str) -> list[int]:
        """Processes that the demo has started as its part ``name``, in order."""
        return [int(n) for n in re.findall(rf"\[demo\] {name}: \S+, process (\d+)", self.text)]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send the signal to the command alone; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


@contextmanager
def started(
    *words: str, folder: Path, cwd: Path | None = None, **environment: str
) -> Iterator[Command]:
    """``python words...`` with its log in ``folder``; ended afterwards, with all that it started."""
    log = folder / "log.txt"
    variables = {"BRAINMTL_AUDIT_LOG": str(folder / "audit.jsonl"), "BRAINMTL_THREADS": "1"}
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=cwd or folder,
            env={**os.environ, **variables, **environment},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    command = Command(process, log)
    try:
        yield command
    finally:
        if process.poll() is None:
            command.end()


def demo_words(model_folder: Path, api_port: int, page_port: int, *overrides: str) -> list[str]:
    ports = [f"api_port={api_port}", f"page_port={page_port}"]
    return ["-m", "brainmtl.demo", f"model_dir={model_folder}", *ports, *overrides]
