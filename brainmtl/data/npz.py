"""``.npz`` files, which NumPy reads too, written and read by ISA-L's deflate.

It packs a prepared slice in a seventh of zlib's time or less (benchmarks/sample_format.py). Python's
zipfile cannot be told to use another deflate, so the archive is written here: PKWARE, ".ZIP File Format Specification" (APPNOTE.TXT), version 6.3.
"""

from __future__ import annotations

import hashlib
import io
import math
import struct
import threading
import zipfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from isal import isal_zlib

from brainmtl.errors import DataError
from brainmtl.files import atomic_path

_LEVEL = 1  # 2 and 3 take up to three times as long for the same size
_RAW = -15  # window bits: deflate without a header of its own, as archives hold it
_VERSION, _UTF8, _DATE = 20, 0x800, 0x21  # deflate; names in UTF-8; 1980-01-01: no date
_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_LOCAL_SIZE = 30  # bytes
_LARGEST = (
    2**32 - 2**24
)  # bytes of all arrays: what cannot be packed grows a little, and places have 32 bits
_NPY_PREFIX = 10  # bytes of an .npy of version 1.0 before its header: magic, version, length
# NumPy parses headers with ast.literal_eval, which in Python 3.11 fails in one thread when the collector
# lets another one into it: "SystemError: AST constructor recursion depth mismatch".
_PARSING = threading.Lock()


def save_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an ``.npz`` in one step, compressed: what :func:`load_arrays` and ``np.load`` read.

    Raises:
        DataError: arrays of more bytes than such a file holds (4 GiB).
        ValueError: an array of objects.
    """
    members = {}
    for name, array in arrays.items():
        stream = io.BytesIO()
        np.lib.format.write_array(stream, np.asanyarray(array), (1, 0), allow_pickle=False)
        members[f"{name}.npy"] = stream.getbuffer()
    if sum(content.nbytes for content in members.values()) > _LARGEST:
        raise DataError(
            f"{path}: {', '.join(arrays)} have more than {_LARGEST:,} bytes: crop the volume"
        )
    archive = _archive(members)
    with atomic_path(path) as temporary:
        temporary.write_bytes(archive)


def load_arrays(path: str | Path, leave_out: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` as stored; :class:`DataError` names the file when it is broken."""
    try:
        content = Path(path).read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        return {
            name: _array(_unpacked(content, info))
            for name, info in members.items()
            if name not in leave_out
        }
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: the folder changed since it was prepared") from error
    except MemoryError:
        raise
    except Exception as error:  # archives and headers of arrays have an error for every damage
        raise DataError(f"{path} cannot be read ({error}): delete it and prepare again") from error


def arrays_sha256(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and values, as 64 hexadecimal digits.

    The file's own bytes are not hashed: they depend on the deflate that packed them, this on the data
    alone, so that one cohort prepared on two machines is known as one.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _archive(members: Mapping[str, memoryview]) -> bytes:
    parts, directory, offset = [], [], 0
    for name, content in members.items():
        title = name.encode()
        packer = isal_zlib.compressobj(_LEVEL, wbits=_RAW)
        packed = packer.compress(content) + packer.flush()
        entry = struct.pack(
            "<5H3I2H",
            *(_VERSION, _UTF8, zipfile.ZIP_DEFLATED, 0, _DATE),
            *(isal_zlib.crc32(content), len(packed), content.nbytes),
            *(len(title), 0),
        )
        parts += [_LOCAL, entry, title, packed]
        # Made by version, entry, then: comment, disk, two kinds of attributes, where it stands.
        rest = struct.pack("<3H2I", 0, 0, 0, 0, offset)
        directory += [_CENTRAL, struct.pack("<H", _VERSION), entry, rest, title]
        offset += _LOCAL_SIZE + len(title) + len(packed)
    index = b"".join(directory)
    count = len(members)
    end = struct.pack("<4H2IH", 0, 0, count, count, len(index), offset, 0)
    return b"".join([*parts, index, _END, end])


def _unpacked(archive: bytes, info: zipfile.ZipInfo) -> bytearray:
    """A member's content.

    Raises:
        ValueError: it is cut off, damaged, encrypted, or packed by another method than deflate.
    """
    header = archive[info.header_offset : info.header_offset + _LOCAL_SIZE]
    if len(header) < _LOCAL_SIZE:
        raise ValueError(f"{info.filename} lies behind the end of the file")
    name_length, extra_length = struct.unpack("<2H", header[26:])
    begin = info.header_offset + _LOCAL_SIZE
    name = archive[begin : begin + name_length].decode(
        "utf-8" if info.flag_bits & _UTF8 else "cp437"
    )
    if not header.startswith(_LOCAL) or name != info.orig_filename:
        raise ValueError(f"{info.filename} has another name at its place than in the directory")
    start = begin + name_length + extra_length
    packed = memoryview(archive)[start : start + info.compress_size]
    if info.flag_bits & 1:
        raise ValueError(f"{info.filename} is encrypted")
    if info.compress_type == zipfile.ZIP_DEFLATED:
        unpacker = isal_zlib.decompressobj(_RAW)
        # One byte more than announced: whatever comes beyond it is not unpacked.
        content = bytearray(unpacker.decompress(packed, info.file_size + 1))
    elif info.compress_type == zipfile.ZIP_STORED:
        content = bytearray(packed)
    else:
        raise ValueError(f"{info.filename} is packed by method {info.compress_type}, not deflate")
    if len(content) != info.file_size or isal_zlib.crc32(content) != info.CRC:
        raise ValueError(f"{info.filename} is damaged: its checksum differs")
    return content


def _array(content: bytearray) -> np.ndarray:
    """The array in the bytes of an ``.npy``: np.load, but for its parsing the same header every time.

    Raises:
        ValueError: it is none, of another version than 1.0, or holds objects.
    """
    start = _NPY_PREFIX + int.from_bytes(content[_NPY_PREFIX - 2 : _NPY_PREFIX], "little")
    shape, fortran_order, dtype = _header(bytes(content[:start]))
    array = np.frombuffer(content, dtype, math.prod(shape), start)
    return array.reshape(shape, order="F" if fortran_order else "C")


@lru_cache(maxsize=64)
def _header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type that the header of an ``.npy`` says."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"version {version} of the .npy format")
    with _PARSING:
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError("an array of Python objects, or of a negative size")
    return shape, fortran_order, dtype
