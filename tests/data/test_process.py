"""Raw files of every source through one pipeline into a prepared folder."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from heads import LPS, SHAPE, brain, save_brain, save_head, save_heads
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from PIL import Image
from processing import ALL_TRAIN, run

from brainmtl.data.manifest import read_manifest
from brainmtl.data.npz import arrays_sha256
from brainmtl.data.preparation.cases import CaseOptions
from brainmtl.data.preparation.integrity import METADATA_KEYS, check_folder
from brainmtl.data.preparation.process import process_dataset
from brainmtl.data.preprocessing.preprocess import (
    PREPROCESSING_VERSION,
    frame_volume,
    load_and_preprocess_image,
    prepare_mask,
    preprocess_slice,
)
from brainmtl.data.samples import read_reference, read_sample
from brainmtl.data.sources import make_source
from brainmtl.errors import DataError


def write_lgg(root: Path, case: str = "TCGA_CS_0001_20000101") -> np.ndarray:
    image, labels = brain(5, (48, 60, 6))
    (root / case).mkdir(parents=True)
    for k in range(6):
        plane = np.clip(image[:, :, k] / 4, 0, 255).astype(np.uint8)
        Image.fromarray(np.stack([plane] * 3, axis=-1)).save(root / case / f"{case}_{k + 1}.tif")
        mask = 255 * (labels[:, :, k] > 0).astype(np.uint8)
        Image.fromarray(mask).save(root / case / f"{case}_{k + 1}_mask.tif")
    return labels > 0


def write_table(root: Path) -> None:
    save_brain(root, "v", 6)
    save_head(root / "photo.png", 30)
    mask = np.zeros((90, 80), np.uint8)
    mask[40:55, 30:45] = 1
    Image.fromarray(mask).save(root / "photo_mask.png")
    save_head(root / "healthy.png", 31)
    (root / "mine.csv").write_text(
        "image,mask,label,group\nv/v_flair.nii.gz,v/v_seg.nii.gz,,p1\n"
        "photo.png,photo_mask.png,,p2\nhealthy.png,,0,p3\n"
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All four sources in one folder; raw files in ``raw/<source>``."""
    folder = tmp_path_factory.mktemp("all")
    save_brain(folder / "raw" / "brats", "b0", 0)
    save_brain(folder / "raw" / "brats", "healthy", 1, lesion=0)
    write_lgg(folder / "raw" / "lgg")
    save_heads(folder / "raw" / "kaggle", 4)
    write_table(folder / "raw" / "table")
    for source in ("brats", "lgg", "kaggle", "table"):
        run(source, folder / "raw" / source, folder / "out")
    return folder


def test_unified_format(prepared: Path) -> None:
    frame = read_manifest(prepared / "out")
    assert frame["source"].value_counts().to_dict() == {
        "brats": 20, "lgg": 6, "kaggle": 4, "table": 12
    }  # fmt: skip
    for row in frame.itertuples():
        path = prepared / "out" / row.path
        assert row.path == f"{row.source}/{row.split}/{row.image_id}.npz"
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        assert set(arrays) == {"image", "label", "metadata"} | ({"mask"} if row.has_mask else set())
        assert arrays["image"].dtype == np.float16 and arrays["image"].shape == (1, 256, 256)
        assert np.isfinite(arrays["image"]).all()
        assert arrays["label"].dtype == np.int8 and int(arrays["label"]) == row.label
        if row.has_mask:
            assert arrays["mask"].dtype == np.uint8 and arrays["mask"].shape == (256, 256)
            assert set(np.unique(arrays["mask"])) <= {0, 1}
            assert arrays["mask"].sum() == row.tumour_pixels
        metadata = json.loads(str(arrays["metadata"]))
        assert set(METADATA_KEYS) <= set(metadata)
        assert (metadata["image_id"], metadata["source"]) == (row.image_id, row.source)
        assert metadata["raw_sha256"] == row.raw_sha256 and metadata["synthetic"] is False
        assert metadata["preprocessing_version"] == PREPROCESSING_VERSION
        assert arrays_sha256(arrays) == row.sample_sha256
    assert check_folder(prepared / "out", workers=1, progress=False) == []


def test_spacing_is_known_for_nifti_and_never_invented(prepared: Path) -> None:
    frame = read_manifest(prepared / "out").set_index("image_id")
    geometry = read_sample(prepared / "out" / frame.loc["b0_z004", "path"]).geometry
    # File axes x and y of 1.0 and 1.5 mm: rows of the display run along y.
    assert (geometry.spacing_mm, geometry.slice_spacing_mm) == ((1.5, 1.0), 4.0)
    for source in ("lgg", "kaggle"):
        path = frame[frame["source"] == source]["path"].iloc[0]
        geometry = read_sample(prepared / "out" / path).geometry
        assert geometry.spacing_mm is None and geometry.slice_spacing_mm is None


