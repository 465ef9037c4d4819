"""Pictures that are damaged: cut, with flipped bits, empty, of noise, too small."""

from __future__ import annotations

import numpy as np

from hostile.building import ANY, BAD, Hostile, Rng, encode, flipped, head, kind, pick, sent


@kind
def truncated_png(rng: Rng) -> Hostile:
    data = encode(head(rng))
    return sent(data[: int(rng.uniform(0.1, 0.8) * len(data))], {422})


@kind
def truncated_jpeg(rng: Rng) -> Hostile:
    data = encode(head(rng), "JPEG")
    return sent(data[: int(rng.uniform(0.1, 0.8) * len(data))], {422}, "scan.jpg")


@kind
def flipped_bits(rng: Rng) -> Hostile:
    format = rng.choice(["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM"])
    return sent(flipped(rng, encode(head(rng), str(format))), ANY)


@kind
def flipped_header(rng: Rng) -> Hostile:
    data = encode(head(rng), str(rng.choice(["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP"])))
    return sent(flipped(rng, data[:64], 0.1) + data[64:], ANY)


@kind
def wrong_checksum(rng: Rng) -> Hostile:
    data = bytearray(encode(head(rng)))
    data[data.index(b"IDAT") + 10] ^= 0xFF
    return sent(bytes(data), {422})


@kind
def magic_then_noise(rng: Rng) -> Hostile:
    starts = (
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"II*\0",
        b"MM\0*",
        b"BM",
        b"GIF89a",
        b"P5 ",
    )
    return sent(pick(rng, starts) + rng.bytes(int(rng.integers(1, 4000))), BAD)


@kind
def random_bytes(rng: Rng) -> Hostile:
    return sent(b"\x01" + rng.bytes(int(rng.integers(1, 20_000))), {415, 422})


@kind
def empty(rng: Rng) -> Hostile:
    return sent(b"", {415, 422})


@kind
def nan_tiff(rng: Rng) -> Hostile:
    values = head(rng).astype(np.float32)
    values[rng.integers(20, 60), 40] = rng.choice([np.nan, np.inf, -np.inf])
    return sent(encode(values, "TIFF"), {422}, "scan.tif")


@kind
def tiny(rng: Rng) -> Hostile:
    shape = pick(rng, ((1, 1), (1, 500), (31, 31), (2, 2)))
    return sent(encode(np.full(shape, 99, np.uint8)), {422})
