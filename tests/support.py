"""What tests of several rooms share: composed configurations, commands, processes, ports."""

from __future__ import annotations

import importlib
import os
import pickle
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from filelock import FileLock

from brainmtl.config import compose

T = TypeVar("T")

TINY_MODEL = (
    "model.base_filters=4",
    "model.depth=2",
    "model.hidden_dim=8",
    "model.stem=space_to_depth_4",
)


def once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], T]) -> T:
    """``build(folder)``, made by one of the processes that run the tests, and read by the others.

    For what takes many seconds and no test changes, neither the result nor what lies in the folder.
    """
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"once_{name}"
    result = folder.with_suffix(".pickle")
    with FileLock(f"{folder}.lock"):
        if not result.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a build that failed in another process
            folder.mkdir()
            made = pickle.dumps(build(folder))
            result.write_bytes(made)
    return pickle.loads(result.read_bytes())


@dataclass(frozen=True)
class Ended:
    """Exit code of a command (negative: the signal that killed it), and what it printed."""

    code: int
    out: str
    err: str


def run_python(
    arguments: list[str], cwd: Path, timeout: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``python ARGUMENTS`` in ``cwd``, as a user would."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def count_calls(monkeypatch: pytest.MonkeyPatch, function: str) -> list[Any]:
    """The first argument of every call of ``function``, which goes on as it is, from now on."""
    module, name = function.rsplit(".", 1)
    original, calls = getattr(importlib.import_module(module), name), []

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments[0])
        return original(*arguments, **options)

    monkeypatch.setattr(function, counted)
    return calls


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, in no row."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def train_options(data_dir: Path, run_dir: Path, *overrides: str) -> dict[str, Any]:
    """Options of a short quiet training on the phantom with a tiny network."""
    return compose(
        "train",
        "experiment=quick_test",
        "data=phantom",
        "trainer=debug",
        "callbacks=quiet",
        f"data_dir={data_dir}",
        f"run_dir={run_dir}",
        "data.num_workers=0",
        "data.batch_size=8",
        "epochs={seg_warmup:1,cls_head:1,heads:1,joint:1}",
        *TINY_MODEL,
        *overrides,
    )
