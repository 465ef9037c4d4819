"""Volumes against preparation and evaluation, on whatever grid their file has."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import quick_model
from volume_inputs import save

from brainmtl.data.preparation.cases import prepare_slices
from brainmtl.data.samples import read_sample
from brainmtl.data.sources.nifti import oriented_case, read_nifti
from brainmtl.evaluation.cases import original_mask, score_case
from brainmtl.evaluation.predict import Prediction, predict_split
from brainmtl.inference.model_folder import read_model_folder
from brainmtl.inference.operating.operating_point import OperatingPoint
from brainmtl.inference.operating.postprocess import PostprocessOptions, clean_volume
from brainmtl.inference.predictor import MultiTaskPredictor


@pytest.fixture(scope="module")
def case_id(phantom_dir: Path) -> str:
    """The case of the test split with most tumour."""
    rows = quick_model.rows_of(phantom_dir, "test", "phantom_brats")
    sizes = rows.groupby(rows["case_id"].astype(str))["tumour_pixels"].sum()
    assert sizes.max() > 1000
    return str(sizes.idxmax())


@pytest.fixture(scope="module")
def nifti(raw_dir: Path, case_id: str) -> Path:
    return next(raw_dir.glob(f"brats/{case_id}/*flair*"))


@pytest.fixture(scope="module")
def slices(predictor: MultiTaskPredictor, phantom_dir: Path, case_id: str) -> list[Prediction]:
    """What evaluation makes of the same case, from the prepared samples."""
    rows = quick_model.rows_of(phantom_dir, "test", "phantom_brats")
    rows = rows[rows["case_id"].astype(str) == case_id].sort_values("position")
    model, point = predictor.network.model, predictor.info.operating_point
    return list(predict_split(model, phantom_dir, rows, 16, point=point, progress=False))


def with_point(model_dir: Path, **changes: object) -> MultiTaskPredictor:
    contents = read_model_folder(model_dir)
    return MultiTaskPredictor(
        replace(contents, operating_point=replace(contents.operating_point, **changes))
    )


def test_slices_are_bit_for_bit_those_of_preparation(
    nifti: Path, case_id: str, phantom_dir: Path
) -> None:
    rows = quick_model.rows_of(phantom_dir, "test", "phantom_brats")
    rows = rows[rows["case_id"].astype(str) == case_id]
    stored = {int(row.position): read_sample(phantom_dir / row.path) for row in rows.itertuples()}
    slices, _ = prepare_slices(oriented_case([read_nifti(nifti)], None))
    prepared = {one.position: one.prepared for one in slices}
    assert set(prepared) <= set(stored) and len(prepared) >= 10
    for position, one in prepared.items():
        np.testing.assert_array_equal(one.image, stored[position].image)
        assert one.geometry == stored[position].geometry


@pytest.mark.parametrize(
    ("cleaning", "changes"),
    [
        (PostprocessOptions(), {}),
        (PostprocessOptions(min_component_pixels=30, fill_holes=True), {}),
        (PostprocessOptions(min_component_ml=1.0), {}),
        (PostprocessOptions(fill_holes=True, min_component_ml=40.0), {}),
        (PostprocessOptions(), {"tta": "flip", "seg_threshold": 0.3}),
    ],
    ids=["plain", "slices", "volume", "both", "flip"],
)
def test_mask_and_verdict_are_those_of_evaluation(
    model_dir: Path,
    nifti: Path,
    slices: list[Prediction],
    phantom_dir: Path,
    cleaning: PostprocessOptions,
    changes: dict[str, object],
) -> None:
    limit = 0.002
    served = with_point(model_dir, postprocess=cleaning, limit_ml=limit, **changes)
    point = served.info.operating_point
    rows = [one.row for one in slices]
    model = served._served.network.model
    own = list(
        predict_split(model, phantom_dir, pd.DataFrame(rows), 16, point=point, progress=False)
    )
    gate = float(np.median([one.calibrated for one in own]))
    found = served.predict_volume(nifti, seg_gate=gate, cls_threshold=max(gate, 0.5))
    used = {one.index for one in found.slices}
    own = [one for one in own if int(one.row.position) in used]
    voxel_ml = float(abs(np.linalg.det(found.affine[:3, :3]))) / 1000
    mask = original_mask(own)
    if cleaning.min_component_ml:
        mask = clean_volume(mask, cleaning, voxel_ml).astype(np.uint8)
    rule = replace(point, seg_gate=gate, threshold=max(gate, 0.5))
    expected = score_case(own, mask, phantom_dir, rule)
    assert expected is not None and len(own) == len(found.slices) > 10
    for ours, theirs in zip(found.slices, own, strict=True):
        assert ours.index == theirs.row.position
        assert ours.probability == pytest.approx(theirs.calibrated, abs=1e-5)
    display = own[0].geometry.volume.orient(mask).copy()
    for one in own:
        if one.calibrated < gate:
            display[:, :, one.geometry.slice_index] = 0
    np.testing.assert_array_equal(found.mask, own[0].geometry.volume.restore(display))
    assert found.mask.sum() == expected["gated_predicted_voxels"] > 0
    assert found.label == ("tumour" if expected["patient_call"] else "no tumour")
    assert found.volume_ml == pytest.approx(found.mask.sum() * voxel_ml)
    assert found.probability == max(one.probability for one in found.slices)
    segmented = [one for one in found.slices if one.segmented]
    assert 0 < len(segmented) < len(found.slices)
    assert sum(one.area_px for one in segmented) == found.mask.sum()
    assert all(one.area_px is None for one in found.slices if not one.segmented)


def test_the_mask_lies_on_the_grid_of_the_file(
    predictor: MultiTaskPredictor, nifti: Path, tmp_path: Path
) -> None:
    """The same volume stored in other orders of axes: the same mask in the same place."""
    original = nib.load(nifti)
    expected = predictor.predict_volume(nifti, seg_gate=0.0)
    assert expected.mask.shape == original.shape and expected.mask.any()
    np.testing.assert_allclose(expected.affine, original.affine)
    for order, flips in (
        ((0, 1, 2), (-1, 1, 1)),
        ((2, 0, 1), (1, -1, -1)),
        ((1, 2, 0), (1, 1, -1)),
    ):
        orientation = np.array([(axis, flip) for axis, flip in zip(order, flips, strict=True)])
        path = tmp_path / f"{order}.nii"
        nib.save(original.as_reoriented(orientation), path)
        found = predictor.predict_volume(path, seg_gate=0.0)
        back = nib.as_closest_canonical(nib.Nifti1Image(found.mask, found.affine))
        wanted = nib.as_closest_canonical(nib.Nifti1Image(expected.mask, expected.affine))
        np.testing.assert_array_equal(np.asarray(back.dataobj), np.asarray(wanted.dataobj))
        np.testing.assert_allclose(back.affine, wanted.affine, atol=1e-4)
        assert [s.probability for s in found.slices] == [s.probability for s in expected.slices]


def test_the_decoder_runs_on_slices_above_the_gate(
    model_dir: Path, nifti: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = with_point(model_dir)
    decoded: list[int] = []
    decoder = own._served.network.model.decoder
    original = decoder.forward

    def counting(features: list) -> object:
        decoded.append(len(features[-1]))
        return original(features)

    monkeypatch.setattr(decoder, "forward", counting)
    gate = float(np.median([one.probability for one in own.predict_volume(nifti).slices]))
    decoded.clear()
    found = own.predict_volume(nifti, seg_gate=gate, cls_threshold=max(gate, 0.5))
    assert 0 < sum(decoded) == sum(one.segmented for one in found.slices) < len(found.slices)


def test_a_limit_decides_about_the_patient(model_dir: Path, nifti: Path) -> None:
    assert with_point(model_dir).predict_volume(nifti).label == "tumour"
    strict = with_point(model_dir, limit_ml=1e6).predict_volume(nifti)
    assert strict.label == "no tumour" and strict.volume_ml > 0
    assert any("does not exceed the limit" in text for text in strict.warnings)


def test_result_is_json(predictor: MultiTaskPredictor, nifti: Path) -> None:
    from brainmtl.files import sha256

    found = predictor.predict_volume(nifti)
    values = json.loads(json.dumps(found.to_json(include_arrays=True), allow_nan=False))
    assert values["input_sha256"] == sha256(nifti) and values["mask_nifti_gz"]
    assert values["slices"][0].keys() == {"index", "probability", "label", "area_px", "segmented"}
    assert 0 <= values["ood_share"] <= 0.5 and values["timings_ms"]["encoder"] > 0


def test_trailing_axes_of_length_one_and_other_types(
    predictor: MultiTaskPredictor, nifti: Path, tmp_path: Path
) -> None:
    original = nib.load(nifti)
    voxels = np.asarray(original.dataobj)
    expected = predictor.predict_volume(nifti)
    for dtype, shape in itertools.product(
        (np.int16, np.float64), (voxels.shape, (*voxels.shape, 1))
    ):
        path = save(tmp_path / "a.nii.gz", voxels.astype(dtype).reshape(shape), original.affine)
        found = predictor.predict_volume(path)
        np.testing.assert_array_equal(found.mask, expected.mask)


def test_unfitted_point_and_ood_are_named(tiny_dir: Path, nifti: Path) -> None:
    tiny = MultiTaskPredictor.from_folder(tiny_dir, device="cpu")
    found = tiny.predict_volume(nifti)
    assert found.ood_share is None and "not fitted" in " ".join(found.warnings)
    assert isinstance(tiny.info.operating_point, OperatingPoint)
