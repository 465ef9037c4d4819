from __future__ import annotations

import gzip
import pickle
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from raw_files import LPS, labels, save_brats, save_nifti, volume

from brainmtl.data.records import Source
from brainmtl.data.sources import make_source
from brainmtl.data.sources.brats import patient_group, site_of
from brainmtl.errors import ConfigError, DataError


def load_only(raw_dir: Path, **options: object):
    source = pickle.loads(pickle.dumps(make_source("brats", **options)))
    refs, problems = source.discover(raw_dir)
    assert len(refs) == 1 and not problems
    return refs[0], source.load(refs[0])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_layout_of_2017_to_2021(tmp_path: Path, suffix: str) -> None:
    save_brats(tmp_path / "HGG" / "site", "Brats18_CBICA_ABC_1", suffix=suffix)
    ref, case = load_only(tmp_path)
    assert (ref.case_id, ref.group, ref.kind, ref.label) == (
        "Brats18_CBICA_ABC_1",
        "CBICA_ABC_1",
        "volume",
        None,
    )
    assert [p.name for p in ref.files] == [f"{ref.case_id}_{k}{suffix}" for k in ("flair", "seg")]
    # Published arrays are LPS: display rows are y, columns x.
    np.testing.assert_array_equal(case.image[0], volume().transpose(1, 0, 2))
    np.testing.assert_array_equal(case.mask, labels().transpose(1, 0, 2) > 0)
    assert case.image.dtype == np.float32 and case.mask.dtype == bool
    assert case.spacing_mm == (1.0, 1.0, 2.5)
    assert case.positions == (0, 1, 2, 3)


def test_layout_of_2023_with_several_modalities(tmp_path: Path) -> None:
    case = "BraTS-GLI-00001-002"
    for seed, kind in enumerate(("t1n", "t1c", "t2w", "t2f")):
        save_nifti(tmp_path / case / f"{case}-{kind}.nii.gz", volume(seed))
    save_nifti(tmp_path / case / f"{case}-seg.nii.gz", labels())
    ref, loaded = load_only(tmp_path, modalities=("flair", "t1ce", "t2", "t1n"))
    assert ref.group == "BraTS-GLI-00001"  # 002 is a time point of the same patient
    expected = np.stack([volume(seed) for seed in (3, 1, 2, 0)])
    np.testing.assert_array_equal(loaded.image, expected.transpose(0, 2, 1, 3))


def test_layout_of_the_decathlon(tmp_path: Path) -> None:
    image = volume(shape=(6, 5, 4, 4))
    save_nifti(tmp_path / "Task01" / "imagesTr" / "BRATS_007.nii.gz", image)
    save_nifti(tmp_path / "Task01" / "labelsTr" / "BRATS_007.nii.gz", labels())
    save_nifti(tmp_path / "Task01" / "labelsTr" / "._BRATS_007.nii.gz", labels())
    ref, case = load_only(tmp_path, modalities=("flair", "t1ce"))
    assert ref.case_id == ref.group == "BRATS_007"
    expected = image[..., [0, 2]].transpose(3, 1, 0, 2)
    np.testing.assert_array_equal(case.image, expected)


def test_decathlon_file_with_another_number_of_channels_is_refused(tmp_path: Path) -> None:
    save_nifti(tmp_path / "imagesTr" / "BRATS_001.nii.gz", volume(shape=(6, 5, 4, 3)))
    save_nifti(tmp_path / "labelsTr" / "BRATS_001.nii.gz", labels())
    source = make_source("brats")
    with pytest.raises(DataError, match="3 channels"):
        source.load(source.discover(tmp_path)[0][0])


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SAL", "AIL"])
def test_orientation_comes_from_the_affine(tmp_path: Path, codes: str) -> None:
    """One head saved in any orientation is displayed alike, and goes back to its own file grid."""
    reference = nib.Nifti1Image(volume(), LPS)
    turn = ornt_transform(io_orientation(LPS), axcodes2ornt(codes))
    image = reference.as_reoriented(turn)
    mask = nib.Nifti1Image(labels(), LPS).as_reoriented(turn)
    folder = tmp_path / "a"
    folder.mkdir()
    nib.save(image, folder / "a_flair.nii.gz")
    nib.save(mask, folder / "a_seg.nii.gz")
    _, case = load_only(tmp_path)
    np.testing.assert_array_equal(case.image[0], volume().transpose(1, 0, 2))
    np.testing.assert_array_equal(case.volume.restore(case.mask), np.asarray(mask.dataobj) > 0)
    assert case.spacing_mm == (1.0, 1.0, 2.5)
    slice_axis = nib.aff2axcodes(image.affine).index("S" if "S" in codes else "I")
    for k, position in enumerate(case.positions):
        plane = np.take(np.asarray(image.dataobj), position, axis=slice_axis)
        assert sorted(plane.ravel()) == sorted(case.image[0, :, :, k].ravel())


