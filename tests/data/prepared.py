"""Small prepared folders for tests, written through the project's own writers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmtl.data.manifest import MANIFEST_COLUMNS, write_manifest
from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE, PREPROCESSING_VERSION
from brainmtl.data.samples import write_sample

SIZE = 64  # the loaders take any size; 256 would only make the tests slower


def head_image(rng: np.random.Generator, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """A z-scored disc (1, size, size) on background, and its foreground (size, size)."""
    rows, columns = np.mgrid[:size, :size] - size / 2
    foreground = rows**2 + (1.3 * columns) ** 2 < (0.45 * size) ** 2
    image = rng.normal(size=(size, size)).astype(np.float32)
    image = (image - image[foreground].mean()) / image[foreground].std()
    return np.where(foreground, image, BACKGROUND_VALUE)[None].astype(np.float32), foreground


def write_prepared(folder: Path, samples: list[dict[str, Any]], seed: int = 0) -> pd.DataFrame:
    """Write samples and manifest; each sample gives source, split, case_id, label and more.

    Optional keys: position (a slice of a volume), mask ("tumour", "empty", None), fold, synthetic,
    channels (alike), version (of the preprocessing).
    """
    rng = np.random.default_rng(seed)
    rows = []
    for spec in samples:
        position = spec.get("position")
        image_id = spec["case_id"] if position is None else f"{spec['case_id']}_z{position:03d}"
        path = f"{spec['source']}/{spec['split']}/{image_id}.npz"
        image, _ = head_image(rng)
        image = np.repeat(image, spec.get("channels", 1), axis=0)
        mask = None
        if spec.get("mask") is not None:
            mask = np.zeros(image.shape[1:], dtype=np.uint8)
            if spec["mask"] == "tumour":
                mask[20:34, 24:36] = 1
        metadata = {
            "image_id": image_id,
            "preprocessing_version": spec.get("version", PREPROCESSING_VERSION),
        }
        write_sample(folder / path, image, spec["label"], mask, metadata)
        rows.append(
            {
                "image_id": image_id,
                "source": spec["source"],
                "split": spec["split"],
                "fold": spec.get("fold", -1),
                "path": path,
                "group": spec["case_id"],
                "case_id": spec["case_id"],
                "kind": "image" if position is None else "volume",
                "position": position or 0,
                "label": spec["label"],
                "has_label": int(spec["label"] >= 0),
                "has_mask": int(mask is not None),
                "tumour_pixels": -1 if mask is None else int(mask.sum()),
                "synthetic": spec.get("synthetic", 0),
                "duplicate_hash": "",
                "raw_sha256": "0" * 64,
                "sample_sha256": "0" * 64,
            }
        )
    frame = pd.DataFrame(rows, columns=list(MANIFEST_COLUMNS))
    write_manifest(folder, frame)
    return frame


def brats_slices(case_id: str, split: str, count: int, **extra: Any) -> list[dict[str, Any]]:
    """``count`` slices of a volume: two in three with tumour, every sixth without label."""
    kinds = [
        ("tumour", 1),
        ("tumour", 1),
        ("empty", 0),
        ("tumour", 1),
        ("tumour", -1),
        ("empty", 0),
    ]
    return [
        {
            "source": "brats",
            "split": split,
            "case_id": case_id,
            "position": 40 + k,
            "mask": kinds[k % 6][0],
            "label": kinds[k % 6][1],
            **extra,
        }
        for k in range(count)
    ]


def kaggle_images(split: str, count: int, **extra: Any) -> list[dict[str, Any]]:
    """``count`` images without mask, every third of them without tumour."""
    return [
        {
            "source": "kaggle",
            "split": split,
            "case_id": f"{split}{k:02d}",
            "mask": None,
            "label": int(k % 3 != 0),
            **extra,
        }
        for k in range(count)
    ]


def both_sources(folder: Path) -> pd.DataFrame:
    """BraTS: train 2 volumes of 12, val and test one of 6. Kaggle: 9, 3 and 3 images."""
    return write_prepared(
        folder,
        [
            *brats_slices("b0", "train", 12, fold=0),
            *brats_slices("b1", "train", 12, fold=1),
            *brats_slices("b2", "val", 6, fold=2),
            *brats_slices("b3", "test", 6, fold=2),
            *kaggle_images("train", 9, fold=0),
            *kaggle_images("val", 3, fold=1),
            *kaggle_images("test", 3, fold=2),
        ],
    )
