"""One prepared sample on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brainmtl.data.npz import arrays_sha256
from brainmtl.data.preprocessing.geometry import VolumeGeometry, frame_geometry
from brainmtl.data.samples import (
    read_for_training,
    read_reference,
    read_sample,
    write_reference,
    write_sample,
)
from brainmtl.errors import DataError
from brainmtl.files import sha256


def arrays() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, 256, 256)).astype(np.float16).astype(np.float32)
    return image, (rng.random((256, 256)) < 0.1).astype(np.uint8)


def metadata() -> dict:
    frame = frame_geometry((240, 240), (10, 200, 20, 210), (1.0, 1.0)).at_slice(7)
    geometry = frame.to_dict() | {"volume": vars(VolumeGeometry.stack((240, 240), 9))}
    return {"image_id": "ä", "geometry": geometry}


def test_round_trip_is_exact(tmp_path: Path) -> None:
    image, mask = arrays()
    path = tmp_path / "new" / "folder" / "a.npz"
    write_sample(path, image, 1, mask, metadata())
    sample = read_sample(path)
    np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_array_equal(sample.mask, mask)
    assert (sample.image.dtype, sample.mask.dtype, sample.label) == (np.float32, np.uint8, 1)
    assert sample.metadata["image_id"] == "ä"
    assert sample.geometry.slice_index == 7
    assert sample.geometry.volume == VolumeGeometry.stack((240, 240), 9)


def test_unified_format_loads_without_pickle(tmp_path: Path) -> None:
    image, mask = arrays()
    write_sample(tmp_path / "a.npz", image, -1, mask, metadata())
    write_sample(tmp_path / "b.npz", image, 0, None, metadata())
    with np.load(tmp_path / "a.npz", allow_pickle=False) as stored:
        assert {k: (stored[k].dtype, stored[k].shape) for k in ("image", "label", "mask")} == {
            "image": (np.float16, (2, 256, 256)),
            "label": (np.int8, ()),
            "mask": (np.uint8, (256, 256)),
        }
        assert stored["metadata"].dtype.kind == "U" and stored["metadata"].shape == ()
    with np.load(tmp_path / "b.npz", allow_pickle=False) as stored:
        assert set(stored.files) == {"image", "label", "metadata"}
    assert read_sample(tmp_path / "b.npz").mask is None
    assert read_sample(tmp_path / "a.npz").label == -1


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    image, mask = arrays()
    for name in "ab":
        write_sample(tmp_path / f"{name}.npz", image, 1, mask, metadata())
    os.utime(tmp_path / "a.npz", (0, 0))
    assert sha256(tmp_path / "a.npz") == sha256(tmp_path / "b.npz")


def test_writing_says_the_hash_of_the_arrays(tmp_path: Path) -> None:
    image, mask = arrays()
    found = write_sample(tmp_path / "a.npz", image, 1, mask, metadata())
    with np.load(tmp_path / "a.npz") as stored:
        assert found == arrays_sha256(dict(stored))
    mask[0, 0] ^= 1
    assert write_sample(tmp_path / "a.npz", image, 1, mask, metadata()) != found


def test_metadata_that_is_no_json_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    image, mask = arrays()
    with pytest.raises(ValueError, match="Out of range float"):
        write_sample(tmp_path / "a.npz", image, 1, mask, {"spacing": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_references(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((5, 6, 7)) < 0.5
    write_reference(tmp_path / "a.npz", mask)
    stored = read_reference(tmp_path / "a.npz")
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(stored, mask)
    np.savez(tmp_path / "other.npz", image=mask)
    with pytest.raises(DataError, match=r"other\.npz holds no reference"):
        read_reference(tmp_path / "other.npz")


def broken(path: Path, kind: str) -> Path:
    image, mask = arrays()
    if kind == "missing":
        return path
    write_sample(path, image, 1, mask, metadata())
    data = path.read_bytes()
    if kind == "half":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "noise":
        path.write_bytes(b"no archive at all")
    elif kind == "flipped":  # inside the compressed image: the zip checksum must catch it
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :])
    elif kind == "no_label":
        np.savez(path, image=image)
    elif kind == "no_json":
        np.savez(path, image=image, label=np.int8(0), metadata=np.array("{"))
    elif kind == "pickle":
        np.savez(path, image=np.array([{}], dtype=object), label=0, metadata=np.array("{}"))
    return path


@pytest.mark.parametrize(
    "kind", ["missing", "half", "empty", "noise", "flipped", "no_label", "no_json", "pickle"]
)
def test_broken_samples_are_errors_that_name_the_file(tmp_path: Path, kind: str) -> None:
    path = broken(tmp_path / f"{kind}.npz", kind)
    with pytest.raises(DataError, match=rf"{kind}\.npz"):
        read_sample(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_samples_of_earlier_versions_are_read(tmp_path: Path, save: Callable[..., None]) -> None:
    """They were written by NumPy itself; arrays in column order too."""
    image, mask = arrays()
    image = np.asfortranarray(image.astype(np.float16))
    save(tmp_path / "a.npz", image=image, label=np.int8(1), mask=mask, metadata=np.array("{}"))
    sample = read_sample(tmp_path / "a.npz")
    np.testing.assert_array_equal(sample.image, image.astype(np.float32))
    np.testing.assert_array_equal(sample.mask, mask)
    assert sample.label == 1 and sample.metadata == {}
    image, label, mask = read_for_training(tmp_path / "a.npz")
    assert image.flags.writeable and mask is not None and mask.flags.writeable and label == 1
