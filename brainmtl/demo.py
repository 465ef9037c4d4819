"""``python -m brainmtl.demo``: the service and its page on this machine, until Ctrl-C."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from brainmtl.config import PROJECT_ROOT, entry, plain
from brainmtl.errors import ConfigError
from brainmtl.launcher.browser import open_page
from brainmtl.launcher.health import api_is_ready, page_is_ready
from brainmtl.launcher.model import find_model, is_synthetic
from brainmtl.launcher.ports import HOST, check_port, free_port
from brainmtl.launcher.screen import Screen
from brainmtl.launcher.signals import Stopped, StopSignals
from brainmtl.launcher.supervisor import Part, Supervisor
from brainmtl.serve.settings import Settings

PAGES = ("multitask", "batch", "patient", "model")
PAGE = PROJECT_ROOT / "brainmtl" / "page" / "app.py"
PORTS = ("api_port", "page_port")
NEEDED = ("uvicorn", "fastapi", "streamlit", "httpx")


def demo(options: dict[str, Any]) -> int:
    """Run service and page as ``conf/demo.yaml`` says, until a signal ends them.

    Returns:
        The exit status: 128 + the signal, 130 after Ctrl-C.

    Raises:
        ConfigError: an option or setting that cannot work, or the extra `serve` is not installed.
        BrainMTLError: no model could be had, or a part crashes again and again.
    """
    if options["page"] not in PAGES:
        raise ConfigError(f"page={options['page']!r} is unknown: choose {', '.join(PAGES)}")
    for name in PORTS:
        check_port(name, options[name])
    Settings.from_environment()  # else the service would crash on them, again and again
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise ConfigError(
            f"{', '.join(missing)}: not installed. pip install 'brainmtl[serve]' (or `make setup`)"
        )
    try:
        with StopSignals() as stop, Screen() as screen:
            folder = find_model(options["model_dir"], screen, stop)
            screen.say(f"model: {folder}")
            if is_synthetic(folder):
                screen.say(
                    "It was trained on SYNTHETIC images: its answers say nothing of patients."
                )
            api, page = _parts(folder, options["page"], *_ports(options, screen))
            Supervisor([api, page], screen, stop).run(
                lambda: _show(page.url, options["open_browser"], screen)
            )
    except Stopped as stopped:
        return stopped.status


def _ports(options: dict[str, Any], screen: Screen) -> list[int]:
    found: list[int] = []
    for name in PORTS:
        found.append(free_port(name, options[name], found))
        if found[-1] != options[name]:
            screen.say(f"{name}={options[name]} is taken: {found[-1]} is used instead")
    return found


def _parts(folder: Path, page: str, api_port: int, page_port: int) -> tuple[Part, Part]:
    api_url, page_url = (f"http://{HOST}:{port}" for port in (api_port, page_port))
    service = ("uvicorn", "brainmtl.serve.app:app", "--host", HOST, "--port", str(api_port))
    streamlit = ("streamlit", "run", str(PAGE), "--server.address", HOST)
    streamlit += ("--server.port", str(page_port), "--server.headless", "true")
    streamlit += ("--browser.gatherUsageStats", "false")
    python = (sys.executable, "-m")
    asked = {"BRAINMTL_API_URL": api_url, "BRAINMTL_PAGE": page}
    return (
        Part("api", api_url, python + service, {"BRAINMTL_MODEL_DIR": str(folder)}, api_is_ready),
        # There Streamlit finds .streamlit/config.toml.
        Part("page", page_url, python + streamlit, asked, page_is_ready, cwd=PROJECT_ROOT),
    )


def _show(url: str, open_browser: bool, screen: Screen) -> None:
    opened = open_browser and open_page(url)
    screen.say(f"{'opened' if opened else 'open'} {url} - Ctrl-C ends service and page")


@entry("demo")
def main(cfg: DictConfig) -> None:
    """Command-line entry."""
    sys.exit(demo(plain(cfg)))


if __name__ == "__main__":
    main()
