"""The operating point of an evaluation: read beside the checkpoint, or fitted on validation now."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmtl.errors import ConfigError
from brainmtl.evaluation.candidates import CandidateTally
from brainmtl.evaluation.fitting import fit_operating_point
from brainmtl.evaluation.predict import predict_maps
from brainmtl.files import sha256
from brainmtl.inference.operating.operating_point import (
    DEFAULT_SEG_GATE,
    OperatingPoint,
    operating_point_path,
    read_operating_point,
    write_operating_point,
)
from brainmtl.inference.operating.tta import TTA_MODES

if TYPE_CHECKING:
    import pandas as pd

    from brainmtl.models.multitask import MultiTaskModel

log = logging.getLogger(__name__)
CHOICES = ("auto", "fit", "default")


def operating_point_for(
    choice: str,
    ckpt: Path,
    model: MultiTaskModel,
    data_dir: Path,
    validation: pd.DataFrame,
    *,
    manifest_sha256: str,
    same_data: bool,
    seg_gate: float | None = None,
    **options: Any,
) -> OperatingPoint:
    """The operating point that ``choice`` asks for.

    "auto" reads the file beside the checkpoint, and fits it when there is none and the folder is
    that of training; "fit" fits it again; "default" takes the unfitted one. A fitted point is
    written beside the checkpoint.

    Args:
        validation: validation rows of the sources of training; may be empty.
        manifest_sha256: of the folder.
        same_data: whether the folder is the one of training: other data's "val" is no validation
            of this model, it may be the test of a reader who uses this file.
        seg_gate: what a point is fitted with, or the default one has; None: 0.3. One that is read keeps
            its own.
        options: ``batch_size``, ``device``, ``precision``, ``progress`` of the network passes.

    Raises:
        ConfigError: unknown choice, "fit" without validation rows, a gate above the threshold.
        DataError: the file beside the checkpoint is broken or of another checkpoint.
    """
    if choice not in CHOICES:
        raise ConfigError(f"operating_point={choice} is unknown: choose {', '.join(CHOICES)}")
    if choice == "auto" and operating_point_path(ckpt).is_file():
        return read_operating_point(ckpt)
    gate = DEFAULT_SEG_GATE if seg_gate is None else seg_gate
    if choice == "default":
        return OperatingPoint.default(seg_gate=gate)
    if same_data and not validation.empty:
        return _fit(ckpt, model, data_dir, validation, manifest_sha256, gate, options)
    missing = (
        "the folder has no validation samples of the sources of training"
        if same_data
        else "the folder is not the one of training"
    )
    if choice == "fit":
        raise ConfigError(
            f"operating_point=fit: {missing}, so there is nothing to fit on. Evaluate once on the "
            "folder of training, or choose operating_point=default"
        )
    remark = f"The operating point is not fitted ({missing}): T = 1, threshold 0.5."
    return OperatingPoint.default(seg_gate=gate, remarks=(remark,))


def _fit(
    ckpt: Path,
    model: MultiTaskModel,
    data_dir: Path,
    validation: pd.DataFrame,
    manifest_sha256: str,
    seg_gate: float,
    options: dict[str, Any],
) -> OperatingPoint:
    tally = CandidateTally()
    labels: list[int] = []
    sources: list[str] = []
    probabilities: dict[str, list[float]] = {mode: [] for mode in TTA_MODES}
    batches = predict_maps(
        model, data_dir, validation, TTA_MODES, description="fitting on validation", **options
    )
    for rows, samples, found in batches:
        for k, (row, sample) in enumerate(zip(rows, samples, strict=True)):
            own = {mode: float(found[mode][0][k]) for mode in TTA_MODES}
            labels.append(int(row.label))
            sources.append(str(row.source))
            for mode, value in own.items():
                probabilities[mode].append(value)
            if sample.mask is not None:
                tally.add(
                    source=str(row.source),
                    group=str(row.group),
                    case_id=str(row.case_id),
                    geometry=sample.geometry,
                    probabilities=own,
                    maps={mode: found[mode][1][k] for mode in TTA_MODES},
                    reference=sample.mask > 0,
                )
    fitted = fit_operating_point(
        labels,
        probabilities,
        sources,
        tally,
        checkpoint_sha256=sha256(ckpt),
        manifest_sha256=manifest_sha256,
        seg_gate=seg_gate,
    )
    path = write_operating_point(fitted.operating_point, ckpt)
    log.info("operating point fitted on %d validation samples: %s", len(labels), path)
    return fitted.operating_point
