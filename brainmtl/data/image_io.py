"""Reading pictures safely: a fixed list of formats, no decompression bombs, true luminance."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image

from brainmtl.errors import DataError

# Formats whose content, not whose name, decides: published sets hold PNG files called .jpg.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")
PICTURE_SUFFIXES = frozenset(
    [
        ".png",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".bmp",
        ".dib",
        ".gif",
        ".tif",
        ".tiff",
        ".webp",
        ".pgm",
        ".ppm",
        ".pnm",
        ".pbm",
        ".jp2",
        ".j2k",
    ]
)
LOSSY = ("JPEG", "MPO", "JPEG2000")  # always or perhaps: the header does not say
# 40 megapixels: above any slice or scanned film, below what would fill a small machine's memory.
MAX_PIXELS = 40_000_000

Picture = str | Path | BinaryIO


def read_image(picture: Picture) -> np.ndarray:
    """Read a picture as luminance, (H, W) float32, rotated as its EXIF orientation says.

    8-bit pictures come in 0..255, 16-bit, 32-bit and float ones with their own values. Colour is
    weighted as in ITU-R BT.601 (0.299 R + 0.587 G + 0.114 B), so a grey picture saved as RGB reads
    the same as one saved as grey. Palettes are read by their colours, transparency lies on black.
    (Pillow reads colour of 16 bits per channel with 8 bits.)

    Raises DataError for another format, a damaged file, an animation, more than 40 megapixels, or
    values that are not finite.
    """
    values, _ = decode(picture)
    luminance = luminance_of(values)
    if not np.isfinite(luminance).all():
        raise DataError(f"{_name(picture)}: holds NaN or infinite pixels. Export it again.")
    return luminance


def read_channel(picture: Picture, channel: int) -> np.ndarray:
    """Read a channel of an RGB picture as stored, (H, W) float32; DataError if it is not RGB.

    For files that keep one sequence per colour channel (the LGG set).
    """
    values, _ = decode(picture)
    if values.ndim != 3 or values.shape[2] != 3:
        raise DataError(f"{_name(picture)}: {values.shape} is not a picture of three channels.")
    return values[..., channel].astype(np.float32)


def read_mask_image(picture: Picture) -> np.ndarray:
    """Read a mask as bool (H, W): everything above 0 belongs to it.

    Lossy compression (JPEG, and what WebP, JPEG 2000 and TIFF may hold) blurs a mask's edge, so there
    (in JPEG 2000 always, which does not say) the cut is at 128, and a mask with no brighter pixel than
    that (a label map of 0 and 1, destroyed by the compression) is refused unless it is all 0.
    """
    values, lossy = decode(picture)
    luminance = luminance_of(values)
    if not np.isfinite(luminance).all():
        raise DataError(f"{_name(picture)}: holds NaN or infinite pixels. Export it again.")
    if not lossy:
        return luminance > 0
    if 0 < luminance.max() < 128:
        raise DataError(
            f"{_name(picture)}: a mask in a lossy format needs 255 for tumour, its brightest pixel is "
            f"{luminance.max():.0f}. Save masks as PNG."
        )
    return luminance >= 128


def _name(picture: Picture) -> str:
    return str(picture if isinstance(picture, str | Path) else getattr(picture, "name", "picture"))


def decode(picture: Picture) -> tuple[np.ndarray, bool]:
    """Pixels as :func:`pixels_of` gives them, and whether they may have been compressed with loss.

    Raises DataError for another format, a damaged file, an animation, or more than 40 megapixels.
    """
    name = _name(picture)
    try:
        # A stream and not a path: Pillow 12 maps uncompressed TIFF files that it opens by path into
        # memory, and then scrambles those whose orientation is a quarter turn.
        with ExitStack() as stack:
            if isinstance(picture, str | Path):
                picture = stack.enter_context(open(picture, "rb"))
            Image.init()  # Image.open loads only the commonest plugins when formats are named
            image = stack.enter_context(Image.open(picture, formats=FORMATS))
            _check_header(image, name)
            image.load()
            values = pixels_of(image)
            return np.ascontiguousarray(values), _lossy(image, picture)
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file.") from error
    except Image.DecompressionBombError as error:
        raise DataError(_too_large(name, str(error))) from error
    except Exception as error:
        raise DataError(
            f"{name}: not a readable picture ({type(error).__name__}: {error}). "
            f"Formats: {', '.join(FORMATS)}. Export or download it again."
        ) from error


def _lossy(image: Image.Image, stream: BinaryIO) -> bool:
    """Whether compression may have changed the pixels of ``image``, which ``stream`` holds."""
    if image.format == "WEBP":
        stream.seek(12)  # behind RIFF, size, WEBP: parts with a name and a size, padded to even
        while (name := stream.read(4)) not in (b"VP8L", b"VP8 ", b""):
            size = int.from_bytes(stream.read(4), "little")
            stream.seek(size + size % 2, 1)
        return name != b"VP8L"
    return image.format in LOSSY or image.info.get("compression") == "jpeg"  # of TIFF


def _check_header(image: Image.Image, name: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise DataError(_too_large(name, f"{image.width}x{image.height}"))
    # An MPO is a photograph with previews behind it; its first frame is the picture.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise DataError(
            f"{name}: holds {image.n_frames} frames or pages, and one picture is expected. "
            "Save each as a file of its own, or give a volume as NIfTI."
        )


def _too_large(name: str, size: str) -> str:
    return f"{name}: {size} is more than {MAX_PIXELS:,} pixels. Scale it down or cut it."


def pixels_of(image: Image.Image) -> np.ndarray:
    """Pixels of a loaded picture, upright: (H, W) or (H, W, channels: LA, RGB or RGBA)."""
    return _upright(_pixels(image), _orientation(image))


def _pixels(image: Image.Image) -> np.ndarray:
    """Pixels of a loaded picture, whatever its mode, as grey, LA, RGB or RGBA."""
    mode = image.mode
    if mode.startswith("I;16") or mode in ("I", "F"):
        values = np.asarray(image).astype(np.float32)
        # TIFF may store white as 0; Pillow turns that round for 8 bits but not for 16.
        inverted = mode.startswith("I;16") and getattr(image, "tag_v2", {}).get(262) == 0
        return 65535 - values if inverted else values
    if mode in ("1", "L", "P", "RGB") and "transparency" in image.info:
        return np.asarray(image.convert("RGBA"))
    if mode in ("L", "LA", "RGB", "RGBA"):
        return np.asarray(image)
    if mode == "1":
        return np.asarray(image.convert("L"))
    if mode == "LAB":  # Pillow cannot convert it; its first channel is the lightness
        return np.asarray(image)[..., 0]
    alpha = mode.endswith(("A", "a")) or (mode == "P" and image.palette.mode == "RGBA")
    return np.asarray(image.convert("RGBA" if alpha else "RGB"))


def luminance_of(values: np.ndarray) -> np.ndarray:
    """Grey, LA, RGB or RGBA pixels as luminance (H, W) float32, transparency on black."""
    if values.ndim == 2:
        return values.astype(np.float32)
    if values.shape[2] >= 3 and _is_grey(values):  # as most pictures of MRI are
        luminance = values[..., 0].astype(np.float32)
    elif values.shape[2] >= 3:
        red, green, blue = (values[..., c].astype(np.float32) for c in range(3))
        # Integer weights keep the sum exact (below 2**24), so equal channels give their own value.
        luminance = (299 * red + 587 * green + 114 * blue) / np.float32(1000)
    else:
        luminance = values[..., 0].astype(np.float32)
    if values.shape[2] in (2, 4):
        luminance = luminance * (values[..., -1].astype(np.float32) / np.float32(255))
    return luminance


def _is_grey(values: np.ndarray) -> bool:
    """Whether all pixels (H, W, 3 or 4) have equal channels; nearly always the first rows tell."""
    red, green, blue = (values[..., c] for c in range(3))
    return all(
        np.array_equal(red[rows], other[rows])
        for rows in (slice(16), slice(16, None))
        for other in (green, blue)
    )


def _orientation(image: Image.Image) -> int:
    try:  # after load(): Pillow turns TIFF files itself and then drops the tag
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1


def _upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Undo EXIF ``orientation`` (1..8) on (H, W) or (H, W, channels)."""
    turns = {3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}.get(orientation, 0)  # quarter turns to the left
    values = np.rot90(values, turns)
    return values[:, ::-1] if orientation in (2, 4, 5, 7) else values
