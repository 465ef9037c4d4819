"""Every kind of damage that a prepared folder can have, with the words that it is found by."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from brainmtl.data.manifest import read_manifest, write_manifest
from brainmtl.data.npz import arrays_sha256, load_arrays

SLICE = "brats/train/b0_z004.npz"
PICTURE = "kaggle/train/yes_h1.npz"


def rewrite(folder: Path, path: str = SLICE, **changes: np.ndarray | None) -> None:
    """Store other arrays in a sample and give the manifest its new hash: only the content is wrong."""
    arrays = load_arrays(folder / path) | changes
    arrays = {key: value for key, value in arrays.items() if value is not None}
    np.savez_compressed(folder / path, **arrays)
    edit(folder, path, sample_sha256=arrays_sha256(arrays))


def edit(folder: Path, sample: str = SLICE, /, **columns: object) -> None:
    frame = read_manifest(folder)
    frame = frame.astype({k: "object" for k in frame if str(frame[k].dtype) == "category"})
    rows = frame["path"] == sample
    for column, value in columns.items():
        frame.loc[rows, column] = value
    write_manifest(folder, frame)


def with_metadata(folder: Path, path: str = SLICE, **changes: object) -> None:
    metadata = json.loads(str(load_arrays(folder / path)["metadata"])) | changes
    rewrite(folder, path, metadata=np.array(json.dumps(metadata)))


def image(folder: Path, path: str = SLICE) -> np.ndarray:
    return load_arrays(folder / path)["image"].copy()


def put_nan(folder: Path) -> None:
    array = image(folder)
    array[0, 100, 100] = np.nan
    rewrite(folder, image=array)


def shift_mask_values(folder: Path) -> None:
    rewrite(folder, mask=2 * load_arrays(folder / SLICE)["mask"])


def drop_pixel(folder: Path) -> None:
    mask = load_arrays(folder / SLICE)["mask"].copy()
    mask[tuple(np.argwhere(mask)[0])] = 0
    rewrite(folder, mask=mask)


def flip_byte(folder: Path) -> None:
    data = bytearray((folder / SLICE).read_bytes())
    data[len(data) // 2] ^= 255
    (folder / SLICE).write_bytes(bytes(data))


def without_geometry(folder: Path) -> None:
    metadata = json.loads(str(load_arrays(folder / SLICE)["metadata"]))
    del metadata["geometry"]
    rewrite(folder, metadata=np.array(json.dumps(metadata)))


def picture_geometry(folder: Path) -> None:
    metadata = json.loads(str(load_arrays(folder / PICTURE)["metadata"]))
    with_metadata(folder, geometry=metadata["geometry"])


Damage = Callable[[Path], object]
DAMAGES: dict[str, tuple[Damage, str, str]] = {
    "missing": (lambda f: (f / SLICE).unlink(), SLICE, "missing: the manifest lists it"),
    "replaced": (lambda f: shutil.copy(f / PICTURE, f / SLICE), SLICE, "SHA-256"),
    "flipped byte": (flip_byte, SLICE, "cannot be read"),
    "cut off": (lambda f: (f / SLICE).write_bytes(b"PK"), SLICE, "cannot be read"),
    "no label": (lambda f: rewrite(f, label=None), SLICE, "lacks the arrays label"),
    "other label": (lambda f: rewrite(f, label=np.int8(0)), SLICE, "label 0 is not the manifest's 1"),
    "nan": (put_nan, SLICE, "NaN or infinite"),
    "dtype": (lambda f: rewrite(f, image=image(f).astype(np.float32)), SLICE, "image is float32"),
    "shape": (lambda f: rewrite(f, image=image(f)[:, :128]), SLICE, r"not float16 \(C, 256, 256\)"),
    "not z-scored": (lambda f: rewrite(f, image=image(f) + np.float16(0.5)), SLICE, "is no z-score"),
    "constant": (lambda f: rewrite(f, image=0 * image(f)), SLICE, "is no z-score"),
    "mask gone": (lambda f: rewrite(f, mask=None), SLICE, "mask missing, but .* has_mask=1"),
    "mask appeared": (
        lambda f: rewrite(f, PICTURE, mask=np.zeros((256, 256), np.uint8)),
        PICTURE,
        "mask present, but .* has_mask=0",
    ),
    "mask values": (shift_mask_values, SLICE, r"mask holds the values \[0, 2\]"),
    "mask dtype": (
        lambda f: rewrite(f, mask=load_arrays(f / SLICE)["mask"].astype(bool)),
        SLICE,
        "mask is bool",
    ),
    "mask pixels": (drop_pixel, SLICE, r"mask has \d+ pixels, the manifest says"),
    "metadata no json": (lambda f: rewrite(f, metadata=np.array("{")), SLICE, "cannot be read"),
    "metadata key": (without_geometry, SLICE, "metadata lacks geometry"),
    "version": (
        lambda f: with_metadata(f, preprocessing_version="0"),
        SLICE,
        "preprocessing version 0",
    ),
    "other id": (lambda f: with_metadata(f, image_id="x"), SLICE, "metadata: image_id is 'x'"),
    "other raw file": (lambda f: with_metadata(f, raw_sha256="0"), SLICE, "raw_sha256 is '0'"),
    "synthetic": (lambda f: with_metadata(f, synthetic=True), SLICE, "synthetic is True"),
    "geometry of a picture": (picture_geometry, SLICE, "geometry does not fit kind=volume"),
    "reference missing": (
        lambda f: (f / "brats/references/b0.npz").unlink(),
        "brats/references/b0.npz",
        "missing: the case has masks",
    ),
    "reference broken": (
        lambda f: (f / "brats/references/b0.npz").write_bytes(b"x"),
        "brats/references/b0.npz",
        "cannot be read",
    ),
    "reference shape": (
        lambda f: np.savez(f / "brats/references/b0.npz", mask=np.zeros((3, 3), np.uint8)),
        "brats/references/b0.npz",
        r"shape \(3, 3\), the case has \(60, 48, 10\)",
    ),
    "reference values": (
        lambda f: np.savez(f / "brats/references/b0.npz", mask=np.full((60, 48, 10), 4, np.uint8)),
        "brats/references/b0.npz",
        "up to 4, not 0 and 1",
    ),
    "extra sample": (
        lambda f: shutil.copy(f / SLICE, f / "brats/val/x.npz"),
        "brats/val/x.npz",
        "not in the manifest",
    ),
    "extra reference": (
        lambda f: shutil.copy(f / "brats/references/b0.npz", f / "brats/references/x.npz"),
        "brats/references/x.npz",
        "not in the manifest",
    ),
    "half a run": (
        lambda f: shutil.copy(f / SLICE, f / "brats/pending/b0_z004.npz"),
        "brats/pending/b0_z004.npz",
        "not in the manifest",
    ),
    "temporary file": (
        lambda f: (f / "kaggle/train/.tmp-1.npz").write_bytes(b""),
        "kaggle/train/.tmp-1.npz",
        "interrupted run",
    ),
    "summary": (lambda f: (f / "summary.json").unlink(), "summary.json", "cannot be read"),
    "counts": (
        lambda f: (f / "summary.json").write_text('{"sources": {"brats": {"samples": 1}}}'),
        "summary.json",
        "counts",
    ),
    "split": (lambda f: edit(f, split="valid"), SLICE, "none of train, val, test"),
    "path": (
        lambda f: (shutil.move(f / SLICE, f / "x.npz"), edit(f, path="x.npz")),
        "x.npz",
        "path is not",
    ),
    "listed twice": (
        lambda f: write_manifest(f, pd.concat([read_manifest(f)] * 2)),
        SLICE,
        "listed twice",
    ),
    "has_label": (lambda f: edit(f, has_label=0), SLICE, "has_label contradicts label"),
    "has_mask": (lambda f: edit(f, tumour_pixels=-1), SLICE, "tumour_pixels contradicts has_mask"),
    "label 0 with tumour": (lambda f: edit(f, label=0), SLICE, "label 0 with tumour"),
    "label without tumour": (lambda f: edit(f, tumour_pixels=0), SLICE, "its mask is empty"),
    "label value": (lambda f: edit(f, label=3), SLICE, "none of -1, 0, 1"),
    "kind": (lambda f: edit(f, kind="film"), SLICE, "neither volume nor image"),
    "duplicate_hash": (lambda f: edit(f, PICTURE, duplicate_hash=""), PICTURE, "without duplicate"),
}  # fmt: skip
