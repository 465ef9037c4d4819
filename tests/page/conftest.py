"""A tiny exported model, an application that serves it, and uploads of the kind that it knows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))  # `import tiny`
sys.path.insert(0, str(Path(__file__).parents[1] / "serve"))  # `import serving`

import tiny
from fastapi import FastAPI
from hostile import encode
from serving import export_tiny, ready_client, tumour_plane

from brainmtl.page.client import Client
from brainmtl.serve.app import create_app
from brainmtl.serve.settings import Settings


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_tiny(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def app(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    log = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    return create_app(Settings(model_dir=model_folder, audit_log=log, threads=1))


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[Client]:
    """The page's client of a real application in this process; it does not really wait."""
    with ready_client(app) as http:
        yield Client(http, sleep=lambda seconds: None)


@pytest.fixture(scope="session")
def plane() -> np.ndarray:
    return tumour_plane()


@pytest.fixture(scope="session")
def picture(plane: np.ndarray) -> bytes:
    return encode(plane)


@pytest.fixture(scope="session")
def volume() -> bytes:
    """A NIfTI volume whose axes are none of the display's, and whose slices run downwards."""
    planes = np.stack([tiny.head((40, 48), seed) for seed in range(6)], axis=1)
    for k in (1, 2):
        planes[:, k][tiny.disc((40, 48), (18, 30), 8)] += 80
    affine = np.array([[0, 0, -1.5, 60], [-1.0, 0, 0, 40], [0, -3.0, 0, 15], [0, 0, 0, 1]])
    return nib.Nifti1Image(planes.astype(np.float32), affine).to_bytes()
