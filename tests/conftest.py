"""Fixtures that several rooms share: the real data, and a small prepared phantom."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import absl.logging
import pytest
import torch
from support import compose, once

# absl's handler (OpenVINO imports it) keeps the stderr of that moment and closes it when a Hydra command sets up
# logging, unless it is the process's own: it would be pytest's.
absl.logging.get_absl_handler().python_handler.setStream(sys.__stderr__)

# As under `make test`: the last digits of what is trained here depend on the number of threads.
if "OMP_NUM_THREADS" not in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
    torch.set_num_threads(1)

SOAK = os.environ.get("BRAINMTL_SOAK") == "1"
# Small enough for seconds, large enough that every split has both labels.
SUBJECTS, PHOTOS = 10, 40


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked soak run under ``make soak`` alone."""
    if SOAK:
        return
    for item in items:
        if "soak" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="a long count: `make soak` runs it"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of BRAINMTL_REAL_DATA; once the variable is set, such tests run or fail."""
    folder = os.environ.get("BRAINMTL_REAL_DATA")
    if not folder:
        pytest.skip(
            "BRAINMTL_REAL_DATA names no folder with real data (brats/, lgg/, kaggle_yesno/)"
        )
    path = Path(folder)
    assert path.is_dir(), f"BRAINMTL_REAL_DATA={folder} is no folder"
    return path


@pytest.fixture(scope="session")
def phantom_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared phantom, made by the commands' own code: phantom_brats and phantom_kaggle."""
    return once(tmp_path_factory, "phantom", _prepare_phantom)


def _prepare_phantom(folder: Path) -> Path:
    from brainmtl.prepare import prepare

    prepare(
        compose(
            "prepare",
            "source=phantom",
            f"raw_dir={folder}/raw",
            f"out_dir={folder}/prepared",
            f"phantom.subjects={SUBJECTS}",
            f"phantom.photos={PHOTOS}",
            "split.train=0.5",
            "split.val=0.25",
            "split.test=0.25",
        )
    )
    return folder / "prepared"
