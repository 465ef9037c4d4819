"""Fitting the check for unlike images: features of training and validation samples through the network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.exporting.training_rows import training_rows
from brainmtl.inference.ood import Features, OodDetector

if TYPE_CHECKING:
    from brainmtl.inference.network import Network
    from brainmtl.inference.runtimes.base import Runtime
    from brainmtl.models.multitask import MultiTaskModel

OOD_SAMPLES = 500  # of training and of validation, drawn evenly over the sources


def fit_detector(
    model: MultiTaskModel,
    data_dir: Path,
    meta: dict[str, Any],
    *,
    device: str = "cpu",
    batch_size: int = 16,
    progress: bool = False,
    runtime: Runtime | None = None,
) -> OodDetector:
    """The check for unlike images of a model, from its training and validation images.

    ``runtime`` is what gives the features; None is eager PyTorch in float32 on ``device``.

    Raises:
        DataError: the folder holds none of the training sources, or too few images.
    """
    from brainmtl.data.manifest import load_manifest
    from brainmtl.evaluation.selection import trained_here
    from brainmtl.inference.network import Network

    manifest = load_manifest(data_dir)
    rows = {
        split: training_rows(data_dir, meta, split, OOD_SAMPLES, option="ood", manifest=manifest)
        for split in ("train", "val")
    }
    if not trained_here(manifest, meta):
        print(f"note: {data_dir} is not as it was in training; the OOD check is fitted on it")
    runner = Network(model, device, "32", runtime)
    features = {}
    for split, chosen in rows.items():
        paths = list(chosen["path"])
        features[split] = Features(
            np.concatenate(list(_pooled(runner, data_dir, paths, batch_size, progress))),
            chosen["source"].astype(str).to_numpy(),
            chosen["group"].astype(str).to_numpy(),
        )
    return OodDetector.fit(features["train"], features["val"])


def _pooled(
    runner: Network, data_dir: Path, paths: list[str], batch_size: int, progress: bool
) -> Iterator[np.ndarray]:
    from rich.progress import track

    from brainmtl.data.samples import read_sample

    starts = range(0, len(paths), batch_size)
    for start in track(starts, description="features for the OOD check", disable=not progress):
        batch = [read_sample(data_dir / path).image for path in paths[start : start + batch_size]]
        yield runner.encode(np.stack(batch)).pooled
