"""A prepared folder of a few small cases and a checkpoint, written through the project's writers.

`phantom_brats`: NIfTI-like volumes on an anisotropic grid that is not LPS; patient A has two of
them, patient D is healthy, and the top slice of every case is left out although its reference may
hold tumour. `lgg`: a stack of pictures without affine. `kaggle`: pictures without masks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from brainmtl.data.labels import derive_label
from brainmtl.data.manifest import MANIFEST_COLUMNS, manifest_hash, write_manifest
from brainmtl.data.preprocessing.geometry import SliceGeometry, VolumeGeometry, frame_geometry
from brainmtl.data.preprocessing.preprocess import (
    PREPROCESSING_VERSION,
    prepare_mask,
    preprocess_slice,
)
from brainmtl.data.samples import read_sample, write_reference, write_sample
from brainmtl.models import MultiTaskModel, create_multi_task_model

# Group norm: batch norm has no usable running statistics after twenty steps.
MODEL = {
    "base_filters": 4,
    "depth": 2,
    "norm": "group",
    "stem": "space_to_depth",
    "hidden_dim": 8,
    "dropout": 0.0,
}
AFFINE = np.array([[0, 0, 3.0, -5], [1.0, 0, 0, 7], [0, -1.5, 0, 60], [0, 0, 0, 1]])
FILE_SHAPE = (40, 6, 48)  # axes posterior, ... in an order that has to be undone


def head(shape: tuple[int, int], seed: int) -> np.ndarray:
    """A textured ellipse on zero background, float32 of ``shape``."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    return ((rows**2 + columns**2 < 0.8) * (100 + 10 * rng.standard_normal(shape))).astype(
        "float32"
    )


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.indices(shape)
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


class Writer:
    """Collects manifest rows while samples and references are written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, object]] = []

    def add(
        self, case: dict, position: int, plane: np.ndarray, mask, geometry: SliceGeometry
    ) -> None:
        prepared = preprocess_slice(plane[None], None, geometry)
        mask = None if mask is None else prepare_mask(mask, geometry)
        pixels = -1 if mask is None else int(mask.sum())
        label = derive_label(pixels) if mask is not None else case["label"]
        volume = geometry.volume is not None
        image_id = f"{case['case_id']}_z{position:03d}" if volume else case["case_id"]
        path = f"{case['source']}/{case['split']}/{image_id}.npz"
        metadata = {"geometry": geometry.to_dict(), "preprocessing_version": PREPROCESSING_VERSION}
        write_sample(self.folder / path, prepared.image, label, mask, metadata)
        self.rows.append(
            dict.fromkeys(MANIFEST_COLUMNS, "")
            | {key: case[key] for key in ("source", "split", "group", "case_id")}
            | {"image_id": image_id, "path": path, "kind": "volume" if volume else "image"}
            | {"fold": -1, "position": position, "label": label, "has_label": int(label >= 0)}
            | {"has_mask": int(mask is not None), "tumour_pixels": pixels}
            | {"synthetic": int(case["source"].startswith("phantom_"))}
        )

    def volume(self, case: dict, geometry: VolumeGeometry, radius: float, seed: int) -> None:
        """One case with a ball-like tumour of ``radius`` pixels (0: healthy); last slice left out."""
        height, width, depth = geometry.orient(np.zeros(geometry.file_shape)).shape
        spacing = geometry.display_spacing()
        masks = np.zeros((height, width, depth), dtype=bool)
        frame = frame_geometry(
            (height, width), (2, height - 2, 3, width - 3), spacing and spacing[:2]
        )
        for k in range(depth):
            plane = head((height, width), seed + k)
            masks[:, :, k] = disc((height, width), (0.4 * height, 0.6 * width), radius * (k > 0))
            masks[:, :, k] &= radius * (k > 0) > 0
            plane[masks[:, :, k]] += 80
            slice_geometry = SliceGeometry(
                **{
                    **vars(frame),
                    "slice_index": k,
                    "volume": geometry,
                    "slice_spacing_mm": spacing and spacing[2],
                }
            )
            if k < depth - 1:
                self.add(case, k, plane, masks[:, :, k], slice_geometry)
        reference = np.ascontiguousarray(geometry.restore(masks)).astype(np.uint8)
        write_reference(
            self.folder / case["source"] / "references" / f"{case['case_id']}.npz", reference
        )

    def picture(self, case: dict, tumour: bool, seed: int) -> None:
        shape = (60 + seed, 50)
        plane = head(shape, seed)
        plane[disc(shape, (25, 30), 6) & tumour] += 80
        geometry = frame_geometry(shape, (2, shape[0] - 2, 2, 48))
        self.add(case | {"label": int(tumour)}, 0, plane, None, geometry)


def write_folder(folder: Path) -> Path:
    """The prepared folder described above; everything in split test but one picture per class."""
    writer = Writer(folder)
    nifti, stack = VolumeGeometry.from_affine(AFFINE, FILE_SHAPE), VolumeGeometry.stack((44, 52), 5)
    brats = [
        ("A_1", "A", 7.0),
        ("A_2", "A", 4.0),
        ("B", "B", 9.0),
        ("C", "C", 5.0),
        ("D", "D", 0.0),
    ]
    for seed, (case_id, group, radius) in enumerate(brats):
        case = {"source": "phantom_brats", "split": "test", "case_id": case_id, "group": group}
        writer.volume(case, nifti, radius, 10 * seed)
    case = {"source": "lgg", "split": "test", "case_id": "L", "group": "L"}
    writer.volume(case, stack, 8.0, 77)
    for k in range(12):
        split = "train" if k < 2 else "test"
        case = {"source": "kaggle", "split": split, "case_id": f"photo_{k:02d}", "group": f"g{k}"}
        writer.picture(case, tumour=k % 3 == 0, seed=k)
    write_manifest(folder, pd.DataFrame(writer.rows).astype(MANIFEST_COLUMNS))
    return folder


def trained_model(folder: Path, paths: list[str], steps: int = 20) -> MultiTaskModel:
    """A tiny network after a few steps on the samples ``paths``, so that its masks are not noise."""
    torch.manual_seed(0)
    model = create_multi_task_model(**MODEL).train()
    samples = [read_sample(folder / path) for path in paths]
    images = torch.from_numpy(np.stack([sample.image for sample in samples]))
    masks = torch.from_numpy(np.stack([sample.mask for sample in samples])).float()
    labels = (masks.sum(dim=(1, 2)) > 0).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-2)
    for _ in range(steps):
        output = model(images)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            output.seg[:, 0], masks, pos_weight=torch.tensor(10.0)
        )
        loss = loss + torch.nn.functional.cross_entropy(output.cls, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def write_checkpoint(path: Path, model: MultiTaskModel, folder: Path, **changes: object) -> Path:
    """A checkpoint in the format of the project's runs; ``changes`` replace metadata entries."""
    meta = {
        "config": {
            "model": MODEL,
            "stage": {"name": "joint", "train": ["encoder", "decoder", "head"]},
        },
        "preprocessing_version": PREPROCESSING_VERSION,
        "manifest_sha256": manifest_hash(folder),
        "stage": "joint",
        "synthetic_training": True,
        "sources": ["phantom_brats"],
        "trained_parts": ["decoder", "encoder", "head"],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "brainmtl": meta | changes}, path)
    return path
