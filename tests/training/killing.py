"""Runs of ``train.py`` in processes of their own, which are killed at chosen moments.

The processes are forked, with all imports done, and end as any other by SIGKILL.
"""

from __future__ import annotations

import functools
import importlib
import io
import json
import multiprocessing
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from support import TINY_MODEL, Ended

from brainmtl.config import PROJECT_ROOT
from brainmtl.training.continuation.checkpoints import read_checkpoint
from brainmtl.training.run_folder.records import RECORD

SMALL = (
    "data=phantom",
    "trainer=debug",
    "trainer.limit_train_batches=5",
    "trainer.limit_val_batches=1.0",
    "data.max_eval_samples=12",
    "callbacks=quiet",
    "precision=fp32",
    "data.num_workers=0",
    "data.batch_size=4",
    "epochs={seg_warmup:2,cls_head:2,heads:1,joint:2}",
    "checkpoint_every=2",
    *TINY_MODEL,
)
STEP = "brainmtl.training.module:MultiTaskModule.training_step"
STAGES = ("seg_warmup", "cls_head", "joint")
# Imported here once, so that no child takes its seconds for it.
LOADED = [
    importlib.import_module(name)
    for name in (
        "brainmtl.data.augmentation.compose",
        "brainmtl.data.loading.datamodule",
        "brainmtl.training.curriculum",
        "brainmtl.training.summary.curves",
        "hydra.main",
        "monai.transforms",
        "torch.utils.tensorboard",
    )
]
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Moment:
    """The ``nth`` call of ``module:Class.function``: the process sends itself ``sent`` before it."""

    place: str
    nth: int = 1
    sent: int = signal.SIGKILL

    def arm(self) -> None:
        """Put the trap where the function was."""
        module_name, path = self.place.split(":")
        owner: Any = importlib.import_module(module_name)
        *parents, name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        original, calls = getattr(owner, name), iter(range(1, 10**9))

        @functools.wraps(original)
        def trap(*arguments: Any, **options: Any) -> Any:
            if next(calls) == self.nth:
                os.kill(os.getpid(), self.sent)
            return original(*arguments, **options)

        setattr(owner, name, trap)


def train_py(*arguments: str, moment: Moment | None = None) -> Ended:
    """Run ``python train.py ARGUMENTS`` to its end, or to ``moment``."""
    with started(*arguments, moment=moment) as process:
        process.join(300)
        if process.is_alive():
            raise TimeoutError(f"train.py {' '.join(arguments)} hangs")
    return ended(process)


@contextmanager
def started(*arguments: str, moment: Moment | None = None) -> Iterator[Any]:
    """A running ``python train.py ARGUMENTS``; killed at the latest when the context ends."""
    report, result = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_child, args=(arguments, moment, result))
    process.start()
    result.close()
    process.report = report
    try:
        yield process
    finally:
        if process.is_alive():
            process.kill()
        process.join()


def ended(process: Any) -> Ended:
    """How a process of :func:`started` ended."""
    try:
        return Ended(*process.report.recv())
    except EOFError:  # killed: it could not say anything
        return Ended(process.exitcode, "", "")


def _child(arguments: tuple[str, ...], moment: Moment | None, result: Any) -> None:
    # As in a terminal: what a shell starts in the background ignores Ctrl-C, and hands that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # OpenMP's threads stay behind in a fork; who waits for them, waits forever.
    torch.set_num_threads(1)
    if moment is not None:
        moment.arm()
    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = ["train.py", *arguments]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            runpy.run_path(str(PROJECT_ROOT / "train.py"), run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        err.write("" if isinstance(end.code, int) else str(end.code))
    result.send((code, out.getvalue(), err.getvalue()))
    sys.exit(code)


def wait_for(condition: Callable[[], Any], process: Any, seconds: float = 120) -> bool:
    """Look at ``condition`` as often as possible; False when the process ended before."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if condition():
            return True
        if not process.is_alive():
            return False
    raise TimeoutError("the process neither ended nor came to this moment")


def assert_same_run(one: Path, other: Path, stages: tuple[str, ...] = STAGES) -> None:
    """All checkpoints bit for bit, with optimiser and schedule, and the validation of every epoch."""
    for stage in stages:
        for name in ("best.ckpt", "last.ckpt"):
            a, b = (read_checkpoint(run / stage / "checkpoints" / name) for run in (one, other))
            for key in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers"):
                assert_equal(a.get(key), b.get(key), f"{stage}/{name}/{key}")
            assert a["global_step"] == b["global_step"]
        a, b = (json.loads((run / stage / RECORD).read_text()) for run in (one, other))
        assert a["score"] == b["score"]
        assert _validation(a) == _validation(b)
        files = {path.name for path in (other / stage / "checkpoints").iterdir()}
        assert files == {"best.ckpt", "last.ckpt"}


def assert_equal(a: Any, b: Any, where: str) -> None:
    """Equal nested containers, tensors bit for bit."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for k, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}/{k}")
    else:
        assert a == b, where


def _validation(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in entry.items() if k.startswith(("val/", "lr/", "epoch"))}
        for entry in record["history"]
    ]
