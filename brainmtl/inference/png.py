"""PNG files, written for speed: Pillow tries all five filters on every row, which takes most of its time.

W3C Recommendation "Portable Network Graphics (PNG) Specification (Third Edition)", 2025.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from isal import isal_zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB = 0, 2  # colour types
UP = 2  # the filter: each byte less the one above it
STRIP_ROWS = 256  # filtered at a time: 40 megapixels need no second copy


def png_bytes(pixels: np.ndarray) -> bytes:
    """Pixels uint8 (H, W) or (H, W, 3), or uint16 (H, W), as the bytes of a PNG file.

    Every row is filtered by the one above and packed by ISA-L: what masks and heat maps need.

    Raises:
        ValueError: another type or shape, or no pixels.
    """
    grey = pixels.ndim == 2
    known = pixels.dtype == np.uint8 or (grey and pixels.dtype == np.uint16)
    if not known or not (grey or pixels.shape[2:] == (3,)) or not pixels.size:
        raise ValueError(
            f"pixels of {pixels.dtype} {pixels.shape} are not uint8 (H, W) or (H, W, 3), or uint16 (H, W)"
        )
    height, width = pixels.shape[:2]
    depth, colour = 8 * pixels.dtype.itemsize, GREY if grey else RGB
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    packer = isal_zlib.compressobj(1)
    packed = b"".join([*map(packer.compress, _filtered(pixels)), packer.flush()])
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(name, data) for name, data in chunks)


def _filtered(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """Strips of uint8 rows, each of which begins with its filter's number."""
    above = None
    for start in range(0, len(pixels), STRIP_ROWS):
        strip = pixels[start : start + STRIP_ROWS]
        if strip.dtype == np.uint16:
            strip = strip.astype(">u2")
        rows = np.ascontiguousarray(strip).view(np.uint8).reshape(len(strip), -1)
        found = np.empty((len(rows), 1 + rows.shape[1]), dtype=np.uint8)
        found[:, 0] = UP
        found[0, 1:] = rows[0] if above is None else rows[0] - above
        np.subtract(rows[1:], rows[:-1], out=found[1:, 1:])
        above = rows[-1]
        yield found


def _chunk(name: bytes, data: bytes) -> bytes:
    return (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", isal_zlib.crc32(name + data))
    )
