"""Small prepared folders whose shortcuts are known, because they were planted.

Heads are discs on the constant background, in the first channel's z-score units. A source may be
skull-stripped or show a bright scalp and a dark skull, and one feature may give the label away:
"border" (a bright line at the picture's edge), "metadata" (the original height), "intensity" (a
brighter head), "copies" (test images are training images with noise), "blob" (a bright disc inside
the brain, which is what a tumour looks like), or None.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import ndimage

from brainmtl.data.manifest import MANIFEST_COLUMNS, write_manifest
from brainmtl.data.preprocessing.geometry import SliceGeometry
from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE
from brainmtl.data.samples import read_sample, write_sample
from brainmtl.models import MultiTaskModel, create_multi_task_model

SIZE = 64
RADIUS = 27.0
RIM = 7.0  # pixels of scalp and skull
MODEL = {"base_filters": 4, "norm": "group", "depth": 2, "hidden_dim": 8, "dropout": 0.0}


@dataclass(frozen=True)
class Spec:
    """One source: images per part (label and group alternate), and what it looks like."""

    train: int = 40
    test: int = 40
    shortcut: str | None = None
    scalp: bool = False
    smooth: float = 0.0  # SD of the texture's blur in pixels: the scanner of the source
    masks: bool = False
    labels: tuple[int, ...] = (0, 1)  # in turn
    per_group: int = 1


def disc(radius: float, centre: tuple[float, float] = (SIZE / 2, SIZE / 2)) -> np.ndarray:
    rows, columns = np.indices((SIZE, SIZE)) + 0.5
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2


def head(
    rng: np.random.Generator, scalp: bool = False, smooth: float = 0.0, radius: float = RADIUS
) -> np.ndarray:
    """Image (1, SIZE, SIZE) float32 of a textured brain, with scalp and skull if asked for."""
    texture = rng.normal(size=(SIZE, SIZE))
    if smooth:
        texture = ndimage.gaussian_filter(texture, smooth)
        texture /= texture.std()
    image = np.full((SIZE, SIZE), BACKGROUND_VALUE)
    outline = disc(radius)
    image[outline] = 0.4 * texture[outline]
    if scalp:
        image[outline & ~disc(radius - RIM / 2)] = 2.0
        image[disc(radius - RIM / 2) & ~disc(radius - RIM)] = -1.8
    return image[None].astype(np.float16).astype(np.float32)


def picture(
    rng: np.random.Generator, spec: Spec, label: int
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """(image, tumour mask, original size) of one image of a source."""
    image = head(rng, spec.scalp, spec.smooth)
    mask = np.zeros((SIZE, SIZE), dtype=np.uint8)
    height = 200
    if label == 1:
        if spec.shortcut == "border":
            image[:, :2] = 2.0
        elif spec.shortcut == "metadata":
            height = 300
        elif spec.shortcut == "intensity":
            image[:, disc(RADIUS)] += 0.5
        elif spec.shortcut == "blob":
            blob = disc(6.0, (SIZE / 2 + rng.uniform(-7, 7), SIZE / 2 + rng.uniform(-7, 7)))
            image[:, blob] += 3.0
            mask[blob] = 1
    return image, mask, (height, 220)


def write_folder(folder: Path, specs: dict[str, Spec], seed: int = 0) -> pd.DataFrame:
    """Write samples and manifest; returns the manifest's frame."""
    rng = np.random.default_rng(seed)
    rows = []
    for source, spec in specs.items():
        stored: list[np.ndarray] = []
        for split, count in (("train", spec.train), ("test", spec.test)):
            for k in range(count):
                label = spec.labels[k % len(spec.labels)]
                image, mask, size = picture(rng, spec, label)
                if spec.shortcut == "copies":
                    if split == "train":
                        stored.append(image)
                    else:
                        image = stored[k % len(stored)] + rng.normal(0, 0.01, image.shape)
                rows.append(_write(folder, source, split, k, spec, label, image, mask, size))
    frame = pd.DataFrame(rows, columns=list(MANIFEST_COLUMNS)).astype(MANIFEST_COLUMNS)
    write_manifest(folder, frame)
    return frame


def _write(
    folder: Path,
    source: str,
    split: str,
    k: int,
    spec: Spec,
    label: int,
    image: np.ndarray,
    mask: np.ndarray,
    size: tuple[int, int],
) -> dict[str, object]:
    image_id = f"{source}_{split}_{k:03d}"
    geometry = SliceGeometry(size, (0, size[0], 0, size[1]), (0, 0, 0, 0), (1.0, 1.0), SIZE)
    path = f"{source}/{split}/{image_id}.npz"
    own_mask = mask if spec.masks else None
    write_sample(folder / path, image, label, own_mask, {"geometry": geometry.to_dict()})
    return dict.fromkeys(MANIFEST_COLUMNS, "") | {
        "image_id": image_id,
        "source": source,
        "split": split,
        "fold": -1,
        "path": path,
        "group": f"{source}_{split}_{k // spec.per_group}",
        "case_id": image_id,
        "kind": "image",
        "position": 0,
        "label": label,
        "has_label": int(label >= 0),
        "has_mask": int(spec.masks),
        "tumour_pixels": int(mask.sum()) if spec.masks else -1,
        "synthetic": 0,
    }


def parts(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    return frame[frame["split"] == "train"], frame[frame["split"] == "test"]


def said(test: pd.DataFrame, probabilities: np.ndarray, threshold: float = 0.5) -> list[dict]:
    """Lines of predictions.csv for the rows of ``test``."""
    return [
        {
            "image_id": row.image_id,
            "source": row.source,
            "group": row.group,
            "cls": int(row.label),
            "probability": float(value),
            "calibrated": float(value),
            "call": int(value >= threshold),
            "synthetic": int(row.synthetic),
        }
        for row, value in zip(test.itertuples(index=False), probabilities, strict=True)
    ]


def new_model(seed: int = 0) -> MultiTaskModel:
    torch.manual_seed(seed)
    return create_multi_task_model(**MODEL).eval()


def trained_model(folder: Path, train: pd.DataFrame, steps: int = 60) -> MultiTaskModel:
    """A tiny network whose classification was trained on the images of ``train``."""
    model = new_model().train()
    samples = [read_sample(folder / path) for path in train["path"]]
    images = torch.from_numpy(np.stack([sample.image for sample in samples]))
    labels = torch.tensor([sample.label for sample in samples])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(model(images, do_seg=False).cls, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()
