"""What hostile uploads are built from, and the register of their kinds."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

OK, BAD = {200}, {400, 413, 415, 422}
ANY = OK | BAD
BODY_LIMIT_MB = 8  # of the server that these are sent to


@dataclass(frozen=True)
class Hostile:
    """A request to ``path`` and the statuses that answer it rightly."""

    kind: str
    expected: set[int]
    request: dict[str, Any]  # keyword arguments of httpx
    path: str = "/predict_multitask"


Rng = np.random.Generator
Kind = Callable[[Rng], Hostile]
KINDS: dict[str, Kind] = {}


def kind(function: Kind) -> Kind:
    KINDS[function.__name__] = function
    return function


def pick(rng: Rng, choices: Sequence[Any]) -> Any:
    """One of ``choices``, of any kind (rng.choice() makes arrays of them)."""
    return choices[rng.integers(len(choices))]


def head(rng: Rng, height: int = 96, width: int = 80) -> np.ndarray:
    """A textured ellipse on black, uint8."""
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    noise = rng.normal(120, 25, (height, width)).clip(30, 255)
    return ((rows**2 + columns**2 < 0.8) * noise).astype(np.uint8)


def encode(image: np.ndarray | Image.Image, format: str = "PNG", **options: Any) -> bytes:
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 0) -> bytes:
    start = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = b"".join((chunk(b"IHDR", start), *chunks, chunk(b"IEND", b"")))
    return b"\x89PNG\r\n\x1a\n" + body


def sent(
    data: bytes, expected: set[int], name: str = "scan.png", type: str = "image/png"
) -> Hostile:
    return Hostile("", expected, {"files": {"file": (name, data, type)}})


def volume(data: bytes, expected: set[int], name: str = "scan.nii.gz") -> Hostile:
    files = {"file": (name, data, "application/gzip")}
    return Hostile("", expected, {"files": files}, "/predict_volume")


def raw(body: bytes, content_type: str, expected: set[int]) -> Hostile:
    return Hostile("", expected, {"content": body, "headers": {"Content-Type": content_type}})


def nifti(array: np.ndarray) -> bytes:
    return nib.Nifti1Image(array, np.eye(4)).to_bytes()


def header(shape: tuple[int, ...], dtype: Any = np.float32) -> bytes:
    """The first 352 bytes of a volume that is announced and not there."""
    image = nib.Nifti1Header()
    image.set_data_dtype(dtype)
    image.set_data_shape(shape)
    image.set_sform(np.eye(4), 1)
    image["vox_offset"] = 352
    return image.binaryblock + bytes(4)


@cache
def zeros_gz(megabytes: int) -> bytes:
    return gzip.compress(bytes(megabytes << 20), 9)


def flipped(rng: Rng, data: bytes, share: float = 0.002) -> bytes:
    values = np.frombuffer(data, np.uint8).copy()
    places = rng.integers(0, len(values), max(1, int(share * len(values))))
    values[places] = rng.integers(0, 256, len(places))
    return values.tobytes()
