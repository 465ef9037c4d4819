from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from brainmtl.data import image_io
from brainmtl.data.image_io import read_channel, read_image, read_mask_image
from brainmtl.errors import DataError

GREY = np.random.default_rng(0).integers(0, 256, (12, 17), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (12, 17, 3), dtype=np.uint8)
LUMINANCE = COLOUR @ np.array([0.299, 0.587, 0.114])


def save(path: Path, array: np.ndarray, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tif", "pgm", "webp", "jp2", "PNG"])
def test_grey_of_every_lossless_format_is_exact(tmp_path: Path, suffix: str) -> None:
    options = {"webp": {"lossless": True}}.get(suffix, {})
    image = read_image(save(tmp_path / f"a.{suffix}", GREY, **options))
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, GREY)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "PA"])
def test_grey_reads_alike_in_every_mode(tmp_path: Path, mode: str) -> None:
    path = save(tmp_path / "a.tif" if mode == "PA" else tmp_path / "a.png", GREY, mode)
    np.testing.assert_array_equal(read_image(path), GREY)


def test_colour_is_weighted_as_luminance(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.png", COLOUR))
    np.testing.assert_allclose(image, LUMINANCE, rtol=1e-6)
    pillow = np.asarray(Image.fromarray(COLOUR).convert("L"), dtype=float)
    assert np.abs(image - pillow).max() <= 1


def test_palette_is_read_by_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]] * 3, dtype=np.uint8), mode="P")
    image.putpalette([255, 255, 255, 0, 0, 0, 255, 0, 0])
    image.save(tmp_path / "a.png")
    np.testing.assert_allclose(read_image(tmp_path / "a.png")[0], [255, 0, 0.299 * 255], rtol=1e-6)
    image.save(tmp_path / "b.png", transparency=0)  # what is white above is transparent now
    np.testing.assert_allclose(read_image(tmp_path / "b.png")[0], [0, 0, 0.299 * 255], rtol=1e-6)


def test_transparency_lies_on_black(tmp_path: Path) -> None:
    alpha = np.random.default_rng(2).integers(0, 256, GREY.shape, dtype=np.uint8)
    rgba = np.dstack([COLOUR, alpha])
    image = read_image(save(tmp_path / "a.png", rgba))
    np.testing.assert_allclose(image, LUMINANCE * (alpha / 255), rtol=1e-5, atol=1e-4)
    image = read_image(save(tmp_path / "b.png", np.dstack([GREY, alpha])))
    np.testing.assert_allclose(image, GREY * (alpha / 255), rtol=1e-5, atol=1e-4)


def test_one_bit_and_cmyk_and_lab(tmp_path: Path) -> None:
    bits = GREY > 127
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", bits)), bits * 255)
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "b.tif")
    np.testing.assert_allclose(read_image(tmp_path / "b.tif"), LUMINANCE, atol=1.5)
    Image.fromarray(COLOUR).resize((64, 64)).convert("CMYK").save(tmp_path / "c.jpg", quality=100)
    reference = read_image(
        save(tmp_path / "d.png", np.asarray(Image.fromarray(COLOUR).resize((64, 64))))
    )
    assert np.corrcoef(read_image(tmp_path / "c.jpg").ravel(), reference.ravel())[0, 1] > 0.99
    lab = Image.merge("LAB", [Image.fromarray(GREY)] * 3)
    lab.save(tmp_path / "e.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "e.tif"), GREY)


def test_deep_pictures_keep_their_values(tmp_path: Path) -> None:
    deep = np.random.default_rng(3).integers(0, 65536, GREY.shape).astype(np.uint16)
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", deep)), deep)
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.tif", deep)), deep)
    inverted = save(tmp_path / "b.tif", deep, tiffinfo={262: 0})  # white is zero
    if Image.open(inverted).tag_v2[262] == 0:
        np.testing.assert_array_equal(read_image(inverted), 65535 - deep.astype(int))
    wide = deep.astype(np.int32) * 3 - 50_000
    np.testing.assert_array_equal(read_image(save(tmp_path / "c.tif", wide)), wide)
    real = (deep / 65536 - 0.5).astype(np.float32)
    np.testing.assert_array_equal(read_image(save(tmp_path / "d.tif", real)), real)


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(GREY).save(path, exif=exif)
    plain = Image.open(io.BytesIO(path.read_bytes()))
    expected = np.asarray(ImageOps.exif_transpose(plain))
    np.testing.assert_array_equal(read_image(path), expected)
    assert expected.shape == ((17, 12) if orientation >= 5 else (12, 17))


def test_content_decides_and_streams_are_read(tmp_path: Path) -> None:
    path = tmp_path / "png_called.jpg"
    Image.fromarray(GREY).save(path, format="PNG")
    np.testing.assert_array_equal(read_image(path), GREY)
    np.testing.assert_array_equal(read_image(io.BytesIO(path.read_bytes())), GREY)
    with pytest.raises(DataError, match="not a readable picture"):
        read_image(io.BytesIO(b"text"))


def test_channels_as_stored(tmp_path: Path) -> None:
    for channel in range(3):
        read = read_channel(save(tmp_path / "a.tif", COLOUR), channel)
        np.testing.assert_array_equal(read, COLOUR[..., channel])
    with pytest.raises(DataError, match="three channels"):
        read_channel(save(tmp_path / "b.tif", GREY), 0)


def test_animations_and_pages_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(GREY[::-1].copy())]
    for suffix in ("gif", "tif", "png", "webp"):
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        with pytest.raises(DataError, match=rf"a\.{suffix}: holds 2 frames"):
            read_image(path)
    frames[0].save(tmp_path / "one.tif", save_all=True)
    np.testing.assert_array_equal(read_image(tmp_path / "one.tif"), GREY)
    big = Image.fromarray(GREY).resize((64, 64))
    big.save(tmp_path / "photo.jpg", format="MPO", save_all=True, append_images=[big])
    assert read_image(tmp_path / "photo.jpg").shape == (64, 64)  # a photograph with a preview


