"""The predictor against evaluation's own functions, against preparation, and its promises."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import quick_model
import torch
from PIL import Image
from predicting import count_calls, head, with_point
from scipy.special import expit, logit

from brainmtl.data.preprocessing.preprocess import load_and_preprocess_image
from brainmtl.data.samples import read_sample
from brainmtl.errors import ConfigError
from brainmtl.evaluation.predict import forward
from brainmtl.inference.gradcam import layercam
from brainmtl.inference.images import read_job
from brainmtl.inference.operating import calibration
from brainmtl.inference.operating.operating_point import OperatingPoint
from brainmtl.inference.operating.postprocess import PostprocessOptions
from brainmtl.inference.predictor import MultiTaskPredictor
from brainmtl.inference.results import Failure, ImageResult

HOT = calibration.TEMPERATURE_RANGE[1]  # takes P close to 0.5


def test_the_network_sees_what_prepare_stored(phantom_dir: Path, raw_dir: Path) -> None:
    """Bit for bit, for every photograph of the phantom."""
    rows = quick_model.rows_of(phantom_dir, "train", "phantom_kaggle")
    files = {path.stem: path for path in raw_dir.glob("kaggle/*/*") if path.is_file()}
    compared = 0
    for row in rows.itertuples():
        path = next(files[name] for name in files if str(row.case_id).endswith(name))
        stored = read_sample(phantom_dir / row.path)
        for image in (path, path.read_bytes(), Image.open(path)):
            job = read_job(image, OperatingPoint.default())
            assert np.array_equal(job.prepared.image, stored.image)
            assert job.prepared.image.dtype == stored.image.dtype
            assert job.prepared.geometry.crop == stored.geometry.crop
        compared += 1
    assert compared == len(rows) > 10


def test_answers_are_those_of_evaluation(predictor: MultiTaskPredictor, photos: list[Path]) -> None:
    """P, mask and heat by the functions of evaluation on the whole model, image by image."""
    model, point = predictor._served.network.model, predictor.info.operating_point
    labels = set()
    for path in photos:
        found = predictor.predict_image(path, include_gradcam=True, seg_gate=0.0)
        prepared = load_and_preprocess_image(path)
        image = torch.from_numpy(prepared.image)[None]
        probability, pixels = forward(model, image)
        assert found.raw_probability == pytest.approx(float(probability[0]), abs=1e-6)
        calibrated = float(calibration.apply(probability, point.temperature)[0])
        assert found.probability == pytest.approx(calibrated, abs=1e-6)
        assert found.label == ("tumour" if calibrated >= 0.5 else "no tumour")
        mask = prepared.geometry.mask_to_plane(pixels[0] >= point.seg_threshold)
        height, width = Image.open(path).height, Image.open(path).width
        assert found.segmentation.mask.shape == (height, width) == found.original_size
        np.testing.assert_array_equal(found.segmentation.mask, mask)
        assert found.segmentation.mask.dtype == np.uint8
        assert found.segmentation.area_px == mask.sum()
        assert found.segmentation.area_mm2 is None, "a photograph states no spacing"
        heat = prepared.geometry.to_plane(layercam(model, image)[0].numpy())
        np.testing.assert_allclose(found.gradcam, heat, atol=1e-5)
        assert found.gradcam.shape == (height, width) and found.gradcam.dtype == np.float32
        assert found.band["low"] <= found.probability <= found.band["high"]
        labels.add(found.label)
    assert labels == {"tumour", "no tumour"}, "else half of the rules was not tried"


def test_one_encoder_pass_and_a_decoder_only_above_the_gate(
    own: MultiTaskPredictor, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    p = {path: own.predict_image(path).probability for path in photos}
    gate = float(np.median(list(p.values())))
    above = [path for path in photos if p[path] >= gate]
    below = [path for path in photos if p[path] < gate]
    calls = count_calls(own, monkeypatch)
    options = {
        "seg_gate": gate,
        "cls_threshold": min(max(gate, 0.5), 0.99),
        "include_gradcam": True,
    }
    found = own.predict_image(below[0], **options)
    assert calls == {"encoder calls": 1, "encoder images": 1, "head calls": 2, "head images": 2}
    assert not found.segmentation.performed and found.segmentation.mask is None
    assert "below the gate" in found.segmentation.reason and found.gradcam is not None
    calls.clear()
    found = own.predict_image(above[0], **options)
    assert calls["encoder calls"] == calls["decoder calls"] == 1
    assert found.segmentation.performed and found.segmentation.mask is not None
    calls.clear()
    text = np.tile(np.arange(64) % 2 * 255.0, (64, 1))
    batch = [*photos[-10:], b"no picture", text]
    results = own.predict_batch(batch, **options)
    assert calls["encoder calls"] == calls["decoder calls"] == 1
    assert calls["encoder images"] == 11, "what cannot be read costs nothing"
    assert 0 < calls["decoder images"] == sum(path in above for path in photos[-10:]) < 10
    performed = [r.segmentation.performed for r in results if isinstance(r, ImageResult)]
    assert performed == [path in above for path in photos[-10:]] + [False]


def test_the_gate_looks_at_calibrated_p(
    predictor: MultiTaskPredictor, model_dir: Path, photos: list[Path]
) -> None:
    """T moves P across a gate that lies between, raw P stays where it is."""
    sure = with_point(predictor, model_dir, temperature=1.0)
    low = min(photos, key=lambda path: sure.predict_image(path).probability)
    raw = sure.predict_image(low).raw_probability
    assert raw < 0.5
    flattened = float(expit(logit(raw) / HOT))
    gate = (raw + flattened) / 2
    plain = with_point(predictor, model_dir, temperature=1.0, seg_gate=gate)
    hot = with_point(predictor, model_dir, temperature=HOT, seg_gate=gate)
    before, after = plain.predict_image(low), hot.predict_image(low)
    assert before.raw_probability == after.raw_probability == raw
    assert after.probability == pytest.approx(flattened, abs=1e-5)
    assert before.probability < gate <= after.probability
    assert (before.segmentation.performed, after.segmentation.performed) == (False, True)
    assert after.label == "no tumour" and after.thresholds["temperature"] == HOT


def test_thresholds_of_a_call(predictor: MultiTaskPredictor, photos: list[Path]) -> None:
    found = predictor.predict_image(photos[0], seg_gate=0.0, cls_threshold=1e-9)
    assert found.label == "tumour" and found.segmentation.performed
    assert found.thresholds == {"cls": 1e-9, "seg_gate": 0.0, "seg_pixel": 0.5, "temperature": 1.25}
    assert predictor.predict_image(photos[0]).thresholds["cls"] == 0.5, "a call changes nothing"
    for options in (
        {"seg_gate": 0.6, "cls_threshold": 0.5},
        {"seg_gate": 0.6},
        {"cls_threshold": 0.2},
        {"seg_gate": -0.1},
        {"seg_gate": float("nan")},
        {"cls_threshold": 1.5},
    ):
        for call in (
            lambda o=options: predictor.predict_image(photos[0], **o),
            lambda o=options: predictor.predict_batch([], **o),
            lambda o=options: predictor.predict_volume("none.nii", **o),
        ):
            with pytest.raises(ConfigError):
                call()


def test_a_batch_says_what_single_calls_say(
    predictor: MultiTaskPredictor, photos: list[Path]
) -> None:
    """Also where it is longer than what the network takes at once, with failures in between."""
    broken = photos[0].read_bytes()[:300]
    batch = [broken, *photos, *photos[::-1], "nowhere.png", *photos[:3]]
    results = predictor.predict_batch(batch, include_gradcam=True)
    assert len(results) == len(batch) > 16
    assert isinstance(results[0], Failure) and results[0].reason == "truncated"
    assert results[0].name is None
    missing = results[batch.index("nowhere.png")]
    assert isinstance(missing, Failure) and missing.name == "nowhere.png"
    for image, result in zip(batch, results, strict=True):
        if isinstance(result, Failure):
            continue
        single = predictor.predict_image(image, include_gradcam=True)
        assert result.probability == pytest.approx(single.probability, abs=1e-5)
        assert result.input_sha256 == single.input_sha256
        assert result.segmentation.performed == single.segmentation.performed
        np.testing.assert_allclose(result.gradcam, single.gradcam, atol=1e-3)
        if single.segmentation.performed:
            assert (result.segmentation.mask != single.segmentation.mask).mean() < 1e-3
    assert predictor.predict_batch([]) == []


def test_threads_get_the_answers_of_one_thread(
    predictor: MultiTaskPredictor, photos: list[Path]
) -> None:
    def ask(path: Path) -> ImageResult:
        return predictor.predict_image(path, include_gradcam=True, seg_gate=0.0)

    expected = [ask(path) for path in photos]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, photos * 3))
    for one, other in zip(found, expected * 3, strict=True):
        assert one.probability == other.probability
        np.testing.assert_array_equal(one.segmentation.mask, other.segmentation.mask)
        np.testing.assert_array_equal(one.gradcam, other.gradcam)


def test_the_model_stays_frozen(predictor: MultiTaskPredictor, photos: list[Path]) -> None:
    model = predictor._served.network.model
    before = {key: value.clone() for key, value in model.state_dict().items()}
    predictor.predict_batch(photos, include_gradcam=True, seg_gate=0.0)
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert not any(module.training for module in model.modules())
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_mirror_images_run_in_the_same_pass(
    predictor: MultiTaskPredictor,
    model_dir: Path,
    photos: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flipping = with_point(predictor, model_dir, tta="flip", seg_threshold=0.3)
    calls = count_calls(flipping, monkeypatch)
    found = flipping.predict_image(photos[0], seg_gate=0.0, include_gradcam=True)
    assert calls["encoder calls"] == 1 and calls["encoder images"] == 2
    assert calls["decoder calls"] == 1 and calls["decoder images"] == 2
    prepared = load_and_preprocess_image(photos[0])
    image = torch.from_numpy(prepared.image)[None]
    model = predictor._served.network.model
    plain, mirrored = forward(model, image), forward(model, image.flip(-1))
    assert found.raw_probability == pytest.approx(float((plain[0] + mirrored[0])[0] / 2), abs=1e-6)
    pixels = (plain[1] + mirrored[1][..., ::-1])[0] / 2
    wanted = prepared.geometry.mask_to_plane(pixels >= 0.3)
    assert (found.segmentation.mask != wanted).mean() < 1e-4
    single = predictor.predict_image(photos[0], include_gradcam=True)
    np.testing.assert_allclose(found.gradcam, single.gradcam, atol=1e-4)
    assert found.ood_score == pytest.approx(single.ood_score, rel=1e-4)


def test_masks_are_cleaned_as_the_operating_point_says(
    predictor: MultiTaskPredictor, model_dir: Path, photos: list[Path]
) -> None:
    cleaning = PostprocessOptions(min_component_pixels=256 * 256)
    cleaner = with_point(predictor, model_dir, postprocess=cleaning)
    path = max(photos, key=lambda p: predictor.predict_image(p, seg_gate=0).segmentation.area_px)
    assert predictor.predict_image(path, seg_gate=0).segmentation.area_px > 0
    found = cleaner.predict_image(path, seg_gate=0.0, cls_threshold=1e-9)
    assert found.segmentation.area_px == 0 and found.segmentation.performed
    assert "The picture is called tumour, but the mask is empty." in found.warnings


def test_timings_and_hash(predictor: MultiTaskPredictor, photos: list[Path]) -> None:
    from brainmtl.files import sha256

    found = predictor.predict_image(photos[0], include_gradcam=True, seg_gate=0.0)
    steps = ("decode", "preprocess", "encoder", "decoder", "postprocess", "gradcam")
    assert set(found.timings_ms) == {*steps, "total"}
    assert all(found.timings_ms[step] > 0 for step in steps)
    assert found.timings_ms["total"] == pytest.approx(sum(found.timings_ms[s] for s in steps))
    assert found.input_sha256 == sha256(photos[0])
    idle = predictor.predict_image(np.full((64, 64), 3.0))
    assert idle.timings_ms["encoder"] == 0


def test_turned_photographs_are_answered_upright(predictor: MultiTaskPredictor) -> None:
    plane = head()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    stream = BytesIO()
    Image.fromarray(np.rot90(plane)).save(stream, "PNG", exif=exif)
    turned = predictor.predict_image(stream.getvalue(), seg_gate=0.0)
    upright = predictor.predict_image(plane, seg_gate=0.0)
    assert turned.original_size == upright.original_size == plane.shape
    assert turned.abstained == upright.abstained and turned.ood_score == upright.ood_score


def test_bf16_moves_the_third_digit(
    predictor: MultiTaskPredictor, model_dir: Path, photos: list[Path]
) -> None:
    half = MultiTaskPredictor.from_folder(model_dir, device="cpu", precision="bf16")
    for path in photos[:3]:
        exact, rough = predictor.predict_image(path), half.predict_image(path)
        assert rough.raw_probability == pytest.approx(exact.raw_probability, abs=0.05)
    with pytest.raises(ConfigError, match="precision=8"):
        MultiTaskPredictor.from_folder(model_dir, precision="8")


def test_info(predictor: MultiTaskPredictor, model_dir: Path) -> None:
    info = predictor.info
    assert info.synthetic_training and info.has_ood_check and info.folder == model_dir
    assert info.training_sources == ("phantom_brats", "phantom_kaggle")
    assert isinstance(info.operating_point, OperatingPoint) and info.operating_point.fitted
    assert len(info.weights_sha256) == 64 and info.card["medical_device"] is False


def test_importing_the_package_is_cheap() -> None:
    import subprocess
    import sys

    script = "import sys, brainmtl.inference; print('torch' in sys.modules); "
    script += (
        "from brainmtl.inference import MultiTaskPredictor; print(MultiTaskPredictor.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "MultiTaskPredictor"]
