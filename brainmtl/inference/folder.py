"""Many inputs through one predictor: what is found, what is written, and a line for each, also for failures."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmtl.data.image_io import PICTURE_SUFFIXES
from brainmtl.data.sources.kaggle import unique_ids
from brainmtl.data.sources.nifti import is_nifti
from brainmtl.data.sources.walk import walk_files
from brainmtl.errors import BrainMTLError, DataError
from brainmtl.files import atomic_path
from brainmtl.inference.inputs.dicom import Series, is_dicom, series_of
from brainmtl.inference.png import png_bytes
from brainmtl.inference.results import (
    Failure,
    ImageResult,
    InputError,
    VolumeResult,
    mask_nifti,
    mask_png,
)

if TYPE_CHECKING:
    from brainmtl.inference.predictor import MultiTaskPredictor

LOGGER = logging.getLogger(__name__)

Held = dict[Path, Series | None]  # DICOM files of one folder, and the series of each

IMAGE, VOLUME, DICOM = "image", "volume", "dicom"
OK, ABSTAINED, FAILED = "ok", "abstained", "failed"
COLUMNS = (
    *("file", "kind", "status", "label", "probability", "raw_probability", "band", "segmented"),
    *("area_px", "volume_ml", "heat_outside_head", "ood_score", "reason_code", "reason"),
    *("warnings", "mask", "overlay", "gradcam", "input_sha256"),
)


@dataclass(frozen=True)
class Item:
    """One input: a picture, a NIfTI file, or a DICOM series; ``id`` names its outputs.

    Of a series, ``path`` is the folder and ``files`` are those that may belong to it.
    """

    path: Path
    name: str
    id: str
    kind: str
    files: tuple[Path, ...] = ()


def find_items(source: Path, leave_out: Path | None = None) -> tuple[list[Item], int]:
    """(inputs in ``source``, a file or a folder at any depth; number of files that are none).

    What lies below ``leave_out`` (the folder of the results) is skipped.

    Raises:
        DataError: ``source`` does not exist, or a folder holds no input.
    """
    if source.is_file():
        kind = VOLUME if is_nifti(source) else IMAGE
        ids = unique_ids([(source, _stem(Path(source.name)))])
        return [Item(source, source.name, ids[source], kind)], 0
    if not source.is_dir():
        raise DataError(f"input={source} does not exist: give a picture, a NIfTI file or a folder")
    kinds: dict[Path, str] = {}
    folders: dict[Path, Held] = {}
    ignored = 0
    results = None if leave_out is None else leave_out.resolve()
    for path in walk_files(source):
        if results is not None and path.resolve().is_relative_to(results):
            continue
        if is_nifti(path):
            kinds[path] = VOLUME
        elif path.suffix.lower() in PICTURE_SUFFIXES:
            kinds[path] = IMAGE
        elif path.name.upper() == "DICOMDIR":  # the table of contents of a CD
            ignored += 1
        elif is_dicom(path):
            folders.setdefault(path.parent, {})[path] = series_of(path)
        else:
            ignored += 1
    if not kinds and not folders:
        raise DataError(f"input={source} holds no pictures, NIfTI files or DICOM series")
    wanted = {p: Item(p, str(p.relative_to(source)), "", kind) for p, kind in kinds.items()}
    for folder in folders:
        wanted |= _series_items(folder, str(folder.relative_to(source)), folders)
    ids = unique_ids((key, _stem(Path(one.name)) or source.name) for key, one in wanted.items())
    return [replace(wanted[key], id=ids[key]) for key in sorted(wanted)], ignored


def _series_items(folder: Path, name: str, folders: Mapping[Path, Held]) -> dict[Path, Item]:
    """One of each series that the folder's own files belong to, by a path that no other has.

    Its files may also lie below; those of which nobody knows the series may be slices of any.
    """
    below = {
        f: s for at, held in folders.items() if at.is_relative_to(folder) for f, s in held.items()
    }
    own = [one for one in folders[folder].values() if one is not None]
    series = {one.uid: one for one in own}
    if not series or "" in series:  # reading all of it says what is wrong
        return {folder: Item(folder, name, "", DICOM, tuple(below))}
    found = {}
    for uid, one in series.items():
        several = f"{folder.name if name == '.' else name} ({one.name})"
        files = tuple(file for file, its in below.items() if its is None or its.uid == uid)
        found[folder / uid] = Item(folder, name if len(series) == 1 else several, "", DICOM, files)
    return found


def _stem(name: Path) -> str:
    whole = "_".join(name.parts)
    return Path(whole[:-3] if whole.lower().endswith(".nii.gz") else whole).stem


def predict_items(
    predictor: MultiTaskPredictor,
    items: Sequence[Item],
    out_dir: Path,
    *,
    gradcam: bool = False,
    overlays: bool = True,
    batch_size: int = 8,
    progress: bool = True,
    **options: float | None,
) -> list[dict[str, Any]]:
    """Predict every item, write its files below ``out_dir``, return the lines of predictions.csv.

    The table is also written when the work is interrupted. What an item has of an earlier run is removed.
    ``options`` are ``seg_gate`` and ``cls_threshold`` of the predictor.
    """
    from rich.progress import Progress

    lines: list[dict[str, Any]] = []
    with Progress(disable=not progress) as bar:
        task = bar.add_task("predicting", total=len(items))
        try:
            for group in _groups(items, batch_size):
                found = _predict(predictor, group, gradcam, options)
                for item, result in zip(group, found, strict=True):
                    lines.append(_line(item, result, out_dir, overlays))
                    bar.advance(task)
        finally:
            write_predictions(out_dir / "predictions.csv", lines)
    return lines


def _groups(items: Sequence[Item], batch_size: int) -> Iterator[list[Item]]:
    """Pictures in batches, volumes one by one, in their order."""
    batch: list[Item] = []
    for item in items:
        if batch and (item.kind != IMAGE or len(batch) == batch_size):
            yield batch
            batch = []
        if item.kind == IMAGE:
            batch.append(item)
        else:
            yield [item]
    if batch:
        yield batch


def _predict(
    predictor: MultiTaskPredictor, group: Sequence[Item], gradcam: bool, options: dict[str, Any]
) -> Sequence[ImageResult | VolumeResult | Failure]:
    item = group[0]
    try:
        if item.kind == IMAGE:
            paths = [one.path for one in group]
            return predictor.predict_batch(paths, include_gradcam=gradcam, **options)
        if item.kind == DICOM:
            return [predictor.predict_dicom(item.path, files=item.files, **options)]
        return [predictor.predict_volume(item.path, **options)]
    except BrainMTLError as error:
        if item.kind == IMAGE:  # of the options: what is wrong with a picture is its own result
            raise
        return [Failure(item.name, error)]
    except Exception as error:  # whatever a file can provoke: the others are still to come
        if len(group) > 1:
            return [
                found for one in group for found in _predict(predictor, [one], gradcam, options)
            ]
        LOGGER.warning("%s failed", item.path, exc_info=True)
        what = f"{item.path} cannot be predicted ({type(error).__name__}: {error})"
        return [Failure(item.name, InputError("unreadable", what))]


def _line(
    item: Item, result: ImageResult | VolumeResult | Failure, out_dir: Path, overlays: bool
) -> dict[str, Any]:
    line: dict[str, Any] = dict.fromkeys(COLUMNS) | {"file": item.name, "kind": item.kind}
    for name in ("masks", "overlay", "gradcam"):  # an older run's would be taken for this one's
        for suffix in (".png", ".nii.gz"):
            (out_dir / name / f"{item.id}{suffix}").unlink(missing_ok=True)
    if isinstance(result, Failure):
        failed = {"status": FAILED, "reason_code": result.reason, "reason": str(result.error)}
        return line | failed
    line |= {
        "status": ABSTAINED if result.abstained else OK,
        "label": result.label,
        "probability": result.probability,
        "reason_code": result.reason_code,
        "reason": result.reason,
        "warnings": " ".join(result.warnings),
        "input_sha256": result.input_sha256,
    }
    if isinstance(result, VolumeResult):
        return line | _volume_files(item, result, out_dir)
    return line | {
        "raw_probability": result.raw_probability,
        "band": None if result.band is None else result.band["name"],
        "segmented": int(result.segmentation.performed),
        "area_px": result.segmentation.area_px,
        "heat_outside_head": result.heat_outside_head,
        "ood_score": result.ood_score,
        **_image_files(item, result, out_dir, overlays),
    }


def _volume_files(item: Item, result: VolumeResult, out_dir: Path) -> dict[str, Any]:
    if result.mask is None:
        return {"segmented": 0}
    found = {"segmented": int(any(one.segmented for one in result.slices))}
    found |= {"volume_ml": result.volume_ml, "mask": f"masks/{item.id}.nii.gz"}
    _write(out_dir / found["mask"], mask_nifti(result.mask, result.affine))
    return found


def _image_files(item: Item, result: ImageResult, out_dir: Path, overlays: bool) -> dict[str, str]:
    """Mask and its outline where a mask was made, the heat map where there is one: written, and named."""
    from brainmtl.inference.inputs.input_check import read_picture
    from brainmtl.inference.overlay import contour_overlay, heat_overlay

    found, mask = {}, result.segmentation.mask
    if mask is not None:
        found["mask"] = f"masks/{item.id}.png"
        _write(out_dir / found["mask"], mask_png(mask))
    pictures = {"overlay": (contour_overlay, mask if overlays else None)}
    pictures["gradcam"] = (heat_overlay, result.gradcam)
    if all(content is None for _, content in pictures.values()):
        return found
    luminance = read_picture(item.path).luminance
    for column, (draw, content) in pictures.items():
        if content is not None:
            found[column] = f"{column}/{item.id}.png"
            _write(out_dir / found[column], png_bytes(draw(luminance, content)))
    return found


def write_predictions(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Write predictions.csv in one step; what is not defined is an empty cell."""
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
