"""Gzipped NIfTI files: unpacked by another library than nibabel's, with the same result."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from raw_files import LPS, save_nifti, volume

from brainmtl.data.sources.nifti import read_nifti
from brainmtl.errors import DataError


def header(order: str) -> nib.Nifti1Header:
    return nib.Nifti1Header(endianness=order)


def scaled() -> nib.Nifti1Image:
    image = nib.Nifti1Image(volume().astype(np.float32) / 7, LPS)
    image.set_data_dtype(np.int16)
    return image


IMAGES = {
    "NIfTI-1": lambda: nib.Nifti1Image(volume(), LPS),
    "NIfTI-2": lambda: nib.Nifti2Image(volume(), LPS),
    "big-endian": lambda: nib.Nifti1Image(volume(), LPS, header(">")),
    "scaled": scaled,
}


@pytest.mark.parametrize("name", ["a.nii.gz", "A.NII.GZ"])
@pytest.mark.parametrize("kind", IMAGES)
def test_as_nibabel_reads_the_unpacked_file(kind: str, name: str, tmp_path: Path) -> None:
    content = IMAGES[kind]().to_bytes()
    half = len(content) // 2
    members = gzip.compress(content[:half]) + gzip.compress(content[half:]) + bytes(20)
    (tmp_path / name).write_bytes(members)
    (tmp_path / "plain.nii").write_bytes(content)
    expected = nib.load(tmp_path / "plain.nii")
    found = read_nifti(tmp_path / name)
    assert found.array.dtype == np.float32
    np.testing.assert_array_equal(found.array, expected.get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(found.affine, expected.affine)
    labels = read_nifti(tmp_path / name, labels=True).array
    assert labels.dtype == (np.float32 if labels.dtype.kind == "f" else expected.get_data_dtype())
    stored = np.asarray(expected.dataobj)
    np.testing.assert_array_equal(labels, stored.astype(labels.dtype))


def test_a_gzip_file_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"no scan" * 200))
    with pytest.raises(
        DataError, match=r"a\.nii\.gz: not a readable NIfTI file .*no single-file NIfTI"
    ):
        read_nifti(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("size", [0.005, 150.0])
def test_impossible_voxel_sizes_name_the_file(tmp_path: Path, size: float) -> None:
    """Such as a slice distance that a converter wrote in another unit."""
    for place, name in enumerate(("x.nii.gz", "y.nii.gz", "z.nii.gz")):
        affine = LPS.copy()
        affine[place, place] = size
        path = save_nifti(tmp_path / name, volume(), affine)
        with pytest.raises(DataError, match=rf"{name}: .*voxels are .*{size:g}.*original file"):
            read_nifti(path)


def test_no_damage_gives_other_voxels(tmp_path: Path) -> None:
    """A flipped byte is an error that names the file, or stands where nothing depends on it."""
    path, array = tmp_path / "a.nii.gz", volume(shape=(12, 12, 6))
    content = gzip.compress(nib.Nifti1Image(array, LPS).to_bytes(), mtime=0)
    refused = 0
    for place in range(0, len(content), 11):
        damaged = bytearray(content)
        damaged[place] ^= 255
        path.write_bytes(damaged)
        try:
            found = read_nifti(path, labels=True)
        except DataError as error:
            assert str(path) in str(error)
            refused += 1
        else:
            np.testing.assert_array_equal(found.array, array)
    assert refused > len(content) / 11 * 0.9
