"""One sweep for the tests of this room: lambda x seeds, one of its settings impossible."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `import sweeping`, as the tests do

from sweeping import FAILING, SMALL, Sweep, run_train


@pytest.fixture(scope="session")
def sweep(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """4 runs finish, 2 fail."""
    folder = tmp_path_factory.mktemp("sweep") / "first"
    arguments = (
        "sweep=lambda",
        f"data_dir={phantom_dir}",
        *SMALL,
        "stage=joint",
        f"loss.lambda_cls=0.3,{FAILING},3",
        "seed=0,1",
        f"hydra.sweep.dir={folder}",
    )
    return Sweep(folder, run_train(*arguments), arguments)