def test_published_oddities(tmp_path: Path) -> None:
    """Files inside folders of their own name, and the one odd mask of BraTS 2020."""
    for kind, array in (("flair", volume()), ("seg", labels())):
        save_nifti(tmp_path / "a" / f"a_{kind}.nii" / f"a_{kind}.nii", array)
    save_nifti(tmp_path / "BraTS20_Training_355" / "BraTS20_Training_355_flair.nii", volume(1))
    save_nifti(tmp_path / "BraTS20_Training_355" / "W39_1998.09.19_Segm.nii", labels())
    source = make_source("brats")
    refs, problems = source.discover(tmp_path)
    assert [ref.case_id for ref in refs] == ["BraTS20_Training_355", "a"] and not problems
    assert all(source.load(ref).mask.sum() == 3 for ref in refs)


def test_incomplete_and_repeated_cases_are_listed(tmp_path: Path) -> None:
    save_brats(tmp_path / "first", "a")
    save_brats(tmp_path / "second", "a", volume(shape=(6, 5, 9)))
    save_brats(tmp_path / "first_again", "a")  # a copy of the very same files is no problem
    save_nifti(tmp_path / "b" / "b_flair.nii.gz", volume())
    save_nifti(tmp_path / "c" / "c_t1.nii.gz", volume())
    save_nifti(tmp_path / "c" / "c_seg.nii.gz", labels())
    (tmp_path / "._d_flair.nii.gz").write_bytes(b"macOS")
    refs, problems = make_source("brats").discover(tmp_path)
    assert [ref.files[0].parent for ref in refs] == [tmp_path / "first" / "a"]
    reasons = {Path(p.path).name: p.reason for p in problems}
    assert reasons["b"] == "no segmentation file" and reasons["c"] == "no flair file"
    assert "same case id" in reasons["a"] and len(problems) == 3


def test_equal_names_and_sizes_are_no_copy(tmp_path: Path) -> None:
    """Two sites that number their cases alike; volumes that are not compressed have one size."""
    for seed, site in enumerate(("first", "second")):
        save_brats(tmp_path / site, "a", volume(seed), ".nii")
    shutil.copytree(tmp_path / "first", tmp_path / "first_again")
    assert len({path.stat().st_size for path in tmp_path.rglob("*_flair.nii")}) == 1
    refs, problems = make_source("brats").discover(tmp_path)
    assert [ref.files[0].parent for ref in refs] == [tmp_path / "first" / "a"]
    (problem,) = problems
    assert Path(problem.path).is_relative_to(tmp_path / "second")
    assert problem.reason == f"same case id as {refs[0].files[0]}"


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    save_brats(tmp_path / "real", "a")
    (tmp_path / "real" / "loop").symlink_to(tmp_path, target_is_directory=True)
    refs, problems = make_source("brats").discover(tmp_path)
    assert len(refs) == 1 and not problems


