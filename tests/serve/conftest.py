"""A tiny trained network, exported, and applications and processes that serve it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))  # `import tiny`

from fastapi.testclient import TestClient
from hostile import encode
from serving import Server, export_tiny, ready_client, tumour_plane

from brainmtl.serve.app import create_app
from brainmtl.serve.settings import Settings


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model folder, made by the command's own code."""
    return export_tiny(tmp_path_factory.mktemp("run"))


@pytest.fixture
def settings(model_folder: Path, tmp_path: Path) -> Settings:
    return Settings(model_dir=model_folder, audit_log=tmp_path / "audit.jsonl", threads=1)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """A client of an application in this process that is ready."""
    with ready_client(create_app(settings)) as client:
        yield client


@pytest.fixture(scope="session")
def server(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A process of `python -m brainmtl.serve` that is ready."""
    with Server.start(model_folder, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session", name="tumour_plane")
def plane_with_tumour() -> np.ndarray:
    return tumour_plane()


@pytest.fixture(scope="session")
def picture(tumour_plane: np.ndarray) -> bytes:
    """That slice as a PNG file."""
    return encode(tumour_plane)
