"""Arrays in one file: packed by ISA-L, read by NumPy too."""

from __future__ import annotations

import ast
import io
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from brainmtl.data import npz
from brainmtl.data.npz import arrays_sha256, load_arrays, save_arrays
from brainmtl.errors import DataError


def examples() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.normal(size=(2, 30, 40)).astype(np.float16),
        "mask": np.zeros((300, 300), dtype=np.uint8),
        "columns": np.asfortranarray(rng.random((5, 6))),
        "label": np.int8(-1),
        "text": np.array("metadata \N{GREEK SMALL LETTER ALPHA}"),
        "empty": np.zeros((0, 3), dtype=np.float32),
        "name \N{GREEK SMALL LETTER BETA}": np.array([True, False]),
    }


def test_numpy_and_zipfile_read_what_was_written(tmp_path: Path) -> None:
    arrays = examples()
    save_arrays(tmp_path / "a.npz", arrays)
    found = load_arrays(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as stored:
        assert list(stored.files) == list(found) == list(arrays)
        for name, array in arrays.items():
            for read in (found[name], stored[name]):
                assert (read.dtype, read.shape) == (array.dtype, array.shape)
                np.testing.assert_array_equal(read, array)
    assert all(array.flags.writeable for array in found.values())
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert archive.testzip() is None  # checksums
        packed = archive.getinfo("mask.npy")
    assert packed.compress_size < packed.file_size / 100
    assert set(load_arrays(tmp_path / "a.npz", leave_out=["text"])) == set(arrays) - {"text"}


def test_arrays_of_no_name_make_an_empty_archive(tmp_path: Path) -> None:
    save_arrays(tmp_path / "a.npz", {})
    assert load_arrays(tmp_path / "a.npz") == {}
    with np.load(tmp_path / "a.npz") as stored:
        assert stored.files == []


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed, save_arrays])
def test_the_hash_is_of_the_arrays_and_not_of_the_file(tmp_path: Path, save: object) -> None:
    arrays = examples()
    expected = arrays_sha256(arrays)
    backwards = dict(reversed(arrays.items()))
    if save is save_arrays:
        save_arrays(tmp_path / "a.npz", backwards)
    else:
        save(tmp_path / "a.npz", **backwards)
    assert arrays_sha256(load_arrays(tmp_path / "a.npz")) == expected


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("label", np.int16(-1)),
        ("label", np.int8(1)),
        ("mask", np.zeros((300 * 300,), dtype=np.uint8)),
        ("columns", examples()["columns"].T),
        ("more", np.int8(0)),
    ],
    ids=["type", "value", "shape", "transposed", "name"],
)
def test_the_hash_knows_other_arrays(name: str, other: np.ndarray) -> None:
    arrays = examples()
    assert arrays_sha256(arrays | {name: other}) != arrays_sha256(arrays)


def test_an_array_that_no_such_file_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "_LARGEST", 10_000)  # of 4 GiB nobody waits here
    with pytest.raises(DataError, match=r"a\.npz: label, mask have more than 10,000 bytes: crop"):
        arrays = {"label": np.int8(1), "mask": np.zeros((100, 99), dtype=np.uint8)}
        save_arrays(tmp_path / "a.npz", arrays)
    assert list(tmp_path.iterdir()) == []


def archive(method: int = zipfile.ZIP_DEFLATED) -> bytes:
    member, stream = io.BytesIO(), io.BytesIO()
    np.save(member, np.arange(4000, dtype=np.int16))
    with zipfile.ZipFile(stream, "w", method) as target:
        target.writestr("image.npy", member.getvalue())
    return stream.getvalue()


def changed(content: bytes, start: bytes, offset: int, value: bytes) -> bytes:
    """``content`` with ``value`` at ``offset`` behind the last ``start``."""
    place = content.rindex(start) + offset
    return content[:place] + value + content[place + len(value) :]


CENTRAL = b"PK\x01\x02"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (archive(zipfile.ZIP_BZIP2), "image.npy is packed by method 12, not deflate"),
        (changed(archive(), CENTRAL, 8, b"\x01"), "image.npy is encrypted"),
        (changed(archive(), CENTRAL, 16, b"\0\0\0\0"), "image.npy is damaged: its checksum"),
        (changed(archive(), CENTRAL, 24, b"\x10\0\0\0"), "image.npy is damaged"),  # its size
        (changed(archive(), CENTRAL, 42, b"\xff\xff\xff\0"), "lies behind the end of the file"),
        (changed(archive(0), b"NUMPY", 20, b"?"), "image.npy is damaged"),
        (changed(archive(), CENTRAL, 46, b"lmage"), "lmage.npy has another name at its place"),
        (changed(archive(), CENTRAL, 6, b"\xff\xff"), "zip file version"),
    ],
    ids=["method", "encrypted", "checksum", "size", "place", "stored", "name", "version"],
)
def test_damaged_archives_are_errors_that_name_file_and_reason(
    tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.npz cannot be read \(.*{words}"):
        load_arrays(tmp_path / "a.npz")


def test_no_flipped_byte_gives_other_arrays(tmp_path: Path) -> None:
    """Of header, data and directory: an error that names the file, or the same arrays."""
    path, image = tmp_path / "a.npz", np.arange(900).reshape(1, 30, 30)
    save_arrays(path, {"image": image})
    content, refused = path.read_bytes(), 0
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        try:
            found = load_arrays(path)
        except DataError as error:
            assert str(path) in str(error)
            refused += 1
        else:
            assert list(found) == ["image"]
            np.testing.assert_array_equal(found["image"], image)
    assert refused > 0.95 * len(content)


HEADERS = {
    "negative": "{'descr': '<i2', 'fortran_order': False, 'shape': (-10,), }",
    "no size": "{'descr': '<i2', 'fortran_order': False, 'shape': (True, 3), }",
    "huge": f"{{'descr': '<i2', 'fortran_order': False, 'shape': ({2**62}, 9), }}",
    "cut off": "{'descr': '<i2', 'fortran_order': ",
    "no names": "{{}: 1}",
}


@pytest.mark.parametrize("kind", HEADERS)
def test_hostile_headers_are_errors_that_name_the_file(kind: str, tmp_path: Path) -> None:
    text = HEADERS[kind].encode() + b"\n"
    member = b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text + bytes(40)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as target:
        target.writestr("image.npy", member)
    with pytest.raises(DataError, match=r"a\.npz cannot be read"):
        load_arrays(tmp_path / "a.npz")


def test_one_thread_at_a_time_parses_a_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at once may end in a SystemError (Python 3.11), too rarely to be waited for."""
    paths = [tmp_path / f"{size}.npz" for size in range(16, 36)]  # no two have one header
    for size, path in enumerate(paths, 16):
        save_arrays(path, {"image": np.zeros((1, size, 256)), "text": np.array("x" * size)})
    npz._header.cache_clear()  # other tests may have parsed such headers
    parse, inside, most = ast.literal_eval, [], []

    def slow(text: str) -> object:
        inside.append(text)
        most.append(len(inside))
        time.sleep(0.002)
        inside.pop()
        return parse(text)

    monkeypatch.setattr(ast, "literal_eval", slow)
    with ThreadPoolExecutor(4) as pool:
        samples = list(pool.map(load_arrays, paths))
    assert len(samples) == 20 and len(most) >= 40 and max(most) == 1
