"""Models exported once per session: a tiny one in a second, and one that has seen the phantom; its pictures."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))  # `import tiny`

import quick_model
import tiny
import torch
from graphs import Graphs, read_graphs
from support import once

from brainmtl.data.sources.nifti import oriented_case, read_nifti
from brainmtl.evaluation.selection import load_checkpoint
from brainmtl.exporting.onnx_export import export_onnx
from brainmtl.files import sha256
from brainmtl.inference.operating.operating_point import OperatingPoint, write_operating_point
from brainmtl.inference.predictor import MultiTaskPredictor
from brainmtl.models import MultiTaskModel, create_multi_task_model
from brainmtl.training.continuation.start import BUILT_IN


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a tiny network after twenty steps; its data folder is gone."""
    data = tiny.write_folder(tmp_path_factory.mktemp("tiny_data"))
    paths = [f"phantom_brats/test/{case}_z{k:03d}.npz" for case in "BCD" for k in (0, 2)]
    run = tmp_path_factory.mktemp("tiny_run")
    return tiny.write_checkpoint(
        run / "joint/checkpoints/best.ckpt", tiny.trained_model(data, paths), data
    )


@pytest.fixture(scope="session")
def tiny_dir(tiny_checkpoint: Path) -> Path:
    """That network exported: without operating point, evaluation and data."""
    from brainmtl.export import export

    return export(tiny_checkpoint, tiny_checkpoint.parents[2] / "model")


@pytest.fixture(scope="session")
def network(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> MultiTaskModel:
    return once(tmp_path_factory, "network", lambda folder: quick_model.train_quickly(phantom_dir))


@pytest.fixture(scope="session")
def checkpoint(
    phantom_dir: Path, network: MultiTaskModel, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Checkpoint of the network that has seen the phantom, an operating point beside it."""
    path = tmp_path_factory.mktemp("run") / "joint/checkpoints/best.ckpt"
    quick_model.write_checkpoint(path, network, phantom_dir)
    point = OperatingPoint(
        temperature=1.25, threshold=0.5, fitted=True, checkpoint_sha256=sha256(path)
    )
    write_operating_point(point, path)
    return path


@pytest.fixture(scope="session")
def model_dir(checkpoint: Path) -> Path:
    """That checkpoint exported, with its check for unlike images."""
    from brainmtl.export import export

    return export(checkpoint, checkpoint.parents[2] / "model")


@pytest.fixture(scope="session")
def predictor(model_dir: Path) -> MultiTaskPredictor:
    return MultiTaskPredictor.from_folder(model_dir, device="cpu")


@pytest.fixture(scope="session")
def built_in(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> MultiTaskPredictor:
    """The built-in weights with their check for unlike images: for what a network must have learnt well.

    They are the same everywhere. A training of seconds is another network on another kind of processor,
    which rounds otherwise, and now and then one in which half of the channels are dead.
    """
    folder = once(tmp_path_factory, "built_in", lambda at: _export_built_in(at, phantom_dir))
    return MultiTaskPredictor.from_folder(folder, device="cpu")


def _export_built_in(folder: Path, data_dir: Path) -> Path:
    from brainmtl.export import export

    model, meta = load_checkpoint(BUILT_IN)
    path = folder / "joint/checkpoints/best.ckpt"
    quick_model.write_checkpoint(path, model, data_dir, model=meta["config"]["model"])
    return export(path, folder / "model")


@pytest.fixture(scope="session")
def raw_dir(phantom_dir: Path) -> Path:
    """The phantom as published: brats/<case>/<case>_flair.nii.gz, kaggle/{yes,no}/*.jpg."""
    return phantom_dir.parent / "raw"


@pytest.fixture(scope="session")
def photos(
    raw_dir: Path,
    phantom_dir: Path,
    predictor: MultiTaskPredictor,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[Path]:
    """Photographs of the test split as their files, and slices of its volumes as PNG."""
    rows = quick_model.rows_of(phantom_dir, "test", "phantom_kaggle")
    names = {path.stem: path for path in raw_dir.glob("kaggle/*/*") if path.is_file()}
    found = [
        next(names[n] for n in names if case.endswith(n)) for case in rows["case_id"].astype(str)
    ]
    folder = tmp_path_factory.mktemp("slices")
    cases = (
        quick_model.rows_of(phantom_dir, "test", "phantom_brats")["case_id"].astype(str).unique()
    )
    for case in cases:
        volume = oriented_case(
            [read_nifti(next(raw_dir.glob(f"brats/{case}/*flair*")))], None
        ).image[0]
        brain = np.flatnonzero((volume > 0).mean(axis=(0, 1)) > 0.2)
        for k in brain[:: len(brain) // 5]:
            found.append(folder / f"{case}_{k}.png")
            plane = 255 * volume[:, :, k] / volume.max()
            Image.fromarray(plane.astype(np.uint8)).save(found[-1])
    # The check for unlike images, fitted on a handful of phantoms, refuses some slices of others.
    judged = [path for path in found if not predictor.predict_image(path).abstained]
    assert len(judged) >= 17, "more than the network takes at once"
    return judged


@pytest.fixture
def own(model_dir: Path) -> MultiTaskPredictor:
    """A predictor of its own, whose modules a test may wrap."""
    return MultiTaskPredictor.from_folder(model_dir, device="cpu")


@pytest.fixture(scope="session", name="tiny")
def tiny_graphs(tmp_path_factory: pytest.TempPathFactory) -> tuple[MultiTaskModel, Graphs]:
    """(a network that answers in a millisecond, its graphs)."""
    folder = tmp_path_factory.mktemp("tiny_graphs")
    torch.manual_seed(0)
    model = create_multi_task_model(base_filters=4, depth=2, norm="group", hidden_dim=8).eval()
    export_onnx(model, folder)
    return model, read_graphs(folder)
