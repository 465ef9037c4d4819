"""Open a page where there is somebody to look at it."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping


def has_browser(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """Whether a browser with windows can be opened: not over SSH, and not without a display."""
    if platform == "darwin":
        return "SSH_CONNECTION" not in environ
    return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def open_page(url: str) -> bool:
    """Give ``url`` to the browser of this desktop; False where there is none."""
    if not has_browser():
        return False
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    text_mode = isinstance(browser, webbrowser.GenericBrowser)
    if text_mode and not isinstance(browser, webbrowser.BackgroundBrowser):
        return False  # lynx and its like would take the terminal
    # Its answer is not used: it says False of a program that is already gone, and xdg-open hands
    # the address to a running browser and goes.
    browser.open(url)
    return True
