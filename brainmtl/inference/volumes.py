"""Volumes: framed as in preparation, slices through the network, the mask back on the file's grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.data.preparation.cases import SliceRecord, prepare_slices
from brainmtl.data.preprocessing.geometry import SliceGeometry, assemble_volume, voxel_volume_ml
from brainmtl.data.sources.nifti import Volume, oriented_case
from brainmtl.errors import DataError
from brainmtl.inference.images import MAX_BATCH, Timer, thresholds
from brainmtl.inference.inputs.volume_files import VolumeInput
from brainmtl.inference.operating.decision import Decision, decide
from brainmtl.inference.operating.postprocess import clean_assembled, clean_slice
from brainmtl.inference.results import (
    NO_TUMOUR,
    TUMOUR,
    Reason,
    SliceResult,
    VolumeResult,
)

if TYPE_CHECKING:
    from brainmtl.inference.images import Served
    from brainmtl.inference.operating.operating_point import OperatingPoint

# A volume is refused when more of its slices than this are unlike those of training. Single ones
# occur at the ends of a head, and dropping them would give other volumes than were evaluated.
MAX_UNLIKE_SHARE = 0.5


@dataclass(eq=False)
class _Found:
    """Per slice that shows brain, in display order: place, decision, distance, prepared mask."""

    geometries: list[SliceGeometry] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    unlike: list[bool] = field(default_factory=list)
    masks: list[np.ndarray] = field(default_factory=list)


def predict_volume(
    served: Served, read: Callable[[], VolumeInput], point: OperatingPoint
) -> VolumeResult:
    """What the network says of the volume that ``read`` returns.

    Raises:
        InputError: as ``read`` does.
    """
    timer = Timer()
    with timer.step("decode"):
        volume = read()
    if volume.reason is not None:
        return _abstained(served, volume, volume.reason, point, timer)
    try:
        with timer.step("preprocess"):
            case = oriented_case([Volume(Path(volume.name), volume.array, volume.affine)], None)
            slices, _ = prepare_slices(case)
    except DataError as error:
        reason = Reason("no_head", f"No head can be found in the volume: {error}.")
        return _abstained(served, volume, reason, point, timer)
    found = _Found()
    for start in range(0, len(slices), MAX_BATCH):
        _run(served, slices[start : start + MAX_BATCH], point, found, timer)
    share = float(np.mean(found.unlike))
    if share > MAX_UNLIKE_SHARE:
        reason = Reason(
            "out_of_distribution",
            f"{share:.0%} of the slices are unlike those of training: this may be no MRI of a head, or "
            "one of another kind.",
        )
        return _abstained(served, volume, reason, point, timer, share)
    return _result(served, volume, found, point, timer, share)


def _run(
    served: Served,
    slices: list[SliceRecord],
    point: OperatingPoint,
    found: _Found,
    timer: Timer,
) -> None:
    with timer.step("encoder"):
        images = np.stack([one.prepared.image for one in slices])
        encoded = served.network.encode(images, point.tta)
        scores = served.scores(encoded)
    decisions = [decide(float(raw), point) for raw in encoded.probability]
    # Small components are removed in 3-D, where the slices below the gate belong to the lesion too:
    # they are emptied afterwards, as evaluation does it.
    every = point.postprocess.min_component_ml > 0
    chosen = [k for k, decision in enumerate(decisions) if decision.segment or every]
    masks = [np.zeros(images.shape[-2:], dtype=bool) for _ in slices]
    if chosen:
        with timer.step("decoder"):
            pixels = served.network.decode(encoded, chosen)
        with timer.step("postprocess"):
            for k, own in zip(chosen, pixels, strict=True):
                masks[k] = clean_slice(own >= point.seg_threshold, point.postprocess)
    found.geometries += [one.prepared.geometry for one in slices]
    found.positions += [one.position for one in slices]
    found.decisions += decisions
    found.unlike += [served.unlike(score) for score in scores]
    found.masks += masks


def _result(
    served: Served,
    volume: VolumeInput,
    found: _Found,
    point: OperatingPoint,
    timer: Timer,
    share: float,
) -> VolumeResult:
    with timer.step("postprocess"):
        mask, pixels, voxel_ml = _served_mask(found, point)
    slices = [
        SliceResult(
            index=position,
            probability=decision.calibrated,
            label=(NO_TUMOUR, TUMOUR)[decision.label],
            area_px=pixels[geometry.slice_index] if decision.segment else None,
            segmented=decision.segment,
        )
        for position, decision, geometry in zip(
            found.positions, found.decisions, found.geometries, strict=True
        )
    ]
    # The patient rule of evaluation: volume on the slices called tumour, against the fitted limit.
    called = sum(
        pixels[geometry.slice_index]
        for geometry, decision in zip(found.geometries, found.decisions, strict=True)
        if decision.label == 1
    )
    label = TUMOUR if point.patient_rule(called, voxel_ml).call else NO_TUMOUR
    return VolumeResult(
        slices=slices,
        probability=max(one.probability for one in slices),
        label=label,
        volume_ml=None if voxel_ml is None else int(mask.sum()) * voxel_ml,
        mask=mask,
        affine=volume.affine,
        warnings=[*served.standing, *_warnings(found, slices, label)],
        abstained=False,
        reason=None,
        reason_code=None,
        thresholds=thresholds(point),
        timings_ms=timer.total(),
        input_sha256=volume.sha256,
        ood_share=None if served.ood is None else share,
    )


def _served_mask(
    found: _Found, point: OperatingPoint
) -> tuple[np.ndarray, list[int], float | None]:
    """(mask in the file grid with the slices below the gate emptied, its pixels per display slice, ml
    of a voxel)."""
    geometry = found.geometries[0]
    voxel_ml = voxel_volume_ml(geometry)
    mask = assemble_volume(found.geometries, found.masks)
    mask = clean_assembled(mask, point.postprocess, voxel_ml)
    display = geometry.volume.orient(mask).copy()
    below = [
        own.slice_index
        for own, decision in zip(found.geometries, found.decisions, strict=True)
        if not decision.segment
    ]
    display[:, :, below] = 0
    pixels = [int(n) for n in np.count_nonzero(display, axis=(0, 1))]
    return np.ascontiguousarray(geometry.volume.restore(display)), pixels, voxel_ml


def _warnings(found: _Found, slices: list[SliceResult], label: str) -> list[str]:
    warnings = []
    if unlike := sum(found.unlike):
        warnings.append(
            f"{unlike} of {len(slices)} slices are unlike those of training; as pictures of their own "
            "they would be refused."
        )
    called = sum(one.label == TUMOUR for one in slices)
    if called and label == NO_TUMOUR:
        warnings.append(
            f"{called} of {len(slices)} slices are called tumour, but the volume outlined on them does not exceed the "
            "limit from which a patient is called."
        )
    return warnings


def _abstained(
    served: Served,
    volume: VolumeInput,
    reason: Reason,
    point: OperatingPoint,
    timer: Timer,
    share: float | None = None,
) -> VolumeResult:
    empty: dict[str, Any] = dict.fromkeys(("probability", "label", "volume_ml", "mask"))
    return VolumeResult(
        slices=[],
        **empty,
        affine=volume.affine,
        warnings=list(served.standing),
        abstained=True,
        reason=reason.text,
        reason_code=reason.code,
        thresholds=thresholds(point),
        timings_ms=timer.total(),
        input_sha256=volume.sha256,
        ood_share=share,
    )
