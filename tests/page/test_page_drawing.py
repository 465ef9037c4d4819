"""What the page draws of real answers: pictures, volumes and tables, against the service's own figures."""

from __future__ import annotations

import base64
import gzip
import io
import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hostile import encode
from PIL import Image

from brainmtl.inference.inputs.input_check import read_picture
from brainmtl.inference.operating.bands import band_range
from brainmtl.inference.overlay import contour_overlay, grey_picture, heat_overlay
from brainmtl.page import batch_tab, examples
from brainmtl.page.boxes import literal
from brainmtl.page.client import Client, Options
from brainmtl.page.pictures import MAX_SIDE, heated, outlined, read_shown, thumbnail
from brainmtl.page.volume import read_volume
from brainmtl.page.words import area_words, percent

ALWAYS = Options(seg_threshold=0.0, gradcam=True)


def pixels(png: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))


def test_overlays_are_the_projects(client: Client, picture: bytes) -> None:
    answer = client.picture(picture, ALWAYS)
    shown, luminance = read_shown(picture), read_picture(picture).luminance
    np.testing.assert_array_equal(shown.pixels, grey_picture(luminance))
    mask = pixels(answer["segmentation"]["mask_png"]) > 0
    assert mask.any()
    drawn = outlined(shown, answer["segmentation"]["mask_png"])
    np.testing.assert_array_equal(drawn, contour_overlay(luminance, mask))
    heat = pixels(answer["gradcam_png"]).astype(np.float32) / 255
    np.testing.assert_array_equal(
        heated(shown, answer["gradcam_png"]), heat_overlay(luminance, heat)
    )


def test_large_pictures_are_shrunk_before_they_are_drawn(client: Client, plane: np.ndarray) -> None:
    large = encode(np.kron(plane, np.ones((16, 16), np.uint8)))  # 1536 x 1280
    answer = client.picture(large, ALWAYS)
    shown = read_shown(large)
    expected = (MAX_SIDE, round(1280 * MAX_SIDE / 1536), 3)
    assert shown.pixels.shape == expected
    assert outlined(shown, answer["segmentation"]["mask_png"]).shape == expected
    assert heated(shown, answer["gradcam_png"]).shape == expected


def test_colour_and_orientation_are_kept() -> None:
    colours = np.zeros((60, 40, 3), np.uint8)
    colours[:30, :, 0] = 255  # the upper half is red
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    turned = encode(np.rot90(colours), "PNG", exif=exif)
    np.testing.assert_array_equal(read_shown(turned).pixels, colours)


def test_thumbnail_is_a_small_picture_with_the_outline(client: Client, picture: bytes) -> None:
    answer = client.picture(picture, ALWAYS)
    kind, _, data = thumbnail(picture, answer).partition(",")
    assert kind == "data:image/png;base64"
    shown = pixels(data)
    assert shown.shape == (96, 80, 3)
    np.testing.assert_array_equal(
        shown, outlined(read_shown(picture), answer["segmentation"]["mask_png"])
    )


@pytest.mark.parametrize("packed", [False, True])
def test_slices_of_a_volume_are_those_of_the_answer(
    client: Client, volume: bytes, packed: bool
) -> None:
    data = gzip.compress(volume) if packed else volume
    answer = client.volume(data, Options(seg_threshold=0.0))
    shown = read_volume(data, answer)
    assert shown.planes.shape == (40, 48, 6)
    assert shown.positions == (5, 4, 3, 2, 1, 0)  # display runs from inferior to superior
    assert shown.spacing_mm == (1.0, 1.5, 3.0)
    areas = {one["index"]: one["area_px"] for one in answer["slices"]}
    assert sum(areas.values()) > 0
    for k, index in enumerate(shown.positions):
        assert shown.masks[:, :, k].sum() == areas[index]
    assert answer["volume_ml"] == pytest.approx(sum(areas.values()) * shown.voxel_ml)
    stored = np.asarray(nib.Nifti1Image.from_bytes(volume).dataobj)
    brightness = [shown.plane(k).mean() for k in range(6)]
    assert set(np.argsort(brightness)[-2:]) == set(np.argsort(stored.mean(axis=(0, 2)))[-2:])
    assert shown.plane(2).shape == shown.outlined(2).shape == (40, 72, 3)  # columns of 1.5 mm


def test_lines_of_a_batch(client: Client, picture: bytes) -> None:
    colours = examples.picture(examples.NO_MRI)
    files = [("a.png", picture), ("b, b.png", colours), ("c.txt", b"text")]
    items = client.batch([data for _, data in files], Options(seg_threshold=0.0))
    lines = [
        batch_tab.line_of(name, data, item) for (name, data), item in zip(files, items, strict=True)
    ]
    text = batch_tab.csv_of(lines)
    frame = pd.read_csv(io.StringIO(text))
    assert "True" not in text and frame["segmented"].fillna(-1).tolist() == [1, 0, -1]
    assert list(frame.columns) == list(batch_tab.COLUMNS)
    assert list(frame["file"]) == ["a.png", "b, b.png", "c.txt"]
    assert list(frame["status"]) == ["ok", "abstained", "failed"]
    assert list(frame["reason_code"].fillna("")) == ["", "colour_photograph", "not_an_image"]
    alone = client.picture(picture, Options(seg_threshold=0.0))
    assert frame["probability"][0] == pytest.approx(alone["tumour_probability"], abs=1e-5)
    assert frame["area_px"][0] == alone["segmentation"]["area_px"]
    assert frame["input_sha256"][0] == batch_tab.digest(picture)
    assert frame["probability"].isna().tolist() == [False, True, True]
    assert lines[0]["picture"].startswith("data:image/png")
    assert lines[2]["picture"] is None
    assert "picture" in lines[2]["reason"]


def test_examples_are_what_their_names_say(client: Client) -> None:
    assert client.picture(examples.picture(examples.NO_MRI), Options())["abstained"] is True
    for name in (examples.SLICE_TUMOUR, examples.SLICE_HEALTHY, examples.PHOTO):
        assert "synthetic" in name
        assert client.picture(examples.picture(name), Options())["abstained"] is False
        assert examples.picture(name) == examples.picture(name)
    flair, labels = examples._head(examples.TUMOUR)
    image = nib.Nifti1Image.from_bytes(gzip.decompress(examples.volume()))
    np.testing.assert_array_equal(np.asarray(image.dataobj), flair)
    assert np.asarray(Image.open(io.BytesIO(examples.picture(examples.SLICE_TUMOUR)))).shape == (
        240,
        240,
    )
    assert labels.any()
    assert not examples._head(examples.HEALTHY)[1].any()


def test_words() -> None:
    assert (percent(0.9324), percent(None)) == ("93.2 %", "–")
    segmented = {"performed": True, "area_px": 1630, "area_mm2": 412.4}
    assert area_words(segmented) == ("1,630 px", "412 mm²")
    assert area_words(segmented | {"area_mm2": None}) == ("1,630 px", None)
    assert area_words({"performed": False}) == ("not segmented", None)
    assert band_range(0.2, 0.8) == "0.20 ≤ P < 0.80"
    assert band_range(0.8, 1.0) == "0.80 ≤ P ≤ 1.00"
    assert literal("cost $5 :smile: *x*") == r"cost \$5 \:smile\: \*x\*"


def test_the_page_needs_no_torch() -> None:
    code = (
        "import sys, brainmtl.page.app, brainmtl.page.volume, brainmtl.page.examples as e;"
        "e.picture(e.PHOTO); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
