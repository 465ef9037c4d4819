"""One raw case in, its prepared samples and a ledger entry out: the unit of work that is restartable.

``<out_dir>/<source>/cases/<case_id>.json`` is written last. A case whose ledger matches its raw files
and options, and whose samples are all there, is never prepared again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainmtl.data.labels import derive_label
from brainmtl.data.preparation.housekeeping import (
    PENDING,
    find_sample,
    forget_case,
    ledger_path,
    read_ledger,
    reference_path,
)
from brainmtl.data.preprocessing.geometry import SliceGeometry
from brainmtl.data.preprocessing.preprocess import (
    BACKGROUND_VALUE,
    CLIP_PERCENTILES,
    MIN_SIDE,
    PREPROCESSING_VERSION,
    PreparedSlice,
    frame_volume,
    prepare_mask,
    preprocess_slice,
)
from brainmtl.data.records import Case, CaseRef, Source
from brainmtl.data.samples import SAMPLE_FORMAT, write_reference, write_sample
from brainmtl.errors import DataError, check_count
from brainmtl.files import sha256, write_json
from brainmtl.words import quantity


@dataclass(frozen=True)
class CaseOptions:
    """What, beside the raw files, decides a prepared sample."""

    min_tumour_pixels: int = 100
    modalities: tuple[str, ...] = ("flair",)

    def __post_init__(self) -> None:
        # With 0, a slice without any tumour would count as one with tumour.
        check_count("min_tumour_pixels", self.min_tumour_pixels)


@dataclass
class SliceRecord:
    """A prepared slice before it is written."""

    position: int
    prepared: PreparedSlice
    mask: np.ndarray | None


def prepare_case(
    source: Source, ref: CaseRef, source_dir: Path, options: CaseOptions
) -> dict[str, Any]:
    """Prepare one case and return its ledger entry; raises DataError with the file's name.

    The entry gets its ``site`` here, from names or table and not from the stored ledger: it decides no sample.
    """
    fingerprint = _fingerprint(ref, options)
    ledger = read_ledger(source_dir, ref.case_id)
    if ledger is not None and _is_complete(ledger, fingerprint, source_dir):
        return ledger | {"site": ref.site, "reused": True}
    try:
        case = source.load(ref)
        slices, left_out = prepare_slices(case)
    except DataError as error:
        message = str(error)
        known = any(str(path) in message for path in ref.files)
        raise DataError(message if known else f"{ref.files[0]}: {message}") from error
    raw_hash = sha256(*ref.files)
    # An older ledger must not vouch for newer samples, nor slices survive that the case lost.
    forget_case(source_dir, ref.case_id)
    rows = [_write_slice(record, ref, raw_hash, source_dir, options) for record in slices]
    if case.mask is not None:
        volume = case.volume.restore(case.mask) if case.volume else case.mask[:, :, 0]
        write_reference(reference_path(source_dir, ref.case_id), volume)
    ledger = {
        "fingerprint": fingerprint,
        "case_id": ref.case_id,
        "group": ref.group,
        "kind": ref.kind,
        "synthetic": ref.synthetic,
        "anonymous": ref.anonymous,
        "raw_sha256": raw_hash,
        "slices_left_out": left_out,
        "rows": rows,
    }
    write_json(ledger_path(source_dir, ref.case_id), ledger)
    return ledger | {"site": ref.site, "reused": False}


def _fingerprint(ref: CaseRef, options: CaseOptions) -> dict[str, Any]:
    files = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in ref.files]
    identity = {
        "group": ref.group,
        "label": ref.label,
        "kind": ref.kind,
        "synthetic": ref.synthetic,
    }
    if ref.kind == "image" and ref.group == ref.case_id and not ref.anonymous:
        identity["anonymous"] = False  # said here alone: ledgers of before hold for all others
    settings = asdict(options) | {
        "modalities": list(options.modalities),
        "version": PREPROCESSING_VERSION,
        "sample_format": SAMPLE_FORMAT,
    }
    return {"files": files, **identity, **settings}


def _is_complete(ledger: dict[str, Any], fingerprint: dict[str, Any], source_dir: Path) -> bool:
    """Whether the case was prepared from these files and options, and all of it is still there."""
    if ledger.get("fingerprint") != fingerprint:
        return False
    with_mask = any(row["has_mask"] for row in ledger["rows"])
    if with_mask and not reference_path(source_dir, ledger["case_id"]).is_file():
        return False
    return all(find_sample(source_dir, row["image_id"]) for row in ledger["rows"])


def prepare_slices(case: Case) -> tuple[list[SliceRecord], int]:
    """Prepared slices of a loaded case in order of position, and how many show no brain.

    A picture is one slice. Of a volume those that show brain, or tumour where there is a mask.

    Raises:
        DataError: no slice shows any brain, the planes are too thin, or a picture's tumour is too small to
            be seen on the prepared grid.
    """
    if case.volume is None:
        prepared = preprocess_slice(case.image[:, :, :, 0])
        mask = None if case.mask is None else prepare_mask(case.mask[:, :, 0], prepared.geometry)
        if mask is not None and case.mask.any() and not mask.any():
            raise DataError(
                f"its mask has {quantity(int(case.mask.sum()), 'pixels')}, too few to be seen in 256 x 256: leave it out"
            )
        return [SliceRecord(0, prepared, mask)], 0
    rows, columns = case.image.shape[1:3]
    if min(rows, columns) < MIN_SIDE:
        raise DataError(
            f"its axial planes have {rows} x {columns} voxels, and {MIN_SIDE} are needed along each side: a thin "
            "sagittal or coronal acquisition is not read"
        )
    frame = frame_volume(case.image[0], case.spacing_mm, case.volume)
    wanted = set(frame.slices)
    if case.mask is not None:  # a slice with tumour is kept however little brain it shows
        wanted |= {int(k) for k in np.flatnonzero(case.mask.any(axis=(0, 1)))}
    records = []
    for k in sorted(wanted):
        geometry = frame.slice_geometry(k)
        try:
            prepared = preprocess_slice(case.image[:, :, :, k], frame.foreground[:, :, k], geometry)
        except DataError:  # an empty or constant slice at the end of a volume: counted as left out
            continue
        mask = None if case.mask is None else prepare_mask(case.mask[:, :, k], geometry)
        records.append(SliceRecord(case.positions[k], prepared, mask))
    if not records:
        raise DataError("no slice shows any brain")
    return records, case.image.shape[3] - len(records)


def _write_slice(
    record: SliceRecord, ref: CaseRef, raw_hash: str, source_dir: Path, options: CaseOptions
) -> dict[str, Any]:
    volume = ref.kind == "volume"
    image_id = f"{ref.case_id}_z{record.position:03d}" if volume else ref.case_id
    pixels = -1 if record.mask is None else int(record.mask.sum())
    label = ref.label
    if label is None or (volume and record.mask is not None):
        label = -1 if record.mask is None else derive_label(pixels, options.min_tumour_pixels)
    metadata = _metadata(image_id, record.prepared.geometry, ref, raw_hash)
    path = source_dir / PENDING / f"{image_id}.npz"
    digest = write_sample(path, record.prepared.image, label, record.mask, metadata)
    row = {
        "image_id": image_id,
        "position": record.position,
        "label": label,
        "has_mask": int(record.mask is not None),
        "tumour_pixels": pixels,
        "duplicate_hash": "",
        "sample_sha256": digest,
    }
    if not volume:
        from brainmtl.data.preparation.duplicates import duplicate_hash

        row["duplicate_hash"] = duplicate_hash(record.prepared.image[0])
    return row


def _metadata(
    image_id: str, geometry: SliceGeometry, ref: CaseRef, raw_hash: str
) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "source": ref.source,
        "group": ref.group,
        "synthetic": ref.synthetic,
        "geometry": geometry.to_dict(),
        "normalisation": {
            "method": "z-score over the foreground of the slice",
            "clip_percentiles": list(CLIP_PERCENTILES),
            "background_value": BACKGROUND_VALUE,
        },
        "preprocessing_version": PREPROCESSING_VERSION,
        "raw_sha256": raw_hash,
    }
