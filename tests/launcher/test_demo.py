"""The demo as a process: real service, real page, crashes, signals, ports, and nothing left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from launching import (
    Command,
    alive,
    demo_words,
    is_open,
    listening,
    started,
    status_of,
    until,
)
from support import free_ports

from brainmtl.demo import PAGE, main


@dataclass(frozen=True)
class Demo:
    command: Command
    api_port: int
    page_port: int

    @property
    def urls(self) -> tuple[str, str]:
        api, page = (f"http://127.0.0.1:{port}" for port in (self.api_port, self.page_port))
        return f"{api}/ready", f"{page}/_stcore/health"


@pytest.fixture(scope="module")
def demo(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A running demo that found its API port taken. The tests below go through its life in order."""
    folder = tmp_path_factory.mktemp("demo")
    with listening() as taken:
        words = demo_words(model_folder, taken, free_ports(1)[0], "page=patient")
        with started(*words, folder=folder, DISPLAY="", WAYLAND_DISPLAY="") as command:
            command.wait_for(r"\[demo\] open http://127.0.0.1:(\d+) ")
            api, page = (
                int(command.wait_for(rf"\[demo\] {name}: http://127.0.0.1:(\d+), ")[1])
                for name in ("api", "page")
            )
            assert api > taken
            assert f"[demo] api_port={taken} is taken: {api} is used instead" in command.text
            yield Demo(command, api, page)


def test_both_are_up_when_it_says_so(demo: Demo, model_folder: Path) -> None:
    assert [status_of(url) for url in demo.urls] == [200, 200]
    text = demo.command.text
    assert f"[demo] model: {model_folder}" in text
    assert "trained on SYNTHETIC images: its answers say nothing of patients" in text
    assert "[api] INFO:     Application startup complete." in text
    demo.command.wait_for(rf"\[page\]   URL: http://127.0.0.1:{demo.page_port}")
    assert text.index("[demo] ready after") < text.index("[demo] open http://")


def test_the_page_is_told_what_to_ask_and_where_to_open(demo: Demo) -> None:
    """As the operating system sees it; the page itself has its own tests."""
    environment = Path(f"/proc/{demo.command.pids('page')[-1]}/environ")
    if not environment.is_file():
        pytest.skip("no /proc on this system")
    variables = environment.read_bytes().split(b"\0")
    assert f"BRAINMTL_API_URL=http://127.0.0.1:{demo.api_port}".encode() in variables
    assert b"BRAINMTL_PAGE=patient" in variables


@pytest.mark.parametrize("name", ["api", "page"])
def test_a_part_that_is_killed_comes_back_alone(demo: Demo, name: str) -> None:
    (first,) = demo.command.pids(name)
    other = demo.command.pids({"api": "page", "page": "api"}[name])
    os.kill(first, signal.SIGKILL)
    demo.command.wait_for(rf"\[demo\] {name} ended by itself \(SIGKILL\): .* again in 0.5 s")
    demo.command.wait_for(rf"\[demo\] {name} is up again")
    assert len(demo.command.pids(name)) == 2 and not alive(first)
    assert [status_of(url) for url in demo.urls] == [200, 200]
    assert demo.command.pids({"api": "page", "page": "api"}[name]) == other


def test_ctrl_c_ends_both(demo: Demo) -> None:
    running = [demo.command.pids(name)[-1] for name in ("api", "page")]
    assert all(map(alive, running))
    assert demo.command.end(signal.SIGINT) == 130
    assert not any(map(alive, running))
    assert not is_open(demo.api_port) and not is_open(demo.page_port)
    assert demo.command.text.endswith("[demo] everything has ended\n")
    assert "Traceback" not in demo.command.text


def test_sigterm_while_it_starts_leaves_nothing(model_folder: Path, tmp_path: Path) -> None:
    ports = free_ports(2)
    with started(*demo_words(model_folder, *ports), folder=tmp_path) as command:
        command.wait_for(r"\[demo\] page: ")
        running = command.pids("api") + command.pids("page")
        assert command.end(signal.SIGTERM) == 143
    assert len(running) == 2 and not any(map(alive, running))
    assert not any(map(is_open, ports))


def test_a_crash_loop_gives_up_with_the_reason(model_folder: Path, tmp_path: Path) -> None:
    words = demo_words(model_folder, *free_ports(2), "open_browser=false")
    with started(*words, folder=tmp_path, UVICORN_BACKLOG="many") as command:
        assert command.process.wait(timeout=300) == 1
        assert len(command.pids("api")) == 5
        assert not any(map(alive, command.pids("api") + command.pids("page")))
        pauses = [f"starting it again in {pause} s" for pause in ("0.5", "1", "2", "4")]
        assert all(command.text.count(pause) == 1 for pause in pauses)
        problem = command.text[command.text.index("error: api ended by itself 5 times") :]
        assert "Invalid value for '--backlog': 'many' is not a valid integer" in problem


def test_a_model_that_cannot_be_served_ends_it_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    words = demo_words(tmp_path / "empty", *free_ports(2))
    with started(*words, folder=tmp_path) as command:
        assert command.process.wait(timeout=300) == 1
        assert "empty lacks manifest.json, so it is no model folder" in command.text
        assert not any(map(alive, command.pids("api") + command.pids("page")))


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("page=main", "page='main' is unknown: choose multitask, batch, patient, model"),
        ("api_port=http", "api_port='http' must be a whole number from 1 to 65535"),
    ],
)
def test_options_that_cannot_work(
    option: str, problem: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["demo", option])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert capsys.readouterr() == ("", f"error: {problem}\n")


def test_settings_that_cannot_work(tmp_path: Path) -> None:
    """They are refused before anything starts."""
    with started("-m", "brainmtl.demo", folder=tmp_path, BRAINMTL_QUEUE="many") as command:
        assert command.process.wait(timeout=120) == 1
        problem = "BRAINMTL_QUEUE='many' must be a whole number from 0 to 10000"
        assert command.text == f"error: {problem}\n"


def test_the_service_alone(model_folder: Path, tmp_path: Path) -> None:
    """The single command of the documentation: `uvicorn brainmtl.serve.app:app --reload`."""
    (port,) = free_ports(1)
    words = ("-m", "uvicorn", "brainmtl.serve.app:app", "--reload", "--port", str(port))
    with started(*words, folder=tmp_path, BRAINMTL_MODEL_DIR=str(model_folder)) as command:
        until(lambda: status_of(f"http://127.0.0.1:{port}/ready") == 200, "the service")
        health = httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).json()
        assert health["live"] and health["model_loaded"]
        assert command.end() in (0, -signal.SIGTERM)
    until(lambda: not is_open(port), "its port")


def test_the_page_alone(tmp_path: Path) -> None:
    """The single command of the documentation: `streamlit run brainmtl/page/app.py`."""
    (port,) = free_ports(1)
    words = ("-m", "streamlit", "run", str(PAGE), "--server.port", str(port))
    with started(*words, "--server.headless", "true", folder=tmp_path) as command:
        until(lambda: status_of(f"http://127.0.0.1:{port}/_stcore/health") == 200, "the page")
        assert "<title>" in httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).text
        assert command.end() in (0, -signal.SIGTERM)
    until(lambda: not is_open(port), "its port")
