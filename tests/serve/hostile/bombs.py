"""Bombs: little data that claims or unfolds to much."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib

from hostile.building import (
    ANY,
    BODY_LIMIT_MB,
    Hostile,
    Rng,
    chunk,
    encode,
    head,
    header,
    kind,
    png,
    sent,
    volume,
    zeros_gz,
)


@kind
def huge_dimensions(rng: Rng) -> Hostile:
    size = int(rng.integers(10_000, 2**31 - 1))
    return sent(png(size, size, chunk(b"IDAT", zlib.compress(bytes(1000)))), {413})


@kind
def huge_bmp(rng: Rng) -> Hostile:
    size = int(rng.integers(10_000, 2**30))
    info = struct.pack("<IiiHHIIiiII", 40, size, size, 1, 24, 0, 0, 0, 0, 0, 0)
    return sent(b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info, {413, 422}, "scan.bmp")


@kind
def text_chunk_bomb(rng: Rng) -> Hostile:
    bomb = b"Comment\0\0" + zlib.compress(bytes(32 << 20), 9)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in head(rng, 64, 64)))
    return sent(png(64, 64, chunk(b"zTXt", bomb), chunk(b"IDAT", pixels)), ANY)


@kind
def pixel_bomb(rng: Rng) -> Hostile:
    """16 megapixels of black in 16 kB: legal, and nothing to see in it."""
    return sent(png(4096, 4096, chunk(b"IDAT", zlib.compress(bytes(4096 * 4097), 9))), {200})


@kind
def too_much_data(rng: Rng) -> Hostile:
    return sent(
        encode(head(rng)) + bytes((BODY_LIMIT_MB << 20) + int(rng.integers(1 << 20))), {413}
    )


@kind
def zip_bomb(rng: Rng) -> Hostile:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("scan.png", bytes(16 << 20))
    return sent(stream.getvalue(), {415}, "scan.zip", "application/zip")


@kind
def gzip_bomb_behind_a_small_volume(rng: Rng) -> Hostile:
    return volume(gzip.compress(header((8, 8, 8)) + bytes(2048)) + zeros_gz(64), {422})


@kind
def gzip_bomb_announced(rng: Rng) -> Hostile:
    return volume(gzip.compress(header((400, 400, 400)) + bytes(64 << 10)) + zeros_gz(16), {413})


@kind
def gzip_bomb_in_the_extension(rng: Rng) -> Hostile:
    start = bytearray(header((8, 8, 8)))
    start[108:112] = struct.pack("<f", 1024)  # where the voxels begin
    claim = bytes(start[:348]) + b"\1\0\0\0" + struct.pack("<ii", 2**31 - 16, 6)
    return volume(gzip.compress(claim) + zeros_gz(64), {422})


@kind
def gzip_of_gzip(rng: Rng) -> Hostile:
    return volume(gzip.compress(zeros_gz(64)), {415})
