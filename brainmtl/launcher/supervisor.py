"""Parts that are started together, restarted one by one, and ended together."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from brainmtl.errors import BrainMTLError
from brainmtl.launcher.process import ChildProcess, end
from brainmtl.launcher.screen import Screen
from brainmtl.launcher.signals import StopSignals

TICK_S = 0.2
CHECK_S = 1.0
MAX_CRASHES = 5
STEADY_S = 60.0  # up for so long, a part has recovered from its earlier crashes
START_S = 600.0  # importing torch takes minutes on a machine that does other work


@dataclass(frozen=True)
class Part:
    """What is supervised. ``is_ready`` may raise BrainMTLError when it will never be."""

    name: str
    url: str
    command: Sequence[str]
    environment: Mapping[str, str]
    is_ready: Callable[[str], bool]
    cwd: Path | None = None


@dataclass
class _Watched:
    part: Part
    process: ChildProcess | None = None
    ready_since: float | None = None
    next_check: float = 0.0
    restart_at: float = 0.0
    crashes: int = 0  # without a steady minute in between


class Supervisor:
    """Runs ``parts`` until a signal asks for the end.

    A part that ends by itself is started again after 0.5, 1, 2 and 4 s. After the fifth time
    without a minute of health in between, :meth:`run` gives up.
    """

    def __init__(self, parts: Sequence[Part], screen: Screen, stop: StopSignals) -> None:
        self._watched = [_Watched(part) for part in parts]
        self._screen = screen
        self._stop = stop

    def run(self, when_ready: Callable[[], None]) -> None:
        """Start all parts, call ``when_ready`` once all are healthy, and keep them running.

        Nothing of them runs any more when this returns or raises.

        Raises:
            Stopped: by a signal; there is no other way to end well.
            BrainMTLError: a part does not get ready, or crashes again and again; the message ends
                with the last lines of its log.
        """
        try:
            self._start_all(when_ready)
            while True:
                self._tick()
        finally:
            self._screen.clear_progress()
            if running := [w.process for w in self._watched if w.process is not None]:
                self._screen.say("ending ...")
                end(running)
                self._screen.say("everything has ended")

    def _start_all(self, when_ready: Callable[[], None]) -> None:
        start = time.monotonic()
        while waiting := [w for w in self._watched if w.ready_since is None]:
            seconds = time.monotonic() - start
            names = " and ".join(w.part.name for w in waiting)
            if seconds > START_S:
                raise BrainMTLError(f"{names} did not get ready within {START_S:.0f} s")
            self._screen.progress(f"waiting for {names} ... {seconds:.0f} s")
            self._tick()
        self._screen.clear_progress()
        self._screen.say(f"ready after {time.monotonic() - start:.0f} s")
        when_ready()

    def _tick(self) -> None:
        self._stop.check()
        for watched in self._watched:
            self._look_after(watched, time.monotonic())
        time.sleep(TICK_S)

    def _look_after(self, watched: _Watched, now: float) -> None:
        if watched.process is None:
            if now >= watched.restart_at:
                self._start(watched)
        elif (status := watched.process.poll()) is not None:
            self._crashed(watched, status, now)
        elif watched.ready_since is None:
            if now >= watched.next_check:
                self._check(watched)
        elif watched.crashes and now - watched.ready_since > STEADY_S:
            watched.crashes = 0

    def _start(self, watched: _Watched) -> None:
        part, name = watched.part, watched.part.name
        # Else a log comes in blocks, when it is too late.
        environment = {**os.environ, **part.environment, "PYTHONUNBUFFERED": "1"}
        watched.process = ChildProcess(
            part.command, environment, part.cwd, lambda line: self._screen.log(name, line)
        )
        self._screen.say(f"{name}: {part.url}, process {watched.process.pid}")

    def _check(self, watched: _Watched) -> None:
        if watched.part.is_ready(watched.part.url):
            watched.ready_since = time.monotonic()
            if watched.crashes:
                self._screen.say(f"{watched.part.name} is up again")
        watched.next_check = time.monotonic() + CHECK_S

    def _crashed(self, watched: _Watched, status: int, now: float) -> None:
        process, name = watched.process, watched.part.name
        process.forget()
        watched.process, watched.ready_since = None, None
        watched.crashes += 1
        how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
        if watched.crashes >= MAX_CRASHES:
            raise BrainMTLError(
                f"{name} ended by itself {MAX_CRASHES} times without a minute of health in between, "
                f"at last with {how}. The last lines of its log:\n" + "\n".join(process.tail)
            )
        pause = 0.5 * 2 ** (watched.crashes - 1)
        watched.restart_at = now + pause
        self._screen.say(f"{name} ended by itself ({how}): starting it again in {pause:g} s")
