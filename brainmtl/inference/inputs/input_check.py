"""Reading what a user sends, and refusing what is no picture of a head, before any network runs.

The decoding is that of training (:mod:`brainmtl.data.image_io`); what stands here are the checks around
it: format, size, damage, and whether the picture could be a head MRI at all.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import reduce
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from brainmtl.data import image_io
from brainmtl.errors import DataError
from brainmtl.inference.results import InputError, Reason

# What training reads, without JPEG 2000, whose decoder is the one with the longest record of faults.
FORMATS = tuple(name for name in image_io.FORMATS if name != "JPEG2000")
MAX_FILE_BYTES = 512 * 2**20
MIN_SIDE = 32
MAX_ASPECT = 3.0
# A pixel is coloured when its channels differ by an eighth of the range. Of the public photographs of
# MRI none had more than 4 % of such pixels (captions, arrows); photographs have a quarter and more.
COLOURED, MAX_COLOURED_SHARE = 1 / 8, 0.15

ImageLike = bytes | bytearray | str | Path | Image.Image | np.ndarray


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture: ``luminance`` float32 (H, W), upright; ``coloured``: share of coloured pixels.

    ``sha256`` is that of the file's bytes or, of a PIL image or array, that of its pixels.
    """

    luminance: np.ndarray
    coloured: float
    sha256: str
    name: str | None = None


def read_picture(image: ImageLike) -> Picture:
    """Decode one picture as training does.

    Args:
        image: bytes of a file, a path, a PIL image, or an array (H, W) of numbers or (H, W, 3) RGB.

    Raises:
        InputError: with ``reason`` not_found, not_an_image, format_not_allowed, truncated (or damaged
            otherwise), animated, too_large, too_small or not_finite.
        TypeError: another type of argument.
    """
    if isinstance(image, np.ndarray):
        values, digest, name = _from_array(image), _digest(image), None
    elif isinstance(image, Image.Image):
        values, digest = _from_pil(image)
        name = None
    elif isinstance(image, str | Path):
        data, name = _read_file(Path(image)), str(image)
        values, digest = _from_bytes(data), hashlib.sha256(data).hexdigest()
    elif isinstance(image, bytes | bytearray):
        values, digest, name = _from_bytes(image), hashlib.sha256(image).hexdigest(), None
    else:
        raise TypeError(
            f"{type(image).__name__} is no picture: give bytes, a path, a PIL image or an array"
        )
    luminance = image_io.luminance_of(values)
    if not np.isfinite(luminance).all():
        raise InputError("not_finite", "the picture holds NaN or infinite values: export it again")
    return Picture(luminance, _coloured_share(values), digest, name)


def refuse(picture: Picture) -> Reason | None:
    """Why a readable picture cannot be a head MRI, if that can be seen without any network."""
    height, width = picture.luminance.shape
    if np.ptp(picture.luminance) == 0:
        return Reason(
            "blank", f"The picture is blank: every pixel is {picture.luminance.flat[0]:g}."
        )
    aspect = max(height, width) / min(height, width)
    if aspect > MAX_ASPECT:
        return Reason(
            "wrong_aspect",
            f"The picture is {width}x{height}, {aspect:.1f}:1. A head fills a frame of at most "
            f"{MAX_ASPECT:g}:1: cut one slice out of a strip of slices.",
        )
    if picture.coloured > MAX_COLOURED_SHARE:
        return Reason(
            "colour_photograph",
            f"{picture.coloured:.0%} of the picture is coloured, MRI is grey: this is a photograph, a "
            "colour map, or several sequences in one colour picture.",
        )
    return None


def check_size(height: int, width: int) -> None:
    """Refuse sizes that no slice has, from the header alone.

    Raises:
        InputError: more than 40 megapixels, or a side shorter than 32 pixels.
    """
    if height * width > image_io.MAX_PIXELS:
        raise InputError(
            "too_large",
            f"the picture is {width}x{height}, more than {image_io.MAX_PIXELS:,} pixels: scale it down",
        )
    if min(height, width) < MIN_SIDE:
        raise InputError(
            "too_small",
            f"the picture is {width}x{height}, and a head needs {MIN_SIDE} pixels per side at least: "
            "give the original, not a thumbnail",
        )


