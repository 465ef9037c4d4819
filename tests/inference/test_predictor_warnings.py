"""What the predictor does not judge, refuses or warns of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from predicting import head

from brainmtl.errors import ConfigError
from brainmtl.inference.gradcam import head_mask
from brainmtl.inference.images import HEAT_LIMIT, predict_jobs, read_job
from brainmtl.inference.model_folder import read_model_folder
from brainmtl.inference.predictor import MultiTaskPredictor, _standing_warnings
from brainmtl.inference.results import InputError


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (np.full((80, 80), 9, np.uint8), "blank"),
        (head((60, 400)), "wrong_aspect"),
        (
            np.stack([head(), np.roll(head(), 50, 0), np.roll(head(), 50, 1)], -1),
            "colour_photograph",
        ),
        (np.tile(np.arange(256) // 8 % 2 * 255, (256, 1)), "out_of_distribution"),
        (np.where(np.hypot(*(np.indices((99, 99)) - 49)) < 30, 200, 0), "no_head"),
    ],
    ids=["blank", "strip", "colour", "stripes", "disc without content"],
)
def test_readable_pictures_that_are_no_head_are_not_judged(
    predictor: MultiTaskPredictor, image: np.ndarray, code: str
) -> None:
    found = predictor.predict_image(image, include_gradcam=True, seg_gate=0.0)
    assert found.abstained and found.reason_code == code and len(found.reason) > 20
    nothing = (found.probability, found.raw_probability, found.label, found.band, found.gradcam)
    assert nothing == (None,) * 5 and found.heat_outside_head is None
    assert not found.segmentation.performed and found.segmentation.mask is None
    assert found.original_size == image.shape[:2]
    (batched,) = predictor.predict_batch([image], seg_gate=0.0)
    assert batched.abstained and batched.reason_code == code


def test_unreadable_pictures_are_errors(predictor: MultiTaskPredictor) -> None:
    for image, reason in ((b"GIF89a", "truncated"), (np.zeros((8, 8)), "too_small")):
        with pytest.raises(InputError) as caught:
            predictor.predict_image(image)
        assert caught.value.reason == reason


def test_warnings_that_hold_for_every_answer(
    predictor: MultiTaskPredictor, tiny_dir: Path, photos: list[Path]
) -> None:
    tiny = MultiTaskPredictor.from_folder(tiny_dir, device="cpu")
    bare = " ".join(tiny.predict_image(photos[0]).warnings)
    assert "trained on synthetic images" in bare and "not fitted" in bare
    assert "no check for images that are unlike" in bare
    result = tiny.predict_image(photos[0])
    assert result.ood_score is None and result.ood_threshold is None
    mixed = _standing_warnings(replace(tiny.info, training_sources=("brats", "phantom_brats")))
    assert "Synthetic images were among those that the model was trained on." in mixed
    assert "say nothing of patients" not in " ".join(mixed)
    full = predictor.predict_image(photos[0])
    assert "not fitted" not in " ".join(full.warnings)
    assert 0 < full.ood_score <= full.ood_threshold


def test_a_mask_without_the_label_is_explained(
    predictor: MultiTaskPredictor, photos: list[Path]
) -> None:
    path = max(photos, key=lambda p: predictor.predict_image(p, seg_gate=0).segmentation.area_px)
    found = predictor.predict_image(path, seg_gate=0.0, cls_threshold=1 - 1e-9)
    assert found.label == "no tumour" and found.segmentation.area_px > 0
    assert any("although the picture is not called tumour" in text for text in found.warnings)


@pytest.mark.parametrize("where", ["corner", "everywhere"])
@pytest.mark.parametrize("called", [True, False])
def test_heat_that_tells_nothing_of_the_brain_is_a_warning(
    own: MultiTaskPredictor, photos: list[Path], where: str, called: bool
) -> None:
    network = own._served.network
    heat = np.ones((1, 256, 256), np.float32)
    if where == "corner":
        heat[0, 6:], heat[0, :, 6:] = 0.0, 0.0  # background in a framed head

    class Heated:
        model, runtime = network.model, network.runtime
        encode, decode = staticmethod(network.encode), staticmethod(network.decode)

        @staticmethod
        def gradcam(encoded: object, chosen: object) -> np.ndarray:
            return heat

    served = replace(own._served, network=Heated())
    point = replace(own.info.operating_point, seg_gate=0.0, threshold=1e-6 if called else 1 - 1e-9)
    job = read_job(photos[0], point, include_gradcam=True)
    (found,) = predict_jobs(served, [job])
    outside = 1.0 if where == "corner" else 1 - head_mask(job.prepared.image).mean()
    assert found.heat_outside_head == pytest.approx(outside)
    told = " ".join(found.warnings)
    words = f"{outside:.0%} of the heat map lies outside the head"
    assert (words in told) is bool(called and outside > HEAT_LIMIT)
    assert ("half of its heat is spread over 50% of the head" in told) is (where == "everywhere")


def test_a_model_of_several_sequences_is_refused(model_dir: Path) -> None:
    from brainmtl.models import create_multi_task_model

    contents = replace(read_model_folder(model_dir), model=create_multi_task_model(4, 4, 2).eval())
    with pytest.raises(ConfigError, match="takes 4 sequences"):
        MultiTaskPredictor(contents)