def test_stored_pictures_equal_what_serving_prepares(prepared: Path) -> None:
    """Training and serving see the same bits."""
    for name in ("yes_h1", "yes_h3", "no_h0"):
        sample = read_sample(prepared / "out" / "kaggle" / "train" / f"{name}.npz")
        raw = prepared / "raw" / "kaggle" / name.replace("_", "/")
        fresh = load_and_preprocess_image(raw.with_suffix(".png"))
        np.testing.assert_array_equal(sample.image, fresh.image)
        assert sample.geometry == fresh.geometry


@pytest.mark.parametrize("source", ["brats", "lgg"])
def test_stored_slices_equal_fresh_ones(prepared: Path, source: str) -> None:
    adapter = make_source(source)
    ref = adapter.discover(prepared / "raw" / source)[0][0]
    case = adapter.load(ref)
    frame = frame_volume(case.image[0], case.spacing_mm, case.volume)
    assert len(frame.slices) >= 6
    for k in frame.slices:
        name = f"{ref.case_id}_z{case.positions[k]:03d}.npz"
        sample = read_sample(prepared / "out" / source / "train" / name)
        geometry = frame.slice_geometry(k)
        fresh = preprocess_slice(case.image[:, :, :, k], frame.foreground[:, :, k], geometry)
        np.testing.assert_array_equal(sample.image, fresh.image)
        np.testing.assert_array_equal(sample.mask, prepare_mask(case.mask[:, :, k], geometry))
        assert sample.geometry == geometry


def test_references_are_the_raw_masks(prepared: Path) -> None:
    out, raw = prepared / "out", prepared / "raw"
    seg = np.asarray(nib.load(raw / "brats" / "b0" / "b0_seg.nii.gz").dataobj) > 0
    np.testing.assert_array_equal(read_reference(out / "brats/references/b0.npz"), seg)
    assert read_reference(out / "brats/references/healthy.npz").sum() == 0
    photo = np.asarray(Image.open(raw / "table" / "photo_mask.png"))
    np.testing.assert_array_equal(read_reference(out / "table/references/photo.npz"), photo)
    case = "TCGA_CS_0001_20000101"
    stack = read_reference(out / f"lgg/references/{case}.npz")
    for k in range(6):
        plane = np.asarray(Image.open(raw / "lgg" / case / f"{case}_{k + 1}_mask.tif")) > 0
        np.testing.assert_array_equal(stack[:, :, k], plane)
    assert not list((out / "kaggle" / "references").glob("*"))


@pytest.mark.parametrize("codes", ["RAS", "SAL", "PIR"])
def test_position_and_reference_are_in_the_files_own_grid(tmp_path: Path, codes: str) -> None:
    image, labels = brain(2)
    turn = ornt_transform(io_orientation(LPS), axcodes2ornt(codes))
    (tmp_path / "raw" / "a").mkdir(parents=True)
    turned = {}
    for kind, array in (("flair", image), ("seg", labels)):
        turned[kind] = nib.Nifti1Image(array, LPS).as_reoriented(turn)
        nib.save(turned[kind], tmp_path / "raw" / "a" / f"a_{kind}.nii.gz")
    run("brats", tmp_path / "raw", tmp_path / "out")
    seg = np.asarray(turned["seg"].dataobj) > 0
    np.testing.assert_array_equal(read_reference(tmp_path / "out/brats/references/a.npz"), seg)
    axis = [c in "SI" for c in codes].index(True)
    for row in read_manifest(tmp_path / "out").itertuples():
        # A slice whose plane in the file holds tumour is one whose sample does.
        assert (row.tumour_pixels > 0) == np.take(seg, row.position, axis).any()


def test_labels_derive_from_masks(tmp_path: Path) -> None:
    image, labels = brain(3, lesion=0)
    labels[24, 20, 3] = 1  # one voxel of about 37 prepared pixels
    labels[20:26, 18:24, 5] = 4
    (tmp_path / "raw" / "a").mkdir(parents=True)
    for kind, array in (("flair", image), ("seg", labels)):
        nib.save(nib.Nifti1Image(array, LPS), tmp_path / "raw" / "a" / f"a_{kind}.nii.gz")
    run("brats", tmp_path / "raw", tmp_path / "out")
    frame = read_manifest(tmp_path / "out").set_index("position")
    assert 1 <= frame.loc[3, "tumour_pixels"] <= 99
    assert frame.loc[3, ["label", "has_label", "has_mask"]].tolist() == [-1, 0, 1]
    assert frame.loc[5, ["label", "has_label"]].tolist() == [1, 1]
    assert frame.drop([3, 5])["label"].eq(0).all() and frame.drop([3, 5])["has_mask"].all()
    assert read_sample(tmp_path / "out" / frame.loc[3, "path"]).label == -1
    report = run(
        "brats", tmp_path / "raw", tmp_path / "out", case_options=CaseOptions(min_tumour_pixels=10)
    )
    assert report.prepared == 1  # another threshold is another label: nothing old is reused
    frame = read_manifest(tmp_path / "out").set_index("position")
    assert frame.loc[3, "label"] == 1


