"""Disguises: other contents than the name says, or more."""

from __future__ import annotations

import io
import zipfile

import numpy as np
from PIL import Image

from hostile.building import Hostile, Rng, encode, head, kind, nifti, pick, sent, volume


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
    return sent(pick(rng, bodies), {415})


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
    return sent(encode(head(rng)) + pick(rng, tails), {200})


@kind
def animated(rng: Rng) -> Hostile:
    frames = [Image.fromarray(head(rng)) for _ in range(3)]
    format = str(rng.choice(["GIF", "WEBP", "PNG", "TIFF"]))
    data = encode(frames[0], format, save_all=True, append_images=frames[1:])
    return sent(data, {422}, f"scan.{format.lower()}")