def _read_file(path: Path) -> bytes:
    if not path.is_file():
        raise InputError("not_found", f"{path} does not exist or is no file")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise InputError("too_large", f"{path} has {size:,} bytes, more than {MAX_FILE_BYTES:,}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError("unreadable", f"{path} cannot be read ({error.strerror})") from error


def _from_bytes(data: bytes | bytearray) -> np.ndarray:
    _check_header(bytes(data[:512]), data)
    try:
        values, _ = image_io.decode(BytesIO(data))
    except DataError as error:
        raise _damaged(error) from error
    return values


def _check_header(prefix: bytes, data: bytes | bytearray) -> None:
    found = _formats(prefix)
    if not found & set(FORMATS):
        raise _unknown(prefix, found)
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            check_size(image.height, image.width)
            # an MPO is a photograph with previews behind it; its first frame is the picture
            if image.format != "MPO" and getattr(image, "is_animated", False):
                raise _animated()
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError("too_large", f"the picture is too large: {error}") from error
    except Exception as error:
        raise _damaged(error) from error


def _formats(prefix: bytes) -> set[str]:
    """Names of Pillow's formats whose signature ``prefix`` begins with; no parser runs."""
    Image.init()
    prefix = prefix.ljust(32, b"\0")  # some of Pillow's checks expect more than one byte
    return {name for name, (_, accept) in Image.OPEN.items() if accept and accept(prefix)}


def _unknown(prefix: bytes, found: set[str]) -> InputError:
    allowed = ", ".join(FORMATS)
    if not prefix:
        return InputError("not_an_image", "the file is empty")
    if prefix[128:132] == b"DICM":
        return InputError(
            "format_not_allowed",
            "this is a DICOM file: give the folder of its series, or export the slice as PNG",
        )
    if prefix[344:347] in (b"n+1", b"ni1"):
        return InputError("format_not_allowed", "this is a NIfTI file: give it as a volume")
    if found:
        return InputError(
            "format_not_allowed",
            f"the format {sorted(found)[0]} is not read here: export the picture as one of {allowed}",
        )
    return InputError("not_an_image", f"this is no picture: give one of {allowed}")


def _from_pil(image: Image.Image) -> tuple[np.ndarray, str]:
    check_size(image.height, image.width)
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise _animated()
    try:
        image.load()
        values = image_io.pixels_of(image)
    except Exception as error:
        raise _damaged(error) from error
    values = np.ascontiguousarray(values)
    return values, _digest(values)


def _from_array(array: np.ndarray) -> np.ndarray:
    grey = array.ndim == 2
    if not (grey or (array.ndim == 3 and array.shape[2] == 3)):
        raise InputError(
            "not_an_image", f"an array of shape {array.shape} is no picture: (H, W) or (H, W, 3)"
        )
    if array.dtype.kind not in "uif":
        raise InputError("not_an_image", f"an array of {array.dtype} holds no grey values")
    check_size(*array.shape[:2])
    # integers of 64 bits and float64 beyond float32 become infinite here and are refused as such
    with np.errstate(over="ignore"):
        return array if array.dtype == np.uint8 else array.astype(np.float32)


def _coloured_share(values: np.ndarray) -> float:
    """Share of pixels whose channels differ by more than COLOURED of the range."""
    if values.ndim == 2 or values.shape[2] < 3:
        return 0.0
    channels = [values[..., c] for c in range(3)]
    if values.shape[2] == 4:
        opacity = values[..., 3].astype(np.float32) / 255
        channels = [channel.astype(np.float32) * opacity for channel in channels]
    # pair by pair: a reduction over an axis of three takes ten times as long
    spread = reduce(np.maximum, channels) - reduce(np.minimum, channels)
    byte = values.dtype == np.uint8
    full = 255.0 if byte else max(float(np.abs(channel).max()) for channel in channels)
    return np.count_nonzero(spread > COLOURED * full) / spread.size if full else 0.0


def _digest(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _animated() -> InputError:
    return InputError(
        "animated", "the file holds several frames or pages: give one picture, or a volume as NIfTI"
    )


def _damaged(error: Exception) -> InputError:
    what = "no complete header" if isinstance(error, UnidentifiedImageError) else str(error)
    return InputError(
        "truncated", f"the file is truncated or damaged ({what}): export or send it again"
    )
