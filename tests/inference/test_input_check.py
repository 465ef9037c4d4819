"""What is sent is read as in training, or refused with the right word."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainmtl.data.image_io import MAX_PIXELS, read_image
from brainmtl.inference.inputs.input_check import FORMATS, read_picture, refuse
from brainmtl.inference.results import InputError

RNG = np.random.default_rng(0)


def grey(height: int = 64, width: int = 48) -> np.ndarray:
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    inside = rows**2 + columns**2 < 0.7
    return (inside * (120 + 40 * np.sin(6 * rows) * np.cos(4 * columns))).astype(np.uint8)


def encode(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    stream = BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(stream, kind, **options)
    return stream.getvalue()


def reason_of(image: object) -> str:
    with pytest.raises(InputError) as caught:
        read_picture(image)
    assert len(str(caught.value)) > 10
    return caught.value.reason


def modes() -> dict[str, bytes]:
    """Files of every kind that a viewer might write."""
    plane = grey()
    image, colour = Image.fromarray(plane), Image.fromarray(np.stack([plane] * 3, -1))
    alpha = Image.fromarray(np.dstack([plane, plane, plane, np.full_like(plane, 128)]))
    wide = Image.fromarray(plane.astype(np.uint16) * 200)
    turned = Image.Exif()
    turned[0x0112] = 6
    return {
        "grey png": encode(image),
        "rgb png": encode(colour),
        "alpha png": encode(alpha),
        "16 bit png": encode(wide),
        "16 bit tiff": encode(wide, "TIFF"),
        "float tiff": encode(Image.fromarray(plane.astype(np.float32) / 7), "TIFF"),
        "cmyk jpeg": encode(colour.convert("CMYK"), "JPEG", quality=95),
        "cmyk tiff": encode(colour.convert("CMYK"), "TIFF"),
        "palette png": encode(colour.quantize(64)),
        "gif": encode(image, "GIF"),
        "bmp": encode(image, "BMP"),
        "webp": encode(colour, "WEBP", lossless=True),
        "pgm": encode(image, "PPM"),
        "bilevel png": encode(image.convert("1")),
        "turned jpeg": encode(image, "JPEG", exif=turned),
    }


@pytest.mark.parametrize("name", modes())
def test_bit_equal_to_what_training_reads(name: str, tmp_path: Path) -> None:
    data = modes()[name]
    path = tmp_path / "picture"
    path.write_bytes(data)
    expected = read_image(path)
    assert expected.std() > 5, "the comparison must not be one of blank pictures"
    opened = Image.open(BytesIO(data))
    for image in (data, bytearray(data), path, str(path), opened):
        found = read_picture(image)
        np.testing.assert_array_equal(found.luminance, expected)
        assert found.luminance.dtype == np.float32 and found.coloured == 0
        assert refuse(found) is None


def test_cmyk_palette_alpha_and_depth_have_the_right_values() -> None:
    """Against the plane itself, not against the reader."""
    plane = grey().astype(np.float32)
    files = modes()
    for name, scale, tolerance in (
        ("cmyk tiff", 1, 2),
        ("cmyk jpeg", 1, 8),
        ("palette png", 1, 8),
        ("16 bit png", 200, 0),
        ("16 bit tiff", 200, 0),
        ("alpha png", 128 / 255, 1e-3),
        ("gif", 1, 0),
    ):
        found = read_picture(files[name]).luminance
        assert np.abs(found - plane * scale).max() <= tolerance, name
    assert read_picture(files["turned jpeg"]).luminance.shape == (48, 64)


def test_arrays_are_read_as_their_values() -> None:
    plane = grey()
    for dtype in (np.uint8, np.uint16, np.int16, np.int64, np.float16, np.float32, np.float64):
        np.testing.assert_array_equal(read_picture(plane.astype(dtype)).luminance, plane)
    colour = np.stack([plane] * 3, axis=-1)
    np.testing.assert_array_equal(read_picture(colour).luminance, plane)
    np.testing.assert_array_equal(read_picture(colour.astype(float)).luminance, plane)
    np.testing.assert_array_equal(read_picture(plane[::-1, ::-1]).luminance, plane[::-1, ::-1])


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.full((64, 64), np.nan), "not_finite"),
        (np.where(np.eye(64) > 0, np.inf, 1.0), "not_finite"),
        (np.full((64, 64), 1e300), "not_finite"),
        (np.zeros((64, 64), dtype=complex), "not_an_image"),
        (np.zeros((64, 64), dtype=bool), "not_an_image"),
        (np.zeros((64, 64), dtype=object), "not_an_image"),
        (np.zeros((64, 64), dtype="U4"), "not_an_image"),
        (np.zeros(64), "not_an_image"),
        (np.zeros((64, 64, 2)), "not_an_image"),
        (np.zeros((4, 64, 64)), "not_an_image"),
        (np.zeros((1, 1)), "too_small"),
        (np.zeros((0, 64)), "too_small"),
        (np.zeros((31, 200)), "too_small"),
        (np.broadcast_to(np.uint8(1), (7000, 7000)), "too_large"),
    ],
)
def test_arrays_that_are_no_pictures(array: np.ndarray, reason: str) -> None:
    assert reason_of(array) == reason


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", b"x\x9c")
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not_an_image"),
        (b"\x00" * 500, "not_an_image"),
        (b"%PDF-1.7 and so on", "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image"),
        (b"\x00" * 128 + b"DICM" + b"\x00" * 400, "format_not_allowed"),
        (b"\x00" * 344 + b"n+1\x00" + b"\x00" * 400, "format_not_allowed"),
        (encode(grey(), "JPEG2000"), "format_not_allowed"),
        (encode(grey(), "TGA"), "not_an_image"),
        (encode(grey(), "ICO"), "format_not_allowed"),
        (encode(Image.fromarray(grey()).convert("RGB"), "EPS"), "format_not_allowed"),
        (encode(np.zeros((1, 1), np.uint8)), "too_small"),
        (encode(grey(31, 64)), "too_small"),
        (png_header(30_000, 2), "too_small"),
        (png_header(10_000, MAX_PIXELS // 10_000 + 1), "too_large"),
        (png_header(2**31 - 1, 2**31 - 1), "too_large"),
        (png_header(100, 100), "truncated"),
    ],
)
def test_bytes_that_are_no_pictures(data: bytes, reason: str) -> None:
    assert reason_of(data) == reason


def test_animations_are_refused_and_single_frames_read() -> None:
    frames = [Image.fromarray(np.roll(grey(), k, axis=0)) for k in range(3)]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        assert (
            reason_of(encode(frames[0], kind, save_all=True, append_images=frames[1:]))
            == "animated"
        )
    opened = Image.open(BytesIO(encode(frames[0], "GIF", save_all=True, append_images=frames[1:])))
    assert reason_of(opened) == "animated"
    assert read_picture(encode(frames[0], "GIF", save_all=True)).luminance.shape == (64, 48)


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "GIF"] + ["GIF"])
def test_every_cut_is_noticed(kind: str) -> None:
    """Whatever is left of a file: never a picture with a grey or black rest, never another error."""
    data = encode(RNG.integers(0, 255, (64, 64), dtype=np.uint8), kind)
    whole = read_picture(data).luminance
    for end in np.linspace(0, len(data) - 1, 40).astype(int):
        try:
            found = read_picture(data[:end])
        except InputError as error:
            assert error.reason in ("truncated", "not_an_image")
        else:  # only the trailer is missing: all pixels are there
            assert end >= len(data) - 64
            np.testing.assert_array_equal(found.luminance, whole)


@pytest.mark.parametrize("kind", FORMATS)
def test_flipped_bytes_are_input_errors_or_pictures(kind: str) -> None:
    data = bytearray(encode(grey(), kind))
    for _ in range(150):
        broken = bytearray(data)
        for place in RNG.integers(0, len(data), RNG.integers(1, 6)):
            broken[place] = RNG.integers(0, 256)
        try:
            refuse(read_picture(bytes(broken)))
        except InputError as error:
            assert error.reason


def test_files_that_are_not_there_or_too_big(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reason_of(tmp_path / "none.png") == "not_found"
    assert reason_of(tmp_path) == "not_found"
    (tmp_path / "a.png").write_bytes(encode(grey()))
    monkeypatch.setattr("brainmtl.inference.inputs.input_check.MAX_FILE_BYTES", 100)
    assert reason_of(tmp_path / "a.png") == "too_large"
    with pytest.raises(TypeError, match="int is no picture"):
        read_picture(3)


def test_truncated_pil_image() -> None:
    data = encode(RNG.integers(0, 255, (64, 64), dtype=np.uint8))
    assert reason_of(Image.open(BytesIO(data[: len(data) // 2]))) == "truncated"


def test_hash_is_that_of_the_file_and_of_pixels_otherwise(tmp_path: Path) -> None:
    from brainmtl.files import sha256

    (tmp_path / "a.png").write_bytes(encode(grey()))
    data = (tmp_path / "a.png").read_bytes()
    assert read_picture(data).sha256 == read_picture(tmp_path / "a.png").sha256
    assert read_picture(data).sha256 == sha256(tmp_path / "a.png")
    assert read_picture(grey()).sha256 == read_picture(grey()).sha256
    assert read_picture(grey()).sha256 != read_picture(grey() + 1).sha256
    assert read_picture(grey()).sha256 != read_picture(grey().astype(float)).sha256


def code(image: np.ndarray) -> str | None:
    found = refuse(read_picture(image))
    return None if found is None else found.code


def test_what_is_readable_but_no_head() -> None:
    assert code(np.full((64, 64), 17, np.uint8)) == "blank"
    assert code(np.full((64, 64), 0.25)) == "blank"
    assert code(grey(64, 64 * 3)) is None
    assert code(grey(64, 64 * 3 + 1)) == "wrong_aspect"
    assert code(grey(64 * 3 + 1, 64)) == "wrong_aspect"


def test_colour_photographs_are_told_from_grey_pictures_with_a_caption() -> None:
    plane = grey(128, 128)
    colour = np.stack([plane] * 3, axis=-1)
    assert code(colour) is None
    noisy = np.clip(colour.astype(int) + RNG.integers(-8, 9, colour.shape), 0, 255).astype(np.uint8)
    assert code(noisy) is None
    captioned = colour.copy()
    captioned[:10, :80] = (255, 220, 0)  # 5 % of the picture
    assert code(captioned) is None
    photograph = np.stack([plane, np.roll(plane, 40, 0), np.roll(plane, 40, 1)], axis=-1)
    for scaled in (photograph, photograph / 255.0, photograph.astype(np.uint16) * 257):
        assert code(scaled) == "colour_photograph"
    assert code(np.asarray(Image.fromarray(photograph).convert("L"))) is None
    hidden = np.dstack([photograph, np.full(plane.shape, 10, np.uint8)])  # nearly transparent
    assert read_picture(encode(Image.fromarray(hidden))).coloured == 0
