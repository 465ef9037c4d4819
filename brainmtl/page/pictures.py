"""What is drawn of a picture and of the service's answer on it: decoded as the service decodes."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from brainmtl.inference.png import png_bytes

MAX_SIDE = 1024  # of what is drawn; larger pictures are shrunk before anything is laid over them
WIDTHS = {1: 400, 2: 250, 3: 200}  # px of each of so many pictures in a row
THUMBNAIL_SIDE = 96


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture to look at: ``pixels`` uint8 (H, W, 3) as it came, ``luminance`` float32 (H, W)."""

    pixels: np.ndarray
    luminance: np.ndarray


def read_shown(data: bytes) -> Shown:
    """Decode an upload that the service has read; at most MAX_SIDE pixels per side.

    Raises:
        InputError: it cannot be read.
    """
    from brainmtl.data import image_io
    from brainmtl.inference.inputs.input_check import read_picture
    from brainmtl.inference.overlay import grey_picture

    luminance = _shrunk(read_picture(data).luminance)
    values, _ = image_io.decode(BytesIO(data))
    coloured = values.ndim == 3 and values.shape[2] >= 3 and values.dtype == np.uint8
    pixels = _shrunk(values[..., :3]) if coloured else grey_picture(luminance)
    return Shown(pixels, luminance)


def outlined(shown: Shown, mask_png: str) -> np.ndarray:
    """uint8 (H, W, 3): the picture with the outline of a mask of an answer."""
    from brainmtl.inference.overlay import contour_overlay

    return contour_overlay(shown.luminance, _fitted(mask_png, shown) > 127)


def heated(shown: Shown, gradcam_png: str) -> np.ndarray:
    """uint8 (H, W, 3): the picture under a heat map of an answer."""
    from brainmtl.inference.overlay import heat_overlay

    return heat_overlay(shown.luminance, _fitted(gradcam_png, shown).astype(np.float32) / 255)


def thumbnail(data: bytes, result: Mapping[str, Any]) -> str:
    """A small PNG of a picture and its outline as a data URL, for a cell of a table."""
    shown = read_shown(data)
    mask = result["segmentation"]["mask_png"]
    image = Image.fromarray(shown.pixels if mask is None else outlined(shown, mask))
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return f"data:image/png;base64,{base64.b64encode(png_bytes(np.asarray(image))).decode()}"


def show_row(pictures: Mapping[str, np.ndarray]) -> None:
    """Pictures side by side by caption: 400 px wide alone, 250 px in pairs, 200 px in threes."""
    with st.container(horizontal=True):
        for caption, pixels in pictures.items():
            st.image(pixels, caption=caption, width=WIDTHS[len(pictures)])


def _decoded(png: str) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(base64.b64decode(png)), formats=("PNG",)).convert("L"))


def _fitted(png: str, shown: Shown) -> np.ndarray:
    values, (height, width) = _decoded(png), shown.luminance.shape
    if values.shape == (height, width):
        return values
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))


def _shrunk(values: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, 3), shrunk to MAX_SIDE where it is larger."""
    factor = MAX_SIDE / max(values.shape[:2])
    if factor >= 1:
        return values
    height, width = (max(1, round(side * factor)) for side in values.shape[:2])
    image = Image.fromarray(np.ascontiguousarray(values))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
