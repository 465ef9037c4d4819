"""What is shown on a terminal, in a file, and to nobody."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from brainmtl.launcher import screen
from brainmtl.launcher.screen import Screen

# Lines from another thread while the line of progress is there.
SCRIPT = """
import sys, threading, time
from brainmtl.launcher.screen import Screen
with Screen() as screen:
    thread = threading.Thread(target=lambda: [screen.log("api", f"line {k}") for k in range(50)])
    screen.progress("waiting for api ... 0 s")
    thread.start()
    for k in range(5):
        screen.progress(f"waiting for api ... {k} s")
        time.sleep(0.1)
    thread.join()
    screen.clear_progress()
    screen.say("ready [bold]")
"""
DEAF = """
import sys
from pathlib import Path
from brainmtl.launcher.screen import Screen
with Screen() as screen:
    screen.say("first")
    sys.stdin.readline()
    for _ in range(3):
        screen.say("nobody reads this")
Path(sys.argv[1]).write_text("went on")
"""


def on_a_terminal(script: str) -> str:
    """Output of a script whose terminal is 100 columns wide."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(command, stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    output = b""
    try:
        while part := os.read(leader, 65536):
            output += part
    except OSError:
        pass  # Linux says so at the end
    os.close(leader)
    assert process.wait(timeout=60) == 0
    return output.decode()


def test_progress_on_a_terminal_does_not_tear_lines() -> None:
    output = on_a_terminal(SCRIPT)
    assert "waiting for api ... 4 s" in output
    for k in range(50):
        assert f"[api] line {k}\r\n" in output
    assert output.rstrip().endswith("[demo] ready [bold]")


def test_progress_without_a_terminal_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Screen() as shown:
        shown.progress("waiting for page ... 0 s")
        assert capsys.readouterr().out == ""
        monkeypatch.setattr(screen, "EVERY_S", 0.0)
        shown.progress("waiting for page ... 11 s")
    assert capsys.readouterr().out == "[demo] waiting for page ... 11 s\n"


def test_it_goes_on_when_nobody_reads(tmp_path: Path) -> None:
    """`... | head` ends before the launcher, which still has its parts to end."""
    marker = tmp_path / "marker"
    command = [sys.executable, "-c", DEAF, str(marker)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout.readline() == "[demo] first\n"
        process.stdout.close()
        process.stdin.write("go on\n")
        process.stdin.close()
        assert process.wait(timeout=60) == 0, process.stderr.read()
    assert marker.read_text() == "went on"
