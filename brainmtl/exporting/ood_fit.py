"""Fitting the check for unlike images: features of training and validation samples through the network,
as they are and in altered copies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.config import CONF_DIR
from brainmtl.exporting.training_rows import training_rows
from brainmtl.inference.ood import Features, OodDetector

if TYPE_CHECKING:
    import pandas as pd

    from brainmtl.data.augmentation.compose import Augmentation
    from brainmtl.inference.network import Network
    from brainmtl.inference.runtimes.base import Runtime
    from brainmtl.models.multitask import MultiTaskModel

OOD_SAMPLES = 500  # of training and of validation, drawn evenly over the sources
COPIES = 3  # of each; with one the limit hangs on its draw (docs/evaluation.md)


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
    features = {
        split: _features(runner, data_dir, chosen, batch_size, progress)
        for split, chosen in rows.items()
    }
    return OodDetector.fit(features["train"], features["val"])


def _features(
    runner: Network, data_dir: Path, rows: pd.DataFrame, batch_size: int, progress: bool
) -> Features:
    """Those of the samples, and after them those of their copies."""
    from rich.progress import track

    from brainmtl.data.loading.datasets import sample_seed
    from brainmtl.data.samples import read_sample

    augmentation = _alteration()
    paths = [data_dir / path for path in rows["path"]]
    starts = range(0, len(paths), batch_size)
    versions: list[list[np.ndarray]] = [[] for _ in range(1 + COPIES)]
    for start in track(starts, description="features for the OOD check", disable=not progress):
        images = [read_sample(path).image for path in paths[start : start + batch_size]]
        for version, pooled in enumerate(versions):
            seeds = [sample_seed(0, version, start + k) for k in range(len(images))]
            seen = _altered(augmentation, images, seeds) if version else images
            pooled.append(runner.encode(np.stack(seen)).pooled)
    sources, groups = (np.tile(rows[key].astype(str), len(versions)) for key in ("source", "group"))
    values = np.concatenate([one for pooled in versions for one in pooled])
    return Features(values, sources, groups, np.arange(len(values)) >= len(rows))


def _alteration() -> Augmentation:
    """conf/augmentation/strong.yaml without the skulls, whatever the model was trained with: heads of
    elsewhere differ by as much."""
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    return instantiate(OmegaConf.load(CONF_DIR / "augmentation" / "strong.yaml"), skull=None)


def _altered(
    augmentation: Augmentation, images: Sequence[np.ndarray], seeds: Sequence[int]
) -> list[np.ndarray]:
    import torch

    samples = [{"image": torch.from_numpy(image), "mask": None, "source": ""} for image in images]
    return [
        augmentation.set_random_state(seed)(sample)["image"].numpy()
        for seed, sample in zip(seeds, samples, strict=True)
    ]
