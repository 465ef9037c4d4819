"""Clients and processes of the service for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI
from fastapi.testclient import TestClient
from support import free_ports

START_S = 600  # torch alone takes long on a machine that does other work


@contextmanager
def ready_client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        wait_until_ready(client)
        yield client


def wait_until_ready(client: httpx.Client) -> None:
    """Returns when /ready says yes; fails with what it says if it says that it never will."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            answer = client.get("/ready")
        except httpx.TransportError:
            answer = None  # not listening yet
        if answer is not None and answer.status_code == 200:
            return
        if answer is not None and answer.json()["reason"] != "model_loading":
            raise AssertionError(answer.json()["detail"])
        time.sleep(0.1)
    raise AssertionError(f"not ready within {START_S} s")


def export_tiny(folder: Path) -> Path:
    """A tiny trained network as a model folder, made by the command's own code.

    It is ``folder/model``; the checkpoint that it comes from is ``folder/joint/checkpoints/best.ckpt``.
    """
    import tiny

    from brainmtl.export import export

    data = tiny.write_folder(folder / "prepared")
    paths = [f"phantom_brats/test/{case}_z{k:03d}.npz" for case in "BCD" for k in (0, 2)]
    network = tiny.trained_model(data, paths)
    checkpoint = tiny.write_checkpoint(folder / "joint/checkpoints/best.ckpt", network, data)
    return export(checkpoint, folder / "model", ood=False)


def tumour_plane() -> np.ndarray:
    """A slice of the kind that the tiny network was trained on, uint8, with a bright disc."""
    import tiny

    plane = tiny.head((96, 80), seed=10)
    plane[tiny.disc(plane.shape, (38, 48), 14)] += 80
    return plane.clip(0, 255).astype(np.uint8)


def upload(data: bytes, field: str = "file") -> dict[str, Any]:
    return {field: ("scan", data, "application/octet-stream")}


def audit_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@dataclass(frozen=True)
class Server:
    """A server in a process of its own, and a client of it."""

    process: subprocess.Popen[str]
    client: httpx.Client
    log: Path
    audit: Path

    @property
    def rss_bytes(self) -> int:
        """Resident memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    @property
    def cpu_seconds(self) -> float:
        """Processor time of the process so far, all threads."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii")
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    @classmethod
    @contextmanager
    def start(
        cls, model_folder: Path, folder: Path, *command: str, **environment: str
    ) -> Iterator[Server]:
        """Start ``python -m brainmtl.serve`` (or ``command``) on a free port; stop it afterwards."""
        (port,) = free_ports(1)
        log, audit = folder / "log.txt", folder / "audit.jsonl"
        words = (*(command or ("brainmtl.serve",)), "--port", str(port))
        variables = {
            "BRAINMTL_MODEL_DIR": str(model_folder),
            "BRAINMTL_AUDIT_LOG": str(audit),
            "BRAINMTL_THREADS": "1",
            **environment,
        }
        with log.open("w") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=folder,
                env={**os.environ, **variables},
                stdout=stream,
                stderr=subprocess.STDOUT,
                text=True,
            )
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120)
        try:
            wait_until_ready(client)
            yield cls(process, client, log, audit)
        finally:
            client.close()
            process.terminate()
            process.wait(timeout=60)
