"""Fitting the check for unlike images: features of training and validation samples through the network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.errors import DataError
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
    from brainmtl.data.selection import select_rows
    from brainmtl.evaluation.selection import (
        check_samples,
        choose_fold,
        trained_here,
        trained_sources,
    )
    from brainmtl.inference.network import Network

    manifest = load_manifest(data_dir)
    frame = manifest.frame
    sources = trained_sources(frame, meta)
    if not sources:
        raise DataError(
            f"{data_dir} holds none of the sources of training ({meta.get('sources')}): give the "
            "data_dir of training, or export with ood=false"
        )
    same_data = trained_here(manifest, meta)
    if not same_data:
        print(f"note: {data_dir} is not as it was in training; the OOD check is fitted on it")
    fold = choose_fold("auto", meta, same_data=same_data)
    runner = Network(model, device, "32", runtime)
    features = {}
    for split in ("train", "val"):
        rows = frame.iloc[select_rows(frame, sources, [split], fold, OOD_SAMPLES // len(sources))]
        if rows.empty:
            raise DataError(
                f"{data_dir} has no split {split} of {', '.join(sources)}, which the OOD check needs: "
                "prepare with split.val > 0, or export with ood=false"
            )
        check_samples(rows, data_dir, meta)
        paths = list(rows["path"])
        features[split] = Features(
            np.concatenate(list(_pooled(runner, data_dir, paths, batch_size, progress))),
            rows["source"].astype(str).to_numpy(),
            rows["group"].astype(str).to_numpy(),
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