def test_nothing_found_names_the_expected_tree(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="imagesTr/BRATS_001"):
        make_source("brats").discover(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        make_source("brats").discover(tmp_path / "missing")


def break_nan(folder: Path) -> None:
    array = volume().astype(np.float32)
    array[0, 0, 0] = np.nan
    save_nifti(folder / "a_flair.nii.gz", array)


def break_shape(folder: Path) -> None:
    save_nifti(folder / "a_seg.nii.gz", labels((6, 5, 3)))


def break_place(folder: Path) -> None:
    moved = LPS.copy()
    moved[0, 3] = 0.5
    save_nifti(folder / "a_seg.nii.gz", labels(), moved)


def break_values(folder: Path) -> None:
    save_nifti(folder / "a_seg.nii.gz", labels().astype(np.float32) * 0.3)


def break_bytes(folder: Path) -> None:
    path = folder / "a_flair.nii.gz"
    path.write_bytes(path.read_bytes()[:-40])


def break_datatype(folder: Path) -> None:
    """nibabel's own exception, which is neither an OSError nor a ValueError."""
    path = folder / "a_flair.nii.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[70:72] = b"\0\0"
    path.write_bytes(gzip.compress(bytes(content)))


def break_header(folder: Path) -> None:
    image = nib.Nifti1Image(volume(), None)
    nib.save(image, folder / "a_flair.nii.gz")


def break_affine(folder: Path) -> None:
    flat = LPS.copy()
    flat[2, 2] = 0
    image = nib.Nifti1Image(volume(), LPS)
    image.set_sform(flat, 2)
    image.to_filename(folder / "a_flair.nii.gz")


def break_dimensions(folder: Path) -> None:
    save_nifti(folder / "a_flair.nii.gz", volume(shape=(6, 5, 4, 2)))


BREAKS = {
    break_nan: "NaN or infinite",
    break_shape: "share one grid",
    break_place: r"0\.50 mm away",
    break_values: "not a label map",
    break_bytes: "not a readable NIfTI",
    break_datatype: "not a readable NIfTI",
    break_header: "states no orientation",
    break_affine: "not invertible",
    break_dimensions: "expected 3 axes",
}


@pytest.mark.parametrize("damage", BREAKS, ids=lambda f: f.__name__)
def test_bad_files_are_named_with_their_reason(tmp_path: Path, damage) -> None:
    save_brats(tmp_path, "a")
    source = make_source("brats")
    refs, _ = source.discover(tmp_path)
    damage(tmp_path / "a")
    with pytest.raises(DataError, match=rf"a_(flair|seg)\.nii\.gz.*{BREAKS[damage]}"):
        source.load(refs[0])


def test_rounded_affines_still_agree(tmp_path: Path) -> None:
    save_brats(tmp_path, "a")
    save_nifti(tmp_path / "a" / "a_seg.nii.gz", labels(), LPS + 1e-4 * np.eye(4) * [1, 1, 1, 0])
    load_only(tmp_path)


def test_patient_of_a_case() -> None:
    expected = {
        "Brats17_2013_0_1": "2013_0_1",
        "Brats18_TCIA10_628_1": "TCIA10_628_1",
        "BraTS19_CBICA_AAB_1": "CBICA_AAB_1",
        "BraTS20_Training_001": "BraTS20_Training_001",
        "BraTS2021_00000": "BraTS2021_00000",
        "BraTS-GLI-00005-100": "BraTS-GLI-00005",
        "BraTS-MEN-00004-000": "BraTS-MEN-00004",
        "UPENN-GBM-00001_11": "UPENN-GBM-00001",
        "UPENN-GBM-00001_21": "UPENN-GBM-00001",
        "BRATS_001": "BRATS_001",
    }
    assert {case: patient_group(case) for case in expected} == expected


def test_site_of_a_case() -> None:
    expected = {
        "Brats17_2013_0_1": "2013",
        "Brats17_TCIA_101_1": "TCIA",
        "Brats18_TCIA10_628_1": "TCIA10",
        "BraTS19_CBICA_AAB_1": "CBICA",
        "BraTS19_TMC_06290_1": "TMC",
        "BraTS20_Training_001": "",
        "BraTS2021_00000": "",
        "BraTS-GLI-00005-100": "",
        "UPENN-GBM-00001_11": "UPENN",
        "BRATS_001": "",
        "TCIAN_1": "",
    }
    assert {case: site_of(case) for case in expected} == expected


def test_options() -> None:
    source = make_source("brats", name="phantom_brats", synthetic=True)
    assert isinstance(source, Source)
    assert (source.name, source.kind, source.synthetic) == ("phantom_brats", "volume", True)
    with pytest.raises(ConfigError, match="'pet' is unknown"):
        make_source("brats", modalities=("pet",))
    with pytest.raises(ConfigError, match="each once"):
        make_source("brats", modalities=("t2f", "flair"))
    with pytest.raises(ConfigError, match="source=dicom is unknown"):
        make_source("dicom")
