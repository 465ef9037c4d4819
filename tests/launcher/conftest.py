"""A tiny exported model, shared with the tests of the service."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))  # `import tiny`
sys.path.insert(0, str(Path(__file__).parents[1] / "serve"))  # `import serving`

from serving import export_tiny


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model folder, made by the command's own code."""
    return export_tiny(tmp_path_factory.mktemp("run"))
