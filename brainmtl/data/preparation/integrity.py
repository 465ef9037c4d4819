"""Verify a prepared folder: every finding of every file is collected, nothing stops at the first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.data.manifest import SPLITS, case_of, read_manifest
from brainmtl.data.npz import arrays_sha256, load_arrays
from brainmtl.data.preparation.consistency import Finding, check_columns, check_leakage
from brainmtl.data.preparation.housekeeping import PENDING, reference_path
from brainmtl.data.preprocessing.geometry import SliceGeometry
from brainmtl.data.preprocessing.preprocess import (
    BACKGROUND_VALUE,
    IMAGE_SIZE,
    PREPROCESSING_VERSION,
)
from brainmtl.data.processes import process_count
from brainmtl.data.samples import read_reference
from brainmtl.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

METADATA_KEYS = (
    "image_id",
    "source",
    "group",
    "synthetic",
    "geometry",
    "normalisation",
    "preprocessing_version",
    "raw_sha256",
)
CHANGED = (
    "the SHA-256 of its arrays is not the manifest's: it changed, or was prepared by an earlier "
    "version of brainmtl: prepare again"
)
# float16 and the resampled foreground's edge move mean and SD by less than this.
ZSCORE_TOLERANCE = 0.02

Row = dict[str, Any]


def check_folder(
    data_dir: str | Path, *, workers: int | None = None, progress: bool = True
) -> list[Finding]:
    """All findings about the prepared folder ``data_dir``, sorted by path; empty when it is sound.

    Checked: the manifest's columns against each other; leaks over splits and folds (patient, case,
    raw file, near-duplicate pictures of all sources); each sample's presence, arrays, their SHA-256,
    values, metadata and preprocessing version; the references; files that no manifest row names;
    and the counts in ``summary.json``.

    Raises DataError where there is no readable manifest; ConfigError as process_count.
    """
    workers, data_dir = process_count(workers), Path(data_dir)
    frame = read_manifest(data_dir)
    findings = check_columns(frame) + check_leakage(frame)
    findings += _check_extra_files(data_dir, frame) + _check_summary(data_dir, frame)
    for found in _check_cases(data_dir, frame, workers, progress):
        findings += found
    return sorted(set(findings))


def _check_cases(
    data_dir: Path, frame: pd.DataFrame, workers: int, progress: bool
) -> Iterable[list[Finding]]:
    from joblib import Parallel, delayed
    from rich.progress import track

    cases = [
        rows.to_dict("records")
        for _, rows in frame.astype(object).groupby(["source", "case_id"], observed=True)
    ]
    workers = min(workers, max(1, len(cases)))
    jobs = (delayed(check_case)(data_dir, rows) for rows in cases)
    results = Parallel(n_jobs=workers, return_as="generator_unordered", batch_size="auto")(jobs)
    return track(results, total=len(cases), description="checking", disable=not progress)


def check_case(data_dir: Path, rows: Sequence[Row]) -> list[Finding]:
    """Findings about the samples of one case (manifest rows as dicts) and its reference mask."""
    findings, geometry = [], None
    for row in rows:
        path = data_dir / row["path"]
        if not path.is_file():
            findings.append(Finding(row["path"], "missing: the manifest lists it"))
            continue
        try:
            arrays = load_arrays(path)
        except DataError as error:
            findings.append(Finding(row["path"], str(error).removeprefix(f"{path} ")))
            continue
        if arrays_sha256(arrays) != row["sample_sha256"]:
            findings.append(Finding(row["path"], CHANGED))
        reasons = _check_arrays(arrays, row)
        metadata_reasons, found = _check_metadata(arrays, row)
        geometry = geometry or found
        findings += [Finding(row["path"], reason) for reason in reasons + metadata_reasons]
    if any(row["has_mask"] for row in rows):
        findings += _check_reference(data_dir, rows[0], geometry)
    return findings


def _check_arrays(arrays: dict[str, np.ndarray], row: Row) -> list[str]:
    missing = [name for name in ("image", "label", "metadata") if name not in arrays]
    if missing:
        return [f"lacks the arrays {', '.join(missing)}"]
    reasons = _check_image(arrays["image"])
    if arrays["label"].shape != () or int(arrays["label"]) != row["label"]:
        reasons.append(f"label {arrays['label']} is not the manifest's {row['label']}")
    mask = arrays.get("mask")
    if (mask is not None) != bool(row["has_mask"]):
        reasons.append("mask present" if mask is not None else "mask missing")
        reasons[-1] += f", but the manifest says has_mask={row['has_mask']}"
    elif mask is not None:
        reasons += _check_mask(mask, row)
    return reasons


def _check_image(image: np.ndarray) -> list[str]:
    if image.dtype != np.float16 or image.ndim != 3 or image.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
        return [
            f"image is {image.dtype} {image.shape}, not float16 (C, {IMAGE_SIZE}, {IMAGE_SIZE})"
        ]
    if not np.isfinite(image).all():
        return ["image holds NaN or infinite values"]
    reasons = []
    for channel, plane in enumerate(image.astype(np.float64)):
        values = plane[plane != BACKGROUND_VALUE]
        mean, deviation = (values.mean(), values.std()) if values.size else (0.0, 0.0)
        if abs(mean) > ZSCORE_TOLERANCE or abs(deviation - 1) > ZSCORE_TOLERANCE:
            reasons.append(
                f"channel {channel} is no z-score: mean {mean:.3f}, SD {deviation:.3f} over the foreground"
            )
    return reasons


def _check_mask(mask: np.ndarray, row: Row) -> list[str]:
    if mask.dtype != np.uint8 or mask.shape != (IMAGE_SIZE, IMAGE_SIZE):
        return [f"mask is {mask.dtype} {mask.shape}, not uint8 ({IMAGE_SIZE}, {IMAGE_SIZE})"]
    if mask.max() > 1:
        return [f"mask holds the values {np.unique(mask)[:5].tolist()}, allowed are 0 and 1"]
    pixels = int(mask.sum())
    if pixels != row["tumour_pixels"]:
        return [f"mask has {pixels} pixels, the manifest says {row['tumour_pixels']}"]
    return []


def _check_metadata(
    arrays: dict[str, np.ndarray], row: Row
) -> tuple[list[str], SliceGeometry | None]:
    try:
        metadata = json.loads(str(arrays["metadata"]))
        missing = [key for key in METADATA_KEYS if key not in metadata]
        if missing:
            return [f"metadata lacks {', '.join(missing)}"], None
        geometry = SliceGeometry.from_dict(metadata["geometry"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return [f"metadata cannot be read ({error})"], None
    reasons = [
        f"metadata: {key} is {metadata[key]!r}, the manifest says {row[key]!r}"
        for key in ("image_id", "source", "synthetic", "raw_sha256")
        if metadata[key] != row[key]
    ]
    version = metadata["preprocessing_version"]
    if version != PREPROCESSING_VERSION:
        reasons.append(
            f"prepared by preprocessing version {version}, this is {PREPROCESSING_VERSION}: prepare again"
        )
    if (geometry.slice_index is not None) != (row["kind"] == "volume"):
        reasons.append(f"geometry does not fit kind={row['kind']}")
    return reasons, geometry


def _check_reference(data_dir: Path, row: Row, geometry: SliceGeometry | None) -> list[Finding]:
    path = reference_path(data_dir / row["source"], row["case_id"])
    name = path.relative_to(data_dir).as_posix()
    if not path.is_file():
        return [Finding(name, "missing: the case has masks and no reference on its own grid")]
    try:
        mask = read_reference(path)
    except DataError as error:
        return [Finding(name, str(error).removeprefix(f"{path} "))]
    if mask.dtype != np.uint8 or mask.max(initial=0) > 1:
        return [
            Finding(name, f"reference is {mask.dtype} up to {mask.max(initial=0)}, not 0 and 1")
        ]
    if geometry is not None:
        shape = geometry.volume.file_shape if geometry.volume else geometry.plane_shape
        if mask.shape != shape:
            return [Finding(name, f"reference of shape {mask.shape}, the case has {shape}")]
    return []


def _check_extra_files(data_dir: Path, frame: pd.DataFrame) -> list[Finding]:
    """Files in the sample and reference folders that belong to no row of the manifest."""
    listed = set(frame["path"])
    with_mask = frame[frame["has_mask"] == 1]
    listed |= {
        f"{source}/references/{case}.npz"
        for source, case in zip(with_mask["source"], with_mask["case_id"], strict=True)
    }
    left_out = _left_out(data_dir)
    findings = []
    for folder in ("references", PENDING, *SPLITS):
        for path in sorted(data_dir.glob(f"*/{folder}/*")):
            name = path.relative_to(data_dir).as_posix()
            if path.name.startswith(".tmp-"):
                findings.append(Finding(name, "left by an interrupted run: prepare again"))
            elif name not in listed and name not in left_out:
                findings.append(Finding(name, "not in the manifest: prepare again, or delete it"))
    return findings


def _left_out(data_dir: Path) -> set[str]:
    """Files of samples that fit no split, which the summary names: they wait, with their references."""
    try:
        sources = json.loads((data_dir / "summary.json").read_text(encoding="utf-8"))["sources"]
        ids = [(name, p["path"]) for name, v in sources.items() for p in v["unusable"] or ()]
    except (OSError, ValueError, KeyError, TypeError):
        return set()  # _check_summary says so
    return {
        f"{name}/{folder}/{stem}.npz"
        for name, image_id in ids
        for folder, stem in ((PENDING, image_id), ("references", case_of(image_id)))
    }


def _check_summary(data_dir: Path, frame: pd.DataFrame) -> list[Finding]:
    path = data_dir / "summary.json"
    try:
        sources = json.loads(path.read_text(encoding="utf-8"))["sources"]
        counts = {name: values["samples"] for name, values in sources.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [Finding(path.name, f"cannot be read ({error}): prepare again")]
    expected = frame["source"].astype(str).value_counts().to_dict()
    if counts != expected:
        return [Finding(path.name, f"counts {counts}, the manifest holds {expected}")]
    return []
