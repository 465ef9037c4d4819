"""A small network trained for seconds on the phantom, and its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from brainmtl.data.manifest import manifest_hash, read_manifest, source_hashes
from brainmtl.data.preprocessing.preprocess import PREPROCESSING_VERSION
from brainmtl.data.samples import Sample, read_sample
from brainmtl.models import MultiTaskModel, create_multi_task_model

# Group norm: batch norm has no usable running statistics after a hundred steps.
MODEL = {
    "base_filters": 8,
    "depth": 3,
    "norm": "group",
    "stem": "space_to_depth",
    "hidden_dim": 16,
    "dropout": 0.0,
}
STEPS, BATCH, HEAD_STEPS = 70, 6, 300


def rows_of(data_dir: Path, split: str, source: str | None = None) -> pd.DataFrame:
    """Rows of one split of the manifest, of one source or of all."""
    frame = read_manifest(data_dir)
    frame = frame[frame["split"] == split]
    return frame if source is None else frame[frame["source"] == source]


def train_quickly(data_dir: Path) -> MultiTaskModel:
    """A network that outlines the phantom's tumours roughly, and tells most pictures with from without.

    As in the project's curriculum: segmentation first, then the head on what the encoder has learnt.
    """
    torch.manual_seed(0)
    rows = rows_of(data_dir, "train")
    parts = [
        own.iloc[:: max(1, len(own) // 60)] for _, own in rows.groupby("source", observed=True)
    ]
    samples = [read_sample(data_dir / path) for path in pd.concat(parts)["path"]]
    images = torch.from_numpy(np.stack([sample.image for sample in samples]))
    labels = torch.tensor([sample.label for sample in samples])
    model = create_multi_task_model(**MODEL).train()
    _train_masks(model, images, samples)
    model.eval()
    with torch.no_grad():
        bottleneck = torch.cat([model.encoder(part)[-1] for part in images.split(8)])
    optimizer = torch.optim.Adam(model.head.parameters(), lr=1e-2, weight_decay=1e-3)
    for _ in range(HEAD_STEPS):
        known = labels >= 0
        loss = F.cross_entropy(model.head(bottleneck[known]), labels[known])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def _train_masks(model: MultiTaskModel, images: torch.Tensor, samples: list[Sample]) -> None:
    rng = np.random.default_rng(0)
    # as often with as without tumour, so that few steps are enough
    masks = {
        k: torch.from_numpy(s.mask).float() for k, s in enumerate(samples) if s.mask is not None
    }
    groups = [
        [k for k, mask in masks.items() if bool(mask.any()) is tumour] for tumour in (True, False)
    ]
    parts = [*model.encoder.parameters(), *model.decoder.parameters()]
    optimizer = torch.optim.Adam(parts, lr=6e-3)
    for _ in range(STEPS):
        own = [k for group in groups for k in rng.choice(group, BATCH // 2)]
        logits = model.decoder(model.encoder(images[own]))[:, 0]
        loss = F.binary_cross_entropy_with_logits(
            logits, torch.stack([masks[k] for k in own]), pos_weight=torch.tensor(8.0)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def write_checkpoint(
    path: Path,
    network: MultiTaskModel,
    data_dir: Path,
    model: Mapping[str, object] = MODEL,
    **changes: object,
) -> Path:
    """A checkpoint as a run leaves it, of a network that was made from ``model``; ``changes`` replace
    entries of its description."""
    frame = read_manifest(data_dir)
    meta = {
        "config": {
            "model": dict(model),
            "stage": {"name": "joint", "train": ["encoder", "decoder", "head"]},
            "data": {"data_dir": str(data_dir), "fold": None},
        },
        "preprocessing_version": PREPROCESSING_VERSION,
        "manifest_sha256": manifest_hash(data_dir),
        "source_sha256": source_hashes(frame),
        "stage": "joint",
        "synthetic_training": True,
        "sources": sorted(frame["source"].astype(str).unique()),
        "trained_parts": ["decoder", "encoder", "head"],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {f"model.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "brainmtl": meta | changes}, path)
    return path
