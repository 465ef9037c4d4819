"""The model to show: the one that is named, the newest export, or one that is trained for it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from brainmtl.config import PROJECT_ROOT
from brainmtl.errors import BrainMTLError, DataError
from brainmtl.files import home_path
from brainmtl.inference.model_folder import CONFIG, ENVIRONMENT, newest_model_folder
from brainmtl.launcher.process import POLL_S, ChildProcess, end
from brainmtl.launcher.screen import Screen
from brainmtl.launcher.signals import StopSignals

# From nothing to a model folder, as README and docs do it; relative to the project, since Hydra
# refuses some characters that a path to the project may hold.
STEPS = (
    ("-m", "brainmtl.walkthrough"),
    ("-m", "brainmtl.export", "ckpt=outputs/latest/joint/checkpoints/best.ckpt"),
)


def find_model(model_dir: str | None, screen: Screen, stop: StopSignals) -> Path:
    """``model_dir``, else what BRAINMTL_MODEL_DIR names, else the newest export; else a small model
    is trained on synthetic data, and said so.

    Raises:
        BrainMTLError: the named folder lies in no home folder; the training or its export failed.
        Stopped: by a signal, which ended the training too.
    """
    if named := model_dir or os.environ.get(ENVIRONMENT):
        return home_path("model_dir" if model_dir else ENVIRONMENT, named).resolve()
    try:
        return newest_model_folder()
    except DataError:
        screen.say("There is no exported model yet. A small one is trained now, on SYNTHETIC data:")
        screen.say("5 to 10 minutes on 2 cores, once. Its answers will say nothing of patients.")
    for step in STEPS:
        screen.say(f"$ python {' '.join(step)}")
        _run([sys.executable, *step], stop)
    return newest_model_folder()


def is_synthetic(folder: Path) -> bool | None:
    """Whether a model was trained on synthetic images; None where the folder does not say."""
    try:
        return bool(json.loads((folder / CONFIG).read_text(encoding="utf-8"))["synthetic_training"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _run(command: Sequence[str], stop: StopSignals) -> None:
    process = ChildProcess(command, os.environ, PROJECT_ROOT)
    try:
        while process.poll() is None:
            stop.check()
            time.sleep(POLL_S)
    finally:
        end([process])
    if status := process.poll():
        raise BrainMTLError(
            f"`python {' '.join(command[1:])}` failed with exit status {status}, see above. Mend "
            "that, or show a model of your own with model_dir=..."
        )
