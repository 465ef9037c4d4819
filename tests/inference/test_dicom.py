"""A DICOM series and the NIfTI file of the same voxels are one volume, and folders that are no series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from brainmtl.inference.inputs.dicom import read_series
from brainmtl.inference.predictor import MultiTaskPredictor
from brainmtl.inference.results import InputError

MR_IMAGE = UID("1.2.840.10008.5.1.4.1.1.4")


def write_series(
    folder: Path,
    voxels: np.ndarray,
    affine: np.ndarray,
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
    change: Callable[[FileDataset, int], None] = lambda dataset, k: None,
    seed: int = 0,
) -> Path:
    """Voxels (columns, rows, slices), int16, with the affine to RAS mm, one file per slice in any order."""
    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    series, names = generate_uid(), np.random.default_rng(seed).permutation(voxels.shape[2])
    for k in range(voxels.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MR_IMAGE, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\x00" * 128)
        dataset.SOPClassUID, dataset.SOPInstanceUID = MR_IMAGE, meta.MediaStorageSOPInstanceUID
        dataset.SeriesInstanceUID, dataset.Modality = series, "MR"
        dataset.SeriesNumber, dataset.SeriesDescription = 4, "t2 flair"
        dataset.Columns, dataset.Rows = voxels.shape[:2]
        dataset.PixelSpacing = [float(spacing[1]), float(spacing[0])]
        directions = lps[:3, :2] / spacing[:2]
        dataset.ImageOrientationPatient = [float(v) for v in directions.T.ravel()]
        dataset.ImagePositionPatient = [float(v) for v in lps[:3, 3] + k * lps[:3, 2]]
        dataset.SliceThickness = float(spacing[2])
        dataset.InstanceNumber = int(names[k])
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.PixelRepresentation = 1
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
        dataset.PixelData = np.ascontiguousarray(voxels[:, :, k].T).astype("<i2").tobytes()
        change(dataset, k)
        dataset.save_as(folder / f"IM{names[k]:04d}", enforce_file_format=True)
    return folder


def rotation(*degrees: float) -> np.ndarray:
    found = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        turn = np.eye(3)
        i, j = [a for a in range(3) if a != axis]
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        found = found @ turn
    return found


def canonical(array: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    return nib.as_closest_canonical(nib.Nifti1Image(array, affine))


@pytest.fixture(scope="module")
def volume(raw_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels, int16, and affine of one case of the phantom."""
    image = nib.load(sorted(raw_dir.glob("brats/*/*flair*"))[0])
    voxels = np.asarray(image.dataobj, dtype=np.float64)
    return np.rint(voxels * (2000 / voxels.max())).astype(np.int16), image.affine


ORDERS = [
    ((0, 1, 2), (1, 1, 1), (0, 0, 0)),
    ((0, 1, 2), (1, -1, -1), (0, 0, 0)),
    ((1, 0, 2), (-1, 1, 1), (0, 0, 0)),
    ((0, 2, 1), (1, -1, 1), (0, 0, 0)),  # coronal
    ((2, 1, 0), (-1, -1, 1), (0, 0, 0)),  # sagittal
    ((0, 1, 2), (1, 1, 1), (12, -8, 5)),  # oblique
]


@pytest.mark.parametrize(("order", "flips", "degrees"), ORDERS)
def test_series_and_nifti_are_one_volume(
    predictor: MultiTaskPredictor,
    volume: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
    order: tuple[int, ...],
    flips: tuple[int, ...],
    degrees: tuple[float, ...],
) -> None:
    turned = nib.Nifti1Image(*volume).as_reoriented(np.array(list(zip(order, flips, strict=True))))
    voxels, affine = np.asarray(turned.dataobj), turned.affine.copy()
    affine[:3] = rotation(*degrees) @ affine[:3]
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "a.nii.gz")
    write_series(tmp_path / "series", voxels, affine)
    read = read_series(tmp_path / "series")
    ours, theirs = canonical(read.array, read.affine), canonical(voxels, affine)
    np.testing.assert_array_equal(np.asarray(ours.dataobj), np.asarray(theirs.dataobj))
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-3)
    found = predictor.predict_dicom(tmp_path / "series", seg_gate=0.0)
    expected = predictor.predict_volume(tmp_path / "a.nii.gz", seg_gate=0.0)
    assert expected.mask.any() and found.label == expected.label
    assert [s.probability for s in found.slices] == [s.probability for s in expected.slices]
    assert found.volume_ml == pytest.approx(expected.volume_ml, rel=1e-4)
    np.testing.assert_array_equal(
        np.asarray(canonical(found.mask, found.affine).dataobj),
        np.asarray(canonical(expected.mask, expected.affine).dataobj),
    )
    assert found.mask.shape == voxels.shape


def small(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 900, (40, 36, 5)).astype(np.int16)


AFFINE = np.array([[-0.9, 0, 0, 40], [0, -1.1, 0, 50], [0, 0, 4.0, -30], [0, 0, 0, 1]])


def test_rescaling_inverted_values_and_compression(tmp_path: Path) -> None:
    voxels = small()

    def per_slice(dataset: FileDataset, k: int) -> None:
        dataset.RescaleSlope = 0.5 * (k + 1)

    found = read_series(
        write_series(tmp_path / "slope", voxels, AFFINE, intercept=-7, change=per_slice)
    )
    np.testing.assert_allclose(found.array, voxels * (0.5 * (np.arange(5) + 1)) - 7)

    def inverted(dataset: FileDataset, k: int) -> None:
        dataset.PhotometricInterpretation = "MONOCHROME1"

    found = read_series(write_series(tmp_path / "inverted", voxels, AFFINE, change=inverted))
    np.testing.assert_array_equal(found.array, voxels.max() - voxels.astype(np.float32))
    packed = write_series(
        tmp_path / "rle", voxels, AFFINE, change=lambda dataset, k: dataset.compress(RLELossless)
    )
    np.testing.assert_array_equal(read_series(packed).array, voxels)