def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch) -> None:
    bomb = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(bomb)
    assert bomb.stat().st_size < 100_000
    with pytest.raises(DataError, match=r"bomb.png.*Scale it down"):
        read_image(bomb)
    Image.new("1", (8_000, 8_000)).save(bomb)  # below Pillow's own limit
    with pytest.raises(DataError, match="8000x8000 is more than 40,000,000 pixels"):
        read_image(bomb)
    monkeypatch.setattr(image_io, "MAX_PIXELS", GREY.size)
    read_image(save(tmp_path / "just.png", GREY))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "gif", "webp"])
def test_damaged_files_are_named(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a.{suffix}", np.tile(GREY, (6, 6)))
    data = path.read_bytes()
    for keep in (0, 10, len(data) // 2):
        path.write_bytes(data[:keep])
        with pytest.raises(DataError, match=rf"a\.{suffix}: not a readable picture"):
            read_image(path)
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / "missing.png")


def test_formats_outside_the_list_and_bad_numbers_are_refused(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "a.eps")
    with pytest.raises(DataError, match="not a readable picture"):
        read_image(tmp_path / "a.eps")
    save(tmp_path / "nan.tif", np.array([[np.nan, 1.0]] * 2, dtype=np.float32))
    for read in (read_image, read_mask_image):
        with pytest.raises(DataError, match=r"nan\.tif: holds NaN"):
            read(tmp_path / "nan.tif")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(GREY).save(path, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    np.testing.assert_array_equal(read_image(path), GREY)


def test_masks(tmp_path: Path) -> None:
    mask = GREY > 200
    for k, scale in enumerate((1, 4, 255)):
        path = save(tmp_path / f"{k}.png", (mask * scale).astype(np.uint8))
        read = read_mask_image(path)
        assert read.dtype == bool
        np.testing.assert_array_equal(read, mask)
    block = np.zeros((40, 40), dtype=np.uint8)
    block[10:30, 8:32] = 255
    lossy = read_mask_image(save(tmp_path / "a.jpg", block, quality=60))
    np.testing.assert_array_equal(lossy, block > 0)
    assert not read_mask_image(save(tmp_path / "b.jpg", block * 0)).any()
    with pytest.raises(DataError, match="Save masks as PNG"):
        read_mask_image(save(tmp_path / "c.jpg", block // 255 * 40))


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("webp", {"quality": 80}),
        ("tif", {"compression": "jpeg"}),
        ("jp2", {"irreversible": True, "quality_layers": [20]}),
    ],
)
def test_masks_do_not_grow_in_any_lossy_format(
    tmp_path: Path, suffix: str, options: dict[str, Any]
) -> None:
    rows, columns = np.mgrid[:120, :140]
    disc = np.hypot(rows - 60, columns - 70) < 33
    path = save(tmp_path / f"a.{suffix}", 255 * disc.astype(np.uint8), **options)
    read = read_mask_image(path)
    assert (read & disc).sum() >= 0.99 * disc.sum()
    assert read.sum() == pytest.approx(disc.sum(), rel=0.01)
    assert not read_mask_image(save(tmp_path / f"b.{suffix}", GREY * 0, **options)).any()
    ones = save(tmp_path / f"c.{suffix}", disc.astype(np.uint8), **options)
    with pytest.raises(DataError, match=rf"c\.{suffix}: .* lossy format .*Save masks as PNG"):
        read_mask_image(ones)


def test_masks_in_a_tiff_without_loss_are_exact(tmp_path: Path) -> None:
    for k, compression in enumerate((None, "tiff_lzw", "tiff_adobe_deflate", "packbits")):
        path = save(tmp_path / f"{k}.tif", (GREY > 200).astype(np.uint8), compression=compression)
        np.testing.assert_array_equal(read_mask_image(path), GREY > 200)


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0II*\0\x08\0\0\0\0\0"])
def test_masks_in_a_webp_without_loss_are_exact(tmp_path: Path, exif: bytes) -> None:
    """Maps of 0, 1 and 2 were refused, and the labels below 128 of brighter ones lost."""
    labels = GREY // 86
    for scale in (1, 100):
        path = save(tmp_path / "a.webp", labels * np.uint8(scale), lossless=True, exif=exif)
        np.testing.assert_array_equal(read_mask_image(path), labels > 0)
