"""Load on the service: clients in parallel against a process on this machine, and what they wait for.

python -m benchmarks.serving_load [--seconds 60] [--clients 10] [--model-dir DIR] [--queue 16]

Every client sends one picture after another; after a 503 it waits as long as the server asks. The
table that is printed has the first and the tenth request of a fresh server alone, then latencies,
throughput and statuses under load. Exit status 1 if there was any error but 503, or any answer
without a mask.

The model is served without its check for unlike images: it would rightly refuse the drawn pictures,
and an abstention costs a fraction of an answer.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from benchmarks.command import count, one_line_errors
from brainmtl.inference import model_folder
from brainmtl.markdown import markdown_table
from brainmtl.words import quantity

START_S = 300
OPTIONS = {"seg_threshold": 0.0, "include_gradcam": True}  # every request does all there is to do


@dataclass
class Tally:
    """What the clients saw; appended to by several threads."""

    seconds: list[float] = field(default_factory=list)  # of answers 200
    statuses: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, status: str, seconds: float) -> None:
        with self.lock:
            self.statuses[status] += 1
            if status == "200":
                self.seconds.append(seconds)


def picture(seed: int, size: int = 512) -> dict[str, Any]:
    """A textured ellipse with a bright disc, as PNG in a multipart form."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    plane = rng.normal(100, 10, (size, size)) + 80 * (np.hypot(rows - 0.2, columns) < 0.15)
    plane = np.where(rows**2 + 1.3 * columns**2 < 0.8, plane, 0).clip(0, 255).astype(np.uint8)
    stream = BytesIO()
    Image.fromarray(plane).save(stream, "PNG")
    return {"file": ("scan.png", stream.getvalue(), "image/png")}


@contextmanager
def server(model_dir: Path, queue: int) -> Iterator[str]:
    """A process of `python -m brainmtl.serve`, ready; yields its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        served = shutil.copytree(model_dir, Path(folder) / "model")
        (served / model_folder.OOD).unlink(missing_ok=True)
        model_folder.seal(served)
        environment = {
            **os.environ,
            "BRAINMTL_AUDIT_LOG": str(Path(folder) / "audit.jsonl"),
            "BRAINMTL_QUEUE": str(queue),
            "BRAINMTL_MODEL_DIR": str(served),
        }
        command = [sys.executable, "-m", "brainmtl.serve", "--port", str(port)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(url)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=60)


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            answer = httpx.get(f"{url}/ready")
        except httpx.TransportError:
            time.sleep(0.2)
            continue
        if answer.status_code == 200:
            return
        if answer.json()["reason"] != "model_loading":
            sys.exit(f"error: {answer.json()['detail']}")
        time.sleep(0.2)
    sys.exit(f"error: not ready within {START_S} s")


def send(client: httpx.Client, files: dict[str, Any]) -> tuple[str, float, float]:
    """Status (or the kind of error), seconds, and the seconds to wait before the next request."""
    start = time.perf_counter()
    try:
        answer = client.post("/predict_multitask", files=files, params=OPTIONS)
    except httpx.TransportError as error:
        return type(error).__name__, time.perf_counter() - start, 1.0
    seconds = time.perf_counter() - start
    status = str(answer.status_code)
    # Not parsed: the clients share the cores with the server.
    if status == "200" and b'"performed":true' not in answer.content:
        status = "200 without mask"
    return status, seconds, float(answer.headers.get("retry-after", 0))


def load(url: str, clients: int, seconds: float) -> Tally:
    """What ``clients`` saw that send for ``seconds`` each."""
    tally, end = Tally(), time.monotonic() + seconds

    def run(seed: int) -> None:
        files = picture(seed)
        with httpx.Client(base_url=url, timeout=120) as client:
            while time.monotonic() < end:
                status, duration, pause = send(client, files)
                tally.add(status, duration)
                time.sleep(min(pause, max(end - time.monotonic(), 0)))

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally


def markdown(alone_ms: list[float], tally: Tally, elapsed: float, queue: int) -> str:
    """The table of docs/serving.md, with "-" where no request was answered."""
    quantiles = ["-"] * 3
    if tally.seconds:
        quantiles = [f"{1000 * q:.0f} ms" for q in np.percentile(tally.seconds, (50, 95, 99))]
    rate = f"{len(tally.seconds) / elapsed:.1f}"
    statuses = ", ".join(f"{k}: {n}" for k, n in sorted(tally.statuses.items()))
    cells = [str(queue), *(f"{alone_ms[k]:.0f} ms" for k in (0, -1)), *quantiles, rate, statuses]
    heading = ("queue", "first alone", "tenth alone", "p50", "p95", "p99", "answers per second")
    return "\n".join(markdown_table((*heading, "by status"), [cells], ()))


@one_line_errors()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=count, default=10)
    parser.add_argument("--queue", type=int, default=16)
    parser.add_argument("--model-dir", help="an exported folder; default: the newest")
    options = parser.parse_args()
    folder = Path(options.model_dir or model_folder.chosen_model_folder())
    with server(folder, options.queue) as url:
        with httpx.Client(base_url=url, timeout=120) as client:
            alone_ms = [1000 * send(client, picture(99))[1] for _ in range(10)]
        start = time.perf_counter()
        tally = load(url, options.clients, options.seconds)
        elapsed = time.perf_counter() - start
    print(
        f"{quantity(options.clients, 'clients')} for {options.seconds:g} s, {os.cpu_count()} cores\n"
    )
    print(markdown(alone_ms, tally, elapsed, options.queue))
    if set(tally.statuses) - {"200", "503"}:
        sys.exit("error: there were answers other than 200 with a mask and 503")


if __name__ == "__main__":
    main()