def test_one_slice_is_a_volume_where_its_thickness_is_known(tmp_path: Path) -> None:
    found = read_series(write_series(tmp_path / "a", small()[:, :, :1], AFFINE))
    np.testing.assert_allclose(found.affine, AFFINE, atol=1e-6)

    def without(dataset: FileDataset, k: int) -> None:
        del dataset.SliceThickness

    with pytest.raises(InputError, match="SliceThickness"):
        read_series(write_series(tmp_path / "b", small()[:, :, :1], AFFINE, change=without))


def test_files_that_are_no_images_are_left_alone(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", small(), AFFINE)
    (folder / "readme.txt").write_text("not DICOM")
    report = pydicom.dcmread(folder / "IM0000")
    for name in ("Rows", "Columns", "PixelData"):
        del report[name]
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    report.save_as(folder / "report")
    assert read_series(folder).array.shape == (40, 36, 5)


def test_another_modality_is_not_judged(predictor: MultiTaskPredictor, tmp_path: Path) -> None:
    def scanner(dataset: FileDataset, k: int) -> None:
        dataset.Modality = "CT"

    found = predictor.predict_dicom(write_series(tmp_path / "a", small(), AFFINE, change=scanner))
    assert found.abstained and found.reason_code == "not_mr" and "CT" in found.reason
    assert found.mask is None and found.label is None


def test_several_series_are_named(tmp_path: Path) -> None:
    write_series(tmp_path / "a", small(), AFFINE)

    def other(dataset: FileDataset, k: int) -> None:
        dataset.SeriesNumber, dataset.SeriesDescription = 7, "t1 post"

    write_series(tmp_path / "b", small()[:, :, :3], AFFINE, change=other)
    with pytest.raises(InputError, match=r"4: t2 flair, 5 images.*7: t1 post, 3 images") as caught:
        read_series(tmp_path)
    assert caught.value.reason == "several_series"
    uid = str(pydicom.dcmread(tmp_path / "b" / "IM0000").SeriesInstanceUID)
    assert uid in str(caught.value)
    assert read_series(tmp_path, uid).array.shape == (40, 36, 3)
    with pytest.raises(InputError, match=r"holds no series '1\.2', but 4: t2 flair") as caught:
        read_series(tmp_path, "1.2")
    assert caught.value.reason == "not_dicom"


def setting(**values: object) -> Callable[[FileDataset, int], None]:
    """Change attributes of the second slice."""

    def change(dataset: FileDataset, k: int) -> None:
        if k == 1:
            for name, value in values.items():
                if value is None:
                    delattr(dataset, name)
                else:
                    setattr(dataset, name, value)

    return change


def moved(millimetres: float) -> Callable[[FileDataset, int], None]:
    def change(dataset: FileDataset, k: int) -> None:
        if k == 4:
            x, y, z = dataset.ImagePositionPatient
            dataset.ImagePositionPatient = [x, y, z + millimetres]

    return change


def jpeg_ls(dataset: FileDataset, k: int) -> None:
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8" + b"\x00" * 20])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless


@pytest.mark.parametrize(
    ("change", "reason", "message"),
    [
        (setting(ImagePositionPatient=None), "not_a_volume", "lacks ImagePositionPatient"),
        (setting(PixelSpacing=None), "not_a_volume", "lacks PixelSpacing"),
        (setting(PixelSpacing=[2.0, 2.0]), "not_a_volume", "its PixelSpacing differs"),
        (setting(ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "not_a_volume", "Localisers"),
        (setting(Rows=20, PixelData=b"\x00" * 1600), "not_a_volume", "its Rows differs"),
        (setting(NumberOfFrames=9), "format_not_allowed", "multi-frame"),
        (setting(SamplesPerPixel=3), "format_not_allowed", "colour image"),
        (setting(PixelData=b"\x00" * 100), "truncated", "is damaged"),
        (moved(4.0), "not_a_volume", "one is missing"),
        (moved(-4.0), "not_a_volume", "at one place"),
        (jpeg_ls, "format_not_allowed", "is compressed"),
    ],
)
def test_series_that_are_no_even_stack(
    tmp_path: Path, change: Callable[[FileDataset, int], None], reason: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_series(write_series(tmp_path / "a", small(), AFFINE, change=change))
    assert caught.value.reason == reason


def test_folders_without_a_series(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none", "not_found"), (tmp_path, "not_dicom")):
        with pytest.raises(InputError) as caught:
            read_series(path)
        assert caught.value.reason == reason


@pytest.mark.parametrize("length", [140, 200, 300, 500, 700, 1500, 3000])
@pytest.mark.parametrize("k", [0, 2, 4])
def test_a_slice_that_is_cut_off_is_never_left_out(tmp_path: Path, length: int, k: int) -> None:
    folder = write_series(tmp_path / "a", small(), AFFINE)
    path = folder / f"IM{k:04d}"
    data = path.read_bytes()
    assert length < len(data)
    path.write_bytes(data[:length])
    with pytest.raises(InputError) as caught:
        read_series(folder)
    assert caught.value.reason in ("truncated", "not_a_volume", "several_series")
