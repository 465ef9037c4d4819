"""Volumes of sizes that no scan of a head has, in voxels or in mm: refused by what their headers say."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from volume_inputs import save

from brainmtl.inference.inputs.volume_files import MAX_AXIS, read_volume
from brainmtl.inference.predictor import MultiTaskPredictor
from brainmtl.inference.results import InputError


def long_volume(path: Path, shape: tuple[int, ...], kind: type = nib.Nifti1Image) -> Path:
    """Of two grey levels, which gzip packs no tighter than it packs scans."""
    voxels = np.random.default_rng(0).integers(0, 2, shape).astype(np.uint8)
    data = kind(voxels, np.eye(4)).to_bytes()
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("shape", [(16, 16, 1100), (1100, 16, 16)])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_an_axis_too_long_is_refused_before_anything_is_unpacked(
    tmp_path: Path, name: str, shape: tuple[int, ...], kind: type
) -> None:
    path = long_volume(tmp_path / name, shape, kind)
    whole = path.read_bytes()
    for data in (whole, whole[: len(whole) // 2]):  # reading half of a file says that it is cut off
        path.write_bytes(data)
        with pytest.raises(InputError, match=f"or {MAX_AXIS} along an axis") as caught:
            read_volume(path)
        assert caught.value.reason == "too_large"


def test_the_longest_axis_is_read(tmp_path: Path) -> None:
    shape = (4, 4, MAX_AXIS)
    assert read_volume(long_volume(tmp_path / "a.nii.gz", shape)).array.shape == shape


def with_voxels(path: Path, *millimetres: float) -> Path:
    planes = np.random.default_rng(0).integers(1, 900, (40, 40, 4)).astype(np.int16)
    return save(path, planes, np.diag([*millimetres, 1.0]))


@pytest.mark.parametrize(
    ("millimetres", "found"),
    [((1e6, 1, 1), "1e+06 x 1 x 1"), ((1, 1, 101), "1 x 1 x 101"), ((1, 1e-3, 1), "1 x 0.001 x 1")],
)
def test_voxel_sizes_that_no_scan_has(
    tmp_path: Path, millimetres: tuple[float, ...], found: str
) -> None:
    path = with_voxels(tmp_path / "a.nii", *millimetres)
    with pytest.raises(InputError) as caught:
        read_volume(path)
    assert caught.value.reason == "unreadable"
    assert f"{path}: the affine says that voxels are {found} mm" in str(caught.value)


def test_a_predictor_refuses_such_voxels(tiny_dir: Path, tmp_path: Path) -> None:
    predictor = MultiTaskPredictor.from_folder(tiny_dir, device="cpu", runtime="eager")
    with pytest.raises(InputError, match=r"voxels are 1e\+06 x 1 x 1 mm"):
        predictor.predict_volume(with_voxels(tmp_path / "a.nii", 1e6, 1, 1))
