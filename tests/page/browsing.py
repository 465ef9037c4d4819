"""Processes and a browser for tests of the page from outside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from brainmtl.config import PROJECT_ROOT

WAIT_MS = 90_000  # on a machine that does other work
APP = PROJECT_ROOT / "brainmtl" / "page" / "app.py"


@contextmanager
def process(command: Sequence[str], log: Path, **environment: str) -> Iterator[None]:
    """``python -m command`` in the project's folder, ended afterwards."""
    with log.open("w") as stream:
        child = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=PROJECT_ROOT,
            env={**os.environ, **environment},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
    finally:
        child.terminate()
        child.wait(timeout=60)


def wait_for_http(url: str) -> None:
    deadline = time.monotonic() + WAIT_MS / 1000
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's browser; skips the test where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium found: `apt-get install chromium` (or google-chrome)")
    # Chromium refuses its sandbox to root, which containers run as.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=options)
        try:
            yield browser
        finally:
            browser.close()


def settled(page: Page) -> None:
    """Returns when the script of the page has run to its end."""
    page.wait_for_timeout(300)  # until the browser has told the server of the click
    page.wait_for_function(
        """() => document.querySelector('[data-testid="stApp"]')
                         ?.getAttribute('data-test-script-state') === 'notRunning'""",
        timeout=WAIT_MS,
    )


def no_error(page: Page) -> None:
    """Neither an error box nor a traceback."""
    assert page.get_by_test_id("stException").count() == 0
    assert page.locator('[data-testid="stAlertContentError"]').count() == 0, page.inner_text("body")


def open_tab(page: Page, name: str) -> None:
    tab = page.get_by_role("tab", name=name)
    tab.click()
    expect(tab).to_have_attribute("aria-selected", "true")
    expect(panel(page)).to_be_visible()


def panel(page: Page) -> Locator:
    """The panel of the tab that is open; tabs within a panel come after those of the page."""
    selected = page.locator('[role="tab"][aria-selected="true"]').first
    return page.locator(f'[id="{selected.get_attribute("aria-controls")}"]')


def metrics(page: Page, count: int = 3) -> dict[str, str]:
    """Figures of the open tab by label, once there are ``count`` of them."""
    boxes = panel(page).get_by_test_id("stMetricValue")
    expect(boxes).to_have_count(count, timeout=WAIT_MS)
    found = {}
    for box in panel(page).get_by_test_id("stMetric").all():
        label = box.get_by_test_id("stMetricLabel").locator("p")
        icon = label.get_by_role("img").text_content()
        words = label.text_content().removeprefix(icon).strip()
        found[words] = box.get_by_test_id("stMetricValue").inner_text().strip()
    return found


def press(page: Page, slider: str, key: str) -> None:
    """Press a key on a slider, and wait for what follows."""
    page.get_by_role("slider", name=slider).press(key)
    settled(page)


def image_widths(page: Page) -> list[int]:
    """Widths in px of the pictures of the open tab."""
    images = panel(page).get_by_test_id("stImage").locator("img")
    images.first.wait_for(timeout=WAIT_MS)
    return [round(image.bounding_box()["width"]) for image in images.all()]


def download(page: Page, button: str) -> bytes:
    with page.expect_download(timeout=WAIT_MS) as found:
        panel(page).get_by_role("button", name=button).click()
    return Path(found.value.path()).read_bytes()
