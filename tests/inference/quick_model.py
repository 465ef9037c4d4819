"""A small network trained for seconds on the phantom, its checkpoint, and pictures that are no MRI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from brainmtl.data.manifest import manifest_hash, read_manifest, source_hashes
from brainmtl.data.preprocess import PREPROCESSING_VERSION
from brainmtl.data.samples import read_sample
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
STEPS, BATCH = 100, 6


def rows_of(data_dir: Path, split: str, source: str | None = None) -> pd.DataFrame:
    """Rows of one split of the manifest, of one source or of all."""
    frame = read_manifest(data_dir)
    frame = frame[frame["split"] == split]
    return frame if source is None else frame[frame["source"] == source]


def train_quickly(data_dir: Path, steps: int = STEPS) -> MultiTaskModel:
    """A network that tells tumour from none on the phantom most of the time, and outlines it roughly."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    rows = rows_of(data_dir, "train")
    rows = pd.concat(
        [own.iloc[:: max(1, len(own) // 60)] for _, own in rows.groupby("source", observed=True)]
    )
    samples = [read_sample(data_dir / path) for path in rows["path"]]
    images = torch.from_numpy(np.stack([sample.image for sample in samples]))
    empty = np.zeros(images.shape[-2:], dtype=np.uint8)
    masks = torch.from_numpy(
        np.stack([empty if s.mask is None else s.mask for s in samples])
    ).float()
    outlined = torch.tensor([s.mask is not None for s in samples])
    labels = torch.tensor([s.label for s in samples])
    model = create_multi_task_model(**MODEL).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for _ in range(steps):
        own = torch.from_numpy(rng.choice(len(images), BATCH, replace=False))
        output = model(images[own])
        pixels = F.binary_cross_entropy_with_logits(
            output.seg[:, 0], masks[own], pos_weight=torch.tensor(8.0), reduction="none"
        ).mean(dim=(1, 2))
        known = labels[own] >= 0
        loss = (pixels * outlined[own]).mean() + F.cross_entropy(
            output.cls[known], labels[own][known]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def write_checkpoint(path: Path, model: MultiTaskModel, data_dir: Path, **changes: object) -> Path:
    """A checkpoint as a run leaves it; ``changes`` replace entries of its description."""
    frame = read_manifest(data_dir)
    meta = {
        "config": {
            "model": MODEL,
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
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "brainmtl": meta | changes}, path)
    return path
