"""What the check for unlike images refuses: pictures that are no MRI, and hardly any head."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import quick_model
from not_mri import pictures
from PIL import Image

from brainmtl.config import PROJECT_ROOT
from brainmtl.data.samples import read_sample
from brainmtl.inference.predictor import MultiTaskPredictor


def test_pictures_that_are_no_mri_are_refused(built_in: MultiTaskPredictor) -> None:
    """All but a few of 30; the share says what this check is worth, and what it is not."""
    drawn = pictures()
    results = dict(zip(drawn, built_in.predict_batch(list(drawn.values())), strict=True))
    passed = [name for name, result in results.items() if not result.abstained]
    assert len(passed) <= 0.1 * len(drawn), passed
    for result in results.values():
        if result.abstained:
            assert result.reason and result.reason_code in ("out_of_distribution", "no_head")
            assert result.label is None and result.probability is None and result.band is None
            assert result.segmentation.mask is None and not result.segmentation.performed
    unlike = [r for r in results.values() if r.reason_code == "out_of_distribution"]
    assert unlike and all(r.ood_score > r.ood_threshold for r in unlike)


def test_hardly_any_image_of_the_test_split_is_refused(
    built_in: MultiTaskPredictor, phantom_dir: Path
) -> None:
    rows = quick_model.rows_of(phantom_dir, "test")
    network, detector = built_in._served.network, built_in._served.ood
    images = np.stack([read_sample(phantom_dir / path).image for path in rows["path"]])
    scores = [
        detector.score(network.encode(images[k : k + 16]).pooled) for k in range(0, len(images), 16)
    ]
    refused = np.concatenate(scores) > detector.threshold
    assert refused.mean() <= 0.05, f"{refused.sum()} of {len(refused)}"


@pytest.mark.parametrize("size", [(200, 160), (140, 112), (100, 80)])
def test_blurred_and_stretched_pictures_are_answered(
    built_in: MultiTaskPredictor, phantom_dir: Path, size: tuple[int, int]
) -> None:
    """As sets of pictures are often saved. Fitted on the images as they are alone, it refuses one of 10."""
    rows = quick_model.rows_of(phantom_dir, "test", "phantom_kaggle")
    planes = [read_sample(phantom_dir / path).image[0] for path in rows["path"]]
    bilinear = Image.Resampling.BILINEAR
    resized = [Image.fromarray(_grey(plane)).resize(size, bilinear) for plane in planes]
    results = built_in.predict_batch(resized)
    assert len(results) >= 10
    assert not [r.reason for r in results if r.reason_code == "out_of_distribution"]


def _grey(plane: np.ndarray) -> np.ndarray:
    low, high = plane.min(), np.quantile(plane, 0.995)
    return (np.clip((plane - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def test_the_benchmark_counts_what_is_refused(
    checkpoint: Path, phantom_dir: Path, raw_dir: Path, tmp_path: Path
) -> None:
    """Noise always, pictures of heads hardly ever, whatever was done to them."""
    for name, picture in pictures().items():
        if name.startswith("text"):
            Image.fromarray(picture).save(tmp_path / f"{name}.png")
    command = (
        f"-m benchmarks.unlike_images {checkpoint} {phantom_dir} --pictures {raw_dir / 'kaggle'}"
    )
    options = ["--strangers", str(tmp_path), "--unseen", "phantom_kaggle"]
    done = subprocess.run(
        [sys.executable, *command.split(), *options],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    shares = {line[:32].strip(): float(line[32:38]) for line in lines if line.endswith(")")}
    assert shares["noise"] == 1 and shares["photographs (crops)"] > 0.8
    heads = ["phantom_brats", "phantom_kaggle", "phantom_kaggle (not trained on)", "at 224x224"]
    assert all(shares[name] <= 0.1 for name in [*heads, "at 224x224, JPEG", "at 128x128"])
