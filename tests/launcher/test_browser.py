"""A browser is opened where there is a desktop, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from launching import until

from brainmtl.launcher.browser import has_browser, open_page

URL = "http://127.0.0.1:8501"


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ""}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}, "linux", False),
        ({"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22", "DISPLAY": "localhost:10"}, "linux", True),
        ({}, "darwin", True),
        ({"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}, "darwin", False),
    ],
)
def test_where_there_is_one(environ: dict[str, str], platform: str, expected: bool) -> None:
    assert has_browser(environ, platform) is expected


def browser(folder: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> Path:
    """A program of this desktop that writes down what it is asked to open."""
    import webbrowser

    program, opened = folder / "browser", folder / "opened"
    program.write_text(f'#!/bin/sh\necho "$1" > "{opened}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{program}{how}")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    monkeypatch.setattr(webbrowser, "_tryorder", None)  # it looks at BROWSER once
    monkeypatch.setattr(webbrowser, "_browsers", {})
    return opened


def test_it_is_given_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = browser(tmp_path, monkeypatch, " %s &")
    assert open_page(URL)
    until(lambda: opened.is_file() and opened.read_text() == f"{URL}\n", "the browser")


def test_one_that_would_take_the_terminal_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = browser(tmp_path, monkeypatch, " %s")
    assert not open_page(URL) and not opened.exists()


def test_nothing_is_opened_without_a_display(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = browser(tmp_path, monkeypatch, " %s &")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.setenv(name, "")
    assert not open_page(URL) and not opened.exists()
