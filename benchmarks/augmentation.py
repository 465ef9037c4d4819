"""Where augmentation is fastest, and with what: milliseconds per 256x256 sample on one CPU core.

python -m benchmarks.augmentation

Compares the configured augmentations with their parts, with MONAI's affine transform, with the same
affine map on a batch, and with a training step of unet_2m_fast (all per sample).
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from monai.data import set_track_meta
from omegaconf import OmegaConf

from brainmtl.data.augmentation.compose import RandomAffine2d
from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE
from brainmtl.models import create_multi_task_model

CONF = Path(__file__).parents[1] / "conf"
BATCH = 16


def milliseconds(call: Callable[[int], Any], repeats: int = 100) -> float:
    """Mean duration of ``call(k)`` after a warm-up: random ones vary in cost."""
    for k in range(3):
        call(k)
    start = time.perf_counter()
    for k in range(repeats):
        call(k)
    return 1000 * (time.perf_counter() - start) / repeats


def head(size: int = 256) -> dict[str, Any]:
    """A disc of noise on background, with a mask: the cost does not depend on what it shows."""
    rows, columns = np.mgrid[:size, :size] - size / 2
    noise = np.random.default_rng(0).normal(size=(1, size, size))
    image = np.where(np.hypot(rows, columns) < 0.45 * size, noise, BACKGROUND_VALUE)
    mask = np.hypot(rows - 20, columns + 30) < 25
    return {
        "image": torch.from_numpy(image.astype(np.float32)),
        "mask": torch.from_numpy(mask.astype(np.uint8)),
        "source": "brats",  # skull-stripped: what has a skull costs less, since it gets none
    }


def monai_affine(sample: dict[str, torch.Tensor]) -> float:
    from monai.transforms import RandAffined

    transform = RandAffined(
        ["image", "mask"],
        prob=1.0,
        rotate_range=0.26,
        scale_range=(0.1, 0.1),
        shear_range=(0.05, 0.05),
        translate_range=(13, 13),
        mode=["bilinear", "nearest"],
        padding_mode="zeros",
    )
    data = {"image": sample["image"], "mask": sample["mask"][None]}
    return milliseconds(lambda k: transform(dict(data)))


def batch_affine(sample: dict[str, torch.Tensor], affine: RandomAffine2d) -> float:
    """The same map on a batch of 16, as a training loop without workers would apply it."""
    rng = np.random.default_rng(0)
    images = sample["image"].expand(BATCH, -1, -1, -1).contiguous()
    masks = sample["mask"].float().expand(BATCH, 1, -1, -1).contiguous()

    def run(_: int) -> None:
        maps = torch.stack([affine.draw(rng).matrix for _ in range(BATCH)])
        grid = torch.nn.functional.affine_grid(maps, list(images.shape), align_corners=False)
        for planes, mode in ((images, "bilinear"), (images, "nearest"), (masks, "nearest")):
            torch.nn.functional.grid_sample(planes, grid, mode=mode, align_corners=False)

    return milliseconds(run, 10) / BATCH


def intensity(transform: Any, kind: type, planes: np.ndarray) -> float:
    """``transform`` each time, as its class ``kind`` computes it."""
    transform.prob = 1.0
    return milliseconds(lambda _: kind.__call__(transform, planes))


def training_step() -> float:
    model = create_multi_task_model(**_plain("model/unet_2m_fast"))
    images = torch.randn(BATCH, 1, 256, 256)

    def run(_: int) -> None:
        output = model(images)
        (output.seg.mean() + output.cls.mean()).backward()

    return milliseconds(run, 2) / BATCH


def _plain(name: str) -> dict[str, Any]:
    options = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    return {key: value for key, value in options.items() if not key.startswith("_")}


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    warnings.filterwarnings("ignore")
    set_track_meta(False)  # MONAI's tensors with metadata would cost it half as much again
    torch.set_num_threads(1)  # as in a worker process
    sample = head()
    planes = sample["image"].numpy()
    rows: list[tuple[str, float]] = []
    for name in ("none", "light", "strong"):
        augmentation = instantiate(OmegaConf.load(CONF / f"augmentation/{name}.yaml"))
        run = lambda k, a=augmentation: a.set_random_state(seed=k)(sample)  # noqa: E731
        rows.append((f"augmentation={name}", milliseconds(run, 300)))
        for transform in augmentation.intensity.values():
            kind = type(transform)
            rows.append((f"  {kind.__name__}, each time", intensity(transform, kind, planes)))
            library = kind.__mro__[1]
            if library.__name__ == kind.__name__:  # with the same draws
                rows.append(("  ... of MONAI", intensity(transform, library, planes)))
    affine = RandomAffine2d(rotate_degrees=15, scale=0.1, shear=0.05, translate=0.05)
    rng = np.random.default_rng(0)
    own = milliseconds(lambda k: affine.apply(sample["image"], sample["mask"], affine.draw(rng)))
    rows.append(("RandomAffine2d, image + mask, flips", own))
    rows.append(("monai RandAffined, image + mask, no flips", monai_affine(sample)))
    rows.append(("the same map, batch of 16", batch_affine(sample, affine)))
    rows.append(("training step of unet_2m_fast (float32)", training_step()))
    for name, cost in rows:
        print(f"{name:50s} {cost:8.2f} ms")


if __name__ == "__main__":
    main()
