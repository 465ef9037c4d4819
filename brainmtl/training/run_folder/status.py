"""``status.json`` of a run's folder: what it is, whether it goes on, how it ended."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from brainmtl.errors import ConfigError
from brainmtl.files import write_json
from brainmtl.training.run_folder.locks import held, is_held
from brainmtl.training.run_folder.run_record import RUN

STATUS, LOCK = "status.json", ".lock"
Status = dict[str, Any]


@contextmanager
def run_status(
    run_dir: Path,
    stages: Sequence[str],
    settings: dict[str, Any] | None,
    to_train: Mapping[str, int] | None = None,
) -> Iterator[None]:
    """Keep ``run_dir/status.json`` while a run goes on: running, then finished, failed or interrupted.

    A process that is killed writes nothing any more, but the system takes its lock from it, so that
    :func:`read_status` can tell a run that goes on from one that does not. ``to_train``: images of each
    stage that is trained and not reused.

    Raises:
        ConfigError: another process trains into this folder.
    """
    values = {"state": "running", "ended": None, "error": None, **_begun(stages, settings)}
    values["to_train"] = dict(to_train or {})
    with _only_here(run_dir):
        write_json(run_dir / STATUS, values)
        try:
            yield
        except Exception as error:
            _end(run_dir, values, "failed", f"{type(error).__name__}: {error}")
            raise
        except BaseException:  # Ctrl-C, and the exit that Lightning makes of it
            _end(run_dir, values, "interrupted")
            raise
        _end(run_dir, values, "finished")


@contextmanager
def _only_here(run_dir: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            # Not 0: whoever looks whether this run goes on holds the lock for a moment.
            stack.enter_context(held(run_dir / LOCK, timeout=2))
        except Timeout as error:
            raise ConfigError(
                f"another process trains into {run_dir}: wait for it, or choose another folder "
                "(hydra.run.dir=...)"
            ) from error
        yield


def record_failure(
    run_dir: Path, error: Exception, stages: Sequence[str], settings: dict[str, Any]
) -> None:
    """Write into ``status.json`` that a run failed, with an error that the user can read.

    A folder that holds another run, or one that goes on, keeps what that one says of itself: it is
    why this run was refused.
    """
    values = _begun(stages, settings)
    path = run_dir / STATUS
    if is_held(run_dir / LOCK):
        return
    if path.is_file():  # what the training has recorded, unless it is of an earlier attempt
        earlier = json.loads(path.read_text(encoding="utf-8"))
        if earlier["overrides"] == values["overrides"]:
            values |= earlier
        elif (run_dir / RUN).is_file():
            return
    _end(run_dir, values, "failed", f"{type(error).__name__}: {error}")


def read_status(run_dir: Path) -> Status:
    """What ``status.json`` says, with ``state`` as it is now; empty where there is none."""
    path = run_dir / STATUS
    if not path.is_file():
        return {}
    values: Status = json.loads(path.read_text(encoding="utf-8"))
    if values["state"] == "running" and not is_held(run_dir / LOCK):
        values["state"] = "interrupted"
    return values


def command() -> str | None:
    """The command line that repeats this run by itself; None where Hydra does not run it."""
    if not HydraConfig.initialized():
        return None
    words = overrides()
    if HydraConfig.get().mode == RunMode.MULTIRUN and any(w.startswith("sweep=") for w in words):
        words.append("hydra.mode=RUN")  # this run of the sweep alone
    return shlex.join(["python", "train.py", *words])


def overrides() -> list[str]:
    """The options as typed; empty where Hydra does not run this."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def _begun(stages: Sequence[str], settings: dict[str, Any] | None) -> Status:
    return {
        "started": _now(),
        "stages": list(stages),
        "settings": settings,
        "command": command(),
        "overrides": overrides(),
    }


def _end(run_dir: Path, values: Status, state: str, error: str | None = None) -> None:
    write_json(run_dir / STATUS, values | {"state": state, "ended": _now(), "error": error})


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
