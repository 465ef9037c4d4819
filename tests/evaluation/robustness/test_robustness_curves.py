"""Lines against the model asked directly, figures against scikit-learn, and the section as a whole."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from prepared import brats_slices, kaggle_images, write_prepared
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from textured_heads import DRAW_SEED

from brainmtl.data.samples import read_sample
from brainmtl.errors import ConfigError, DataError
from brainmtl.evaluation.robustness import robustness, robustness_section
from brainmtl.evaluation.robustness.corruptions import CORRUPTIONS, LEVELS, corrupt, image_seed
from brainmtl.evaluation.robustness.curves import level_figures
from brainmtl.evaluation.robustness.metamorphic import CHECKS
from brainmtl.evaluation.robustness.observe import CLEAN, Predictor, observe
from brainmtl.models.multitask import MultiTaskOutput

Observed = tuple[pd.DataFrame, list[dict[str, Any]]]
Small = tuple[Path, pd.DataFrame]
POINT = {"temperature": 1.7, "threshold": 0.4, "seg_threshold": 0.5}


def ask(predictor: Predictor, image: np.ndarray) -> tuple[float, np.ndarray]:
    """Calibrated P and mask (H, W) of one image, from the logits."""
    with torch.inference_mode():
        output = predictor.model(torch.from_numpy(image[None]))
    low, high = output.cls[0].double().tolist()
    calibrated = 1 / (1 + math.exp((low - high) / predictor.temperature))
    return calibrated, (output.seg[0, 0] >= 0).numpy()  # seg_threshold 0.5


def test_every_image_is_seen_once_under_every_condition(observed: Observed) -> None:
    chosen, lines = observed
    found = Counter((line["image_id"], line["condition"], line["level"]) for line in lines)
    conditions = [(CLEAN, 0), *((name, 0) for name in CHECKS)]
    conditions += [(name, level) for name in CORRUPTIONS for level in range(1, LEVELS + 1)]
    assert found == {
        (image_id, *condition): 1 for image_id in chosen["image_id"] for condition in conditions
    }
    assert {line["source"] for line in lines} == {"brats", "kaggle"}
    assert {line["flipped"] for line in lines} == {True, False}, "the tests below need both"
    assert not any(isinstance(value, bool) for line in lines for value in line.values()), "0, 1"


@pytest.mark.parametrize(
    ("condition", "level"), [(CLEAN, 0), ("noise", 4), ("rotation", 5), ("jpeg", 1), ("blur", 5)]
)
def test_lines_are_what_the_model_says(
    small: Small, predictor: Predictor, observed: Observed, condition: str, level: int
) -> None:
    chosen, lines = observed
    threshold = predictor.threshold
    own = {
        line["image_id"]: line
        for line in lines
        if (line["condition"], line["level"]) == (condition, level)
    }
    for row in chosen.itertuples():
        sample = read_sample(small[0] / row.path)
        image, mask = sample.image, sample.mask
        if condition != CLEAN:
            seed = image_seed(DRAW_SEED, row.image_id, condition)
            image, mask = corrupt(image, mask, condition, level, seed)
        before, _ = ask(predictor, sample.image)
        calibrated, predicted = ask(predictor, image)
        line = own[row.image_id]
        assert line["calibrated"] == pytest.approx(calibrated, abs=1e-5)
        assert line["call"] == (line["calibrated"] >= threshold)
        assert line["change"] == pytest.approx(abs(calibrated - before), abs=1e-5)
        assert line["flipped"] == ((calibrated >= threshold) != (before >= threshold))
        assert (line["cls"], line["group"]) == (row.label, row.group)
        if mask is None or not mask.any():
            assert line["dice"] is None
        else:
            both = 2 * (predicted & (mask > 0)).sum() / (predicted.sum() + mask.sum())
            assert line["dice"] == pytest.approx(both, abs=1e-3)


def random_lines(rng: np.random.Generator, n: int, labels: tuple[int, ...]) -> list[dict[str, Any]]:
    calibrated = np.round(rng.random(n), 1)  # with ties
    return [
        {
            "cls": int(rng.choice(labels)),
            "calibrated": float(p),
            "call": int(p >= 0.4),
            "dice": float(rng.random()) if rng.random() < 0.6 else None,
            "change": float(rng.random()),
            "flipped": bool(rng.random() < 0.3),
        }
        for p in calibrated
    ]


@pytest.mark.parametrize("seed", range(5))
def test_level_figures_agree_with_scikit_learn(seed: int) -> None:
    lines = random_lines(np.random.default_rng(seed), 60, (-1, 0, 1))
    found = level_figures(lines)
    labelled = pd.DataFrame([line for line in lines if line["cls"] >= 0])
    every = pd.DataFrame(lines)
    assert found["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(labelled["cls"], labelled["call"])
    )
    assert found["roc_auc"] == pytest.approx(roc_auc_score(labelled["cls"], labelled["calibrated"]))
    assert found["dice"] == pytest.approx(every["dice"].mean())
    assert (found["n"], found["n_labelled"]) == (60, len(labelled))
    assert found["n_dice"] == every["dice"].notna().sum()
    assert found["probability_change"] == pytest.approx(every["change"].mean())
    assert found["flipped"]["counts"] == [every["flipped"].sum(), 60]
    for label, name in ((1, "sensitivity"), (0, "specificity")):
        right, all_ = found[name]["counts"]
        assert all_ == (labelled["cls"] == label).sum()
        assert found[name]["rate"] == pytest.approx(right / all_)


@pytest.mark.parametrize(("labels", "defined"), [((1,), "sensitivity"), ((0,), "specificity")])
def test_one_class_leaves_balanced_accuracy_undefined(labels: tuple[int], defined: str) -> None:
    found = level_figures(random_lines(np.random.default_rng(0), 9, labels))
    assert found["balanced_accuracy"] is None and found["roc_auc"] is None
    other = ({"sensitivity", "specificity"} - {defined}).pop()
    assert found[other] == {"rate": None, "counts": [0, 0]}
    assert found[defined]["counts"][1] == 9


def test_neither_labels_nor_masks_leave_changes_and_flips() -> None:
    lines = random_lines(np.random.default_rng(0), 4, (-1,))
    found = level_figures([line | {"dice": None} for line in lines])
    assert found["dice"] is None and found["balanced_accuracy"] is None
    assert (found["n_dice"], found["n_labelled"], found["n"]) == (0, 0, 4)
    assert found["probability_change"] > 0


def test_section_is_plain_json_and_the_seed_decides(small: Small, predictor: Predictor) -> None:
    folder, frame = small
    sections = [
        robustness(
            predictor.model, folder, frame, **POINT, limit=4, seed=2, batch_size=4, progress=False
        )
        for _ in range(2)
    ]
    assert sections[0] == sections[1]
    assert json.loads(json.dumps(sections[0], allow_nan=False)) == sections[0]
    brats, kaggle = sections[0]["sources"]["brats"], sections[0]["sources"]["kaggle"]
    assert (brats["n_images"], kaggle["n_images"]) == (4, 4)
    assert brats["clean"]["n_dice"] == 2 and kaggle["clean"]["n_dice"] == 0
    assert kaggle["clean"]["dice"] is None
    for source in (brats, kaggle):
        assert source["clean"]["flipped"]["counts"] == [0, 4]
        assert list(source["corruptions"]) == list(CORRUPTIONS)
        assert all(len(levels) == LEVELS for levels in source["corruptions"].values())
        assert {check["n"] for check in source["metamorphic"].values()} == {4}
        for level in source["corruptions"]["intensity_scale"]:
            assert level["probability_change"] < 1e-2
            assert level["dice"] == pytest.approx(source["clean"]["dice"], abs=0.02)
    # Noise of 0.8 SD on a head that is itself noise must show somewhere.
    assert brats["corruptions"]["noise"][4]["probability_change"] > 0


def test_lines_of_several_models_keep_their_own_calls(observed: Observed) -> None:
    _, lines = observed
    never = [line | {"call": 0, "image_id": f"other_{line['image_id']}"} for line in lines]
    pooled = robustness_section([*lines, *never], {})["sources"]["brats"]
    alone = robustness_section(lines, {})["sources"]["brats"]
    hits, tumours = alone["clean"]["sensitivity"]["counts"]
    assert pooled["clean"]["sensitivity"]["counts"] == [hits, 2 * tumours]
    assert pooled["n_images"] == 2 * alone["n_images"]
    assert pooled["clean"]["dice"] == pytest.approx(alone["clean"]["dice"])


def test_sources_of_one_class_and_few_images(tmp_path: Path, predictor: Predictor) -> None:
    healthy = [spec | {"label": 0} for spec in kaggle_images("test", 3)]
    frame = write_prepared(tmp_path, [*brats_slices("b0", "test", 2), *healthy])
    section = robustness(predictor.model, tmp_path, frame, **POINT, progress=False)
    brats, kaggle = section["sources"]["brats"], section["sources"]["kaggle"]
    assert (brats["n_images"], brats["n_groups"]) == (2, 1)
    assert (kaggle["n_images"], kaggle["n_groups"]) == (3, 3)
    assert brats["clean"]["n_dice"] == 2  # both slices show tumour
    assert brats["clean"]["balanced_accuracy"] is kaggle["clean"]["balanced_accuracy"] is None


class Pointwise(torch.nn.Module):
    """A network of known behaviour: a pixel is tumour by its own value, P by the mean of them."""

    def __init__(self, bias: float = -1.0) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 1, 1)
        torch.nn.init.constant_(self.layer.weight, 2.0)
        torch.nn.init.constant_(self.layer.bias, bias)

    def forward(self, images: torch.Tensor) -> MultiTaskOutput:
        seg = self.layer(images)
        high = seg.sigmoid().mean(dim=(1, 2, 3)) * 20 - 5
        return MultiTaskOutput(seg=seg, cls=torch.stack([torch.zeros_like(high), high], dim=1))


def test_a_network_that_sees_single_pixels_passes_every_check(small: Small) -> None:
    folder, frame = small
    found = robustness(Pointwise(), folder, frame, **POINT, limit=6, progress=False)
    for source in found["sources"].values():
        for name, check in source["metamorphic"].items():
            # A shift loses some pixels at the border, and they count in this network's mean.
            assert check["probability_change"]["max"] < (2e-2 if name == "translation" else 2e-3)
            assert check["mask_dice"]["min"] > 0.99, name
            assert check["flipped"]["counts"][0] == 0


def test_options_that_cannot_work_are_refused(small: Small, predictor: Predictor) -> None:
    folder, frame = small
    model = predictor.model
    for changed, message in (
        ({"temperature": 0.0}, "temperature=0.0 must be a number above 0"),
        ({"temperature": math.nan}, "temperature=nan must be"),
        ({"threshold": math.inf}, "threshold=inf must be"),
        ({"seg_threshold": 1.0}, r"seg_threshold=1.0 must lie between 0 and 1"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"precision": "16"}, "precision=16 is unknown"),
        ({"limit": 0}, "limit=0 must be at least 2"),
    ):
        with pytest.raises(ConfigError, match=message):
            robustness(model, folder, frame, progress=False, **POINT | changed)
    with pytest.raises(ConfigError, match="the frame has no rows"):
        robustness(model, folder, frame.iloc[:0], progress=False, **POINT)


def test_outputs_and_samples_that_cannot_be_used_are_named(tmp_path: Path, small: Small) -> None:
    folder, frame = small
    with pytest.raises(DataError, match="output is NaN or infinite"):
        robustness(Pointwise(math.nan), folder, frame, **POINT, limit=2, progress=False)
    with pytest.raises(DataError, match=r"\.npz is missing"):
        robustness(Pointwise(), tmp_path, frame, **POINT, limit=2, progress=False)


def test_batches_do_not_matter(small: Small, predictor: Predictor, observed: Observed) -> None:
    chosen, lines = observed
    whole = observe(predictor, small[0], chosen, seed=DRAW_SEED, batch_size=64, progress=False)
    by_key = {(line["image_id"], line["condition"], line["level"]): line for line in whole}
    for line in lines:
        other = by_key[line["image_id"], line["condition"], line["level"]]
        assert line["calibrated"] == pytest.approx(other["calibrated"], abs=1e-5)
