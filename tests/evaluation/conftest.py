"""One tiny prepared folder, one checkpoint and one evaluation, shared by the tests of this room."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `import tiny`, with or without packages in tests/

import tiny

from brainmtl.models import MultiTaskModel


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_folder(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="session")
def model(data_dir: Path) -> MultiTaskModel:
    paths = [f"phantom_brats/test/{case}_z{k:03d}.npz" for case in "BCD" for k in (0, 2)]
    return tiny.trained_model(data_dir, paths)


@pytest.fixture(scope="session")
def checkpoint(
    data_dir: Path, model: MultiTaskModel, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("run") / "joint" / "checkpoints" / "best.ckpt"
    return tiny.write_checkpoint(path, model, data_dir)


@pytest.fixture(scope="session")
def evaluation(checkpoint: Path, data_dir: Path) -> dict[str, Any]:
    from brainmtl.evaluation.run import evaluate

    options = {"save_masks": True, "progress": False, "batch_size": 4}
    return evaluate(checkpoint, data_dir, sections=(), resamples=200, **options)
