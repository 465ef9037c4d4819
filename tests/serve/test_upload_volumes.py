"""Unpacking of uploaded volumes: what is read afterwards is what was sent, and bombs stay packed."""

from __future__ import annotations

import gzip
import resource
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hostile import header, nifti, zeros_gz

from brainmtl.serve import volumes
from brainmtl.serve.errors import ApiError
from brainmtl.serve.volumes import write_volume

VOXELS = np.random.default_rng(0).normal(100, 20, (12, 10, 6)).astype(np.float32)
AFFINE = np.array([[0, 0, 3.0, -5], [1.0, 0, 0, 7], [0, -1.5, 0, 60], [0, 0, 0, 1]])


def image(kind: Any = nib.Nifti1Image, order: str = "<") -> bytes:
    head = kind.header_class(endianness=order)
    head.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Mr Patient " * 50))
    made = kind(VOXELS.astype(f"{order}f4"), AFFINE, head)
    return made.to_bytes()


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
def test_voxels_and_affine_come_through_and_extensions_do_not(
    kind: Any, order: str, packed: bool, tmp_path: Path
) -> None:
    data = image(kind, order)
    assert b"Mr Patient" in data
    path = write_volume(gzip.compress(data) if packed else data, tmp_path)
    read = nib.load(path)
    np.testing.assert_array_equal(np.asarray(read.dataobj), VOXELS)
    np.testing.assert_allclose(read.affine, AFFINE, atol=1e-5)
    assert not read.header.extensions


def test_gzip_in_members_and_padding_behind_the_voxels(tmp_path: Path) -> None:
    data = nifti(VOXELS)
    members = gzip.compress(data[:700]) + gzip.compress(data[700:] + bytes(1000))
    read = nib.load(write_volume(members, tmp_path))
    np.testing.assert_array_equal(np.asarray(read.dataobj), VOXELS)


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"", 415, "not_nifti"),
        (b"text", 415, "not_nifti"),
        # without the time of day: it would be part of the test's name, another in each process
        (gzip.compress(b"text", mtime=0), 415, "not_nifti"),
        (b"\x1f\x8b", 422, "truncated"),
        (gzip.compress(nifti(VOXELS), mtime=0)[:-50], 422, "truncated"),
        (gzip.compress(nifti(VOXELS), mtime=0)[:-8] + bytes(8), 422, "truncated"),  # wrong checksum
        (nifti(VOXELS)[:-1], 422, "truncated"),
        (header((4, 4, 4)) + bytes(2 << 20), 422, "bad_header"),
        (header((0, 4, 4)), 422, "bad_header"),
        (header((32767, 32767, 2)), 413, "too_large"),
        (gzip.compress(header((400, 400, 400)) + bytes(9999), mtime=0), 413, "compression_ratio"),
    ],
)
def test_what_is_refused(data: bytes, status: int, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ApiError) as caught:
        write_volume(data, tmp_path)
    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert str(tmp_path) not in caught.value.detail


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("packed", [False, True])
def test_an_axis_too_long_is_refused_by_the_header(kind: Any, packed: bool, tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 2, (16, 16, 1100)).astype(np.uint8)
    whole = kind(levels, np.eye(4)).to_bytes()
    data = gzip.compress(whole) if packed else whole
    for sent in (data, data[: len(data) // 2]):  # the voxels of half of a file are cut off
        with pytest.raises(ApiError, match="16 x 16 x 1100 voxels") as caught:
            write_volume(sent, tmp_path)
        assert (caught.value.status, caught.value.reason) == (413, "too_large")
    assert not list(tmp_path.iterdir())


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """1 GB behind a small volume: neither written to disk nor held in memory."""
    bomb = gzip.compress(header((8, 8, 8)) + bytes(2048)) + 16 * zeros_gz(64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ApiError, match="more than the announced"):
        write_volume(bomb, tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10  # KiB
    written = (tmp_path / "volume.nii").stat().st_size
    assert written <= 352 + 2048 + volumes.MAX_SURPLUS + volumes.BLOCK


def test_a_full_disk_is_the_servers_fault(tmp_path: Path) -> None:
    with pytest.raises(ApiError) as caught:
        write_volume(nifti(VOXELS), tmp_path / "gone")
    assert (caught.value.status, caught.value.reason) == (503, "storage")