def test_tumour_free_slices_and_healthy_volumes_are_kept_as_negatives(prepared: Path) -> None:
    frame = read_manifest(prepared / "out")
    frame = frame[frame["source"] == "brats"]
    healthy = frame[frame["case_id"] == "healthy"]
    assert len(healthy) == SHAPE[2]
    assert (healthy["label"] == 0).all() and healthy["has_mask"].all()
    assert set(frame[frame["case_id"] == "b0"]["label"]) == {0, 1}


def test_slices_without_brain_are_left_out_and_counted(tmp_path: Path) -> None:
    image, labels = brain(4)
    image[:, :, [0, 9]] = 0
    labels[:, :, [0, 9]] = 0
    (tmp_path / "raw" / "a").mkdir(parents=True)
    for kind, array in (("flair", image), ("seg", labels)):
        nib.save(nib.Nifti1Image(array, LPS), tmp_path / "raw" / "a" / f"a_{kind}.nii.gz")
    report = run("brats", tmp_path / "raw", tmp_path / "out")
    assert (report.samples, report.slices_left_out) == (8, 2)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["sources"]["brats"]["slices_left_out"] == 2
    assert summary["sources"]["brats"]["splits"]["train"] == {
        "samples": 8, "groups": 1, "tumour": 6, "no_tumour": 2, "unlabelled": 0, "with_mask": 8
    }  # fmt: skip


def test_unusable_files_are_listed_and_the_rest_is_prepared(tmp_path: Path) -> None:
    save_heads(tmp_path / "raw", 4)
    (tmp_path / "raw" / "yes" / "broken.jpg").write_bytes(b"no picture")
    Image.fromarray(np.full((40, 40), 9, np.uint8)).save(tmp_path / "raw" / "no" / "blank.png")
    report = run("kaggle", tmp_path / "raw", tmp_path / "out")
    reasons = {Path(problem.path).name: problem.reason for problem in report.problems}
    assert set(reasons) == {"broken.jpg", "blank.png"} and report.samples == 4
    assert report.slices_left_out == 0
    assert "not a readable picture" in reasons["broken.jpg"] and "constant" in reasons["blank.png"]
    listed = json.loads((tmp_path / "out/summary.json").read_text())["sources"]["kaggle"]
    assert {Path(entry["path"]).name for entry in listed["unusable"]} == set(reasons)
    with pytest.raises(DataError, match=r"strict=true and 2 files(.|\n)*blank\.png(.|\n)*constant"):
        run("kaggle", tmp_path / "raw", tmp_path / "out", strict=True)


def test_nothing_usable_fails(tmp_path: Path) -> None:
    for folder in ("yes", "no"):
        (tmp_path / "raw" / folder).mkdir(parents=True)
        (tmp_path / "raw" / folder / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"nothing below .* was usable(.|\n)*yes/a\.png"):
        run("kaggle", tmp_path / "raw", tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.csv").exists()
    with pytest.raises(DataError, match="is no folder"):
        run("kaggle", tmp_path / "missing", tmp_path / "out")


def test_several_modalities_give_several_channels(tmp_path: Path) -> None:
    save_brain(tmp_path / "raw", "a", 0)
    image, _ = brain(9)
    nib.save(nib.Nifti1Image(image, LPS), tmp_path / "raw" / "a" / "a_t1ce.nii.gz")
    modalities = ("flair", "t1ce")
    process_dataset(
        make_source("brats", modalities=modalities),
        tmp_path / "raw",
        tmp_path / "out",
        case_options=CaseOptions(modalities=modalities),
        split=ALL_TRAIN,
        workers=1,
        progress=False,
    )
    path = next((tmp_path / "out/brats/train").iterdir())
    assert read_sample(path).image.shape == (2, 256, 256)


def test_work_in_parallel_gives_the_same_folder(tmp_path: Path) -> None:
    save_heads(tmp_path / "raw", 4)
    run("kaggle", tmp_path / "raw", tmp_path / "one")
    run("kaggle", tmp_path / "raw", tmp_path / "two", workers=2)
    one, two = (tmp_path / k / "manifest.csv" for k in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
