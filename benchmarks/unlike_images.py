"""How many images the check for unlike images refuses: heads as they are and altered, and what is no head.

python -m benchmarks.unlike_images CKPT DATA_DIR [--pictures RAW] [--strangers FOLDER] [--unseen SOURCE]

The check is fitted as an export does. Asked are test samples of the sources of training (at most 200 of
each); of the test pictures whose files lie in RAW also copies at 224x224 (as they are and as JPEG of
quality 75), at 128x128 and with a gamma of 0.6; of a source that took no part, with --unseen, samples of
all splits; 15 grey crops of each picture in FOLDER, which shows no head; and noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.command import one_line_errors
from brainmtl.data.image_io import read_image
from brainmtl.data.manifest import load_manifest
from brainmtl.data.preprocessing.preprocess import preprocess_slice
from brainmtl.data.samples import read_sample
from brainmtl.data.selection import present_sources, select_rows
from brainmtl.errors import DataError
from brainmtl.evaluation.selection import load_checkpoint
from brainmtl.exporting.ood_fit import fit_detector
from brainmtl.exporting.training_rows import training_rows
from brainmtl.files import sha256
from brainmtl.inference.network import Network

SAMPLES = 200  # of a source
CROPS, SHORTEST = 15, 128  # of a picture that shows no head, and their side in pixels at least
NOISE = 30


def jpeg(picture: Image.Image, quality: int = 75) -> Image.Image:
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


ALTERED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "at 224x224": lambda picture: picture.resize((224, 224)),
    "at 224x224, JPEG": lambda picture: jpeg(picture.resize((224, 224))),
    "at 128x128": lambda picture: picture.resize((128, 128)),
    "gamma 0.6": lambda picture: picture.point([255 * (k / 255) ** 0.6 for k in range(256)]),
}


def prepared(planes: list[np.ndarray]) -> list[np.ndarray]:
    """Images (C, H, W) of those in which preprocessing finds a head; the others never get so far."""
    found = []
    for plane in planes:
        try:
            found.append(preprocess_slice(np.asarray(plane, dtype=np.float32)[None]).image)
        except DataError:
            continue
    return found


def of_samples(rows: pd.DataFrame, data_dir: Path) -> list[np.ndarray]:
    return [read_sample(data_dir / path).image for path in rows["path"]]


def altered_pictures(rows: pd.DataFrame, raw: Path) -> dict[str, list[np.ndarray]]:
    """Prepared images of the test pictures in ``raw``, by alteration."""
    wanted = set(rows["raw_sha256"])
    files = [path for path in sorted(raw.rglob("*")) if path.is_file() and sha256(path) in wanted]
    if not files:
        raise DataError(f"{raw} holds none of the test pictures: name the folder they came from")
    grey = [Image.open(path).convert("L") for path in files]
    return {
        name: prepared([np.asarray(change(picture)) for picture in grey])
        for name, change in ALTERED.items()
    }


def crops(folder: Path, rng: np.random.Generator) -> list[np.ndarray]:
    """Square crops of the pictures in ``folder``, prepared."""
    planes = []
    for path in sorted(folder.iterdir()):
        plane = read_image(path)
        for _ in range(CROPS):
            side = int(rng.integers(min(SHORTEST, *plane.shape), min(plane.shape) + 1))
            top, left = (int(rng.integers(0, length - side + 1)) for length in plane.shape)
            planes.append(plane[top : top + side, left : left + side])
    return prepared(planes)


def noise(rng: np.random.Generator) -> list[np.ndarray]:
    planes = [rng.normal(128, 30, (256, 256)) for _ in range(NOISE // 2)]
    return prepared([*planes, *(rng.uniform(0, 255, (200, 230)) for _ in range(NOISE // 2))])


def asked(options: argparse.Namespace, meta: dict[str, Any]) -> dict[str, list[np.ndarray]]:
    """Prepared images by name, see the module."""
    manifest = load_manifest(options.data_dir)
    test = training_rows(options.data_dir, meta, "test", option="ood", manifest=manifest)
    found = {}
    for name, rows in test.groupby("source", observed=True):
        chosen = rows.iloc[:: max(1, len(rows) // SAMPLES)]
        found[str(name)] = of_samples(chosen, options.data_dir)
    if options.unseen:
        splits = ["train", "val", "test"]
        indices = select_rows(manifest.frame, [options.unseen], splits, None, SAMPLES)
        if not len(indices):
            raise DataError(
                f"--unseen {options.unseen}: {options.data_dir} holds {present_sources(manifest.frame)}"
            )
        found[f"{options.unseen} (not trained on)"] = of_samples(
            manifest.frame.iloc[indices], options.data_dir
        )
    rng = np.random.default_rng(0)
    if options.pictures:
        found |= altered_pictures(test, options.pictures)
    if options.strangers:
        found["photographs (crops)"] = crops(options.strangers, rng)
    return found | {"noise": noise(rng)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ckpt", type=Path, help="checkpoint")
    parser.add_argument("data_dir", type=Path, help="prepared folder of its training")
    parser.add_argument("--pictures", type=Path, help="folder that its pictures came from")
    parser.add_argument("--strangers", type=Path, help="pictures that show no head")
    parser.add_argument("--unseen", help="source that took no part in training")
    options = parser.parse_args()
    with one_line_errors():
        model, meta = load_checkpoint(options.ckpt)
        network = Network(model)
        detector = fit_detector(model, options.data_dir, meta)
        print(f"limit {detector.threshold:.1f}; share refused:")
        for name, images in asked(options, meta).items():
            starts = range(0, len(images), 16)
            scores = [
                detector.score(network.encode(np.stack(images[k : k + 16])).pooled) for k in starts
            ]
            refused = np.concatenate(scores) > detector.threshold
            print(f"{name:32s} {refused.mean():5.2f}  ({refused.sum()} of {len(refused)})")


if __name__ == "__main__":
    main()
