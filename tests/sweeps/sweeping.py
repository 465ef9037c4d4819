"""What the tests of sweeps share: ``train.py`` with a tiny training, in this process."""

from __future__ import annotations

import io
import logging
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from support import TINY_MODEL, Ended

from brainmtl.config import PROJECT_ROOT

SMALL = (
    "data=phantom",
    "trainer=debug",
    "callbacks=quiet",
    "data.num_workers=0",
    "data.batch_size=4",
    "epochs={seg_warmup:1,cls_head:1,heads:1,joint:1}",
    *TINY_MODEL,
)
FAILING = "-1"  # a negative weight is refused when the loss is made


@dataclass(frozen=True)
class Sweep:
    """A sweep that has run: its folder, how its command ended, and the command's arguments."""

    folder: Path
    done: Ended
    arguments: tuple[str, ...]


def run_train(*arguments: str) -> Ended:
    """Run ``python train.py ARGUMENTS`` here: a process of its own would import torch for seconds."""
    out, err = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    kept = sys.argv, root.handlers[:], root.level
    sys.argv = ["train.py", *arguments]
    code = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            runpy.run_path(str(PROJECT_ROOT / "train.py"), run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        err.write("" if isinstance(end.code, int) else str(end.code))
    finally:
        sys.argv, root.handlers[:], level = kept[0], kept[1], kept[2]
        root.setLevel(level)
    return Ended(code, out.getvalue(), err.getvalue())
