"""``evaluate(ckpt, data_dir, ...)``: predictions, figures with intervals, sections, report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmtl.data.preprocessing.geometry import voxel_volume_ml
from brainmtl.evaluation import selection
from brainmtl.evaluation.cases import original_mask, save_case_masks, score_case
from brainmtl.evaluation.evidence import PENDING_MASKS, Evidence, check_free, publish, unseal
from brainmtl.evaluation.operating import operating_point_for
from brainmtl.evaluation.options import EvaluationOptions
from brainmtl.evaluation.predict import Prediction, predict_split
from brainmtl.evaluation.showcase import draw_cases, show
from brainmtl.evaluation.sites import mark_sites
from brainmtl.evaluation.subject import Subject, choose_subject
from brainmtl.inference.operating.operating_point import OperatingPoint
from brainmtl.inference.operating.postprocess import clean_assembled

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from brainmtl.models.multitask import MultiTaskModel


def evaluate(
    ckpt: str | Path,
    data_dir: str | Path | None = None,
    out_dir: str | Path | None = None,
    split: str = "test",
    *,
    sources: Sequence[str] | None = None,
    fold: int | str | None = "auto",
    **options: Any,
) -> dict[str, Any]:
    """Evaluate a checkpoint on one split of a prepared folder, each source by itself.

    Args:
        ckpt: checkpoint of this project.
        data_dir: prepared folder; None = the one of training.
        out_dir: where the files go; default ``<stage dir>/evaluation_<split>``.
        split: train, val, test or all.
        sources: which prepared sources; None = all that the split holds.
        fold: whose splits: "auto" = the fold that the checkpoint was trained on; None = none.
        options: fields of :class:`brainmtl.evaluation.options.EvaluationOptions`.

    Returns:
        ``{"metrics": metrics.json, "run": run.json, "out_dir": Path}``; docs/evaluation.md has the
        fields of both files.

    Raises:
        ConfigError: an option or path that cannot work, an out_dir of something else, or an empty split.
        DataError: a broken sample, a checkpoint or data of another preprocessing version, or a
            folder that has changed since the checkpoint was trained on it.
    """
    asked = EvaluationOptions(**options)
    subject = choose_subject(Path(ckpt), data_dir, split, sources, fold)
    out_dir = Path(out_dir) if out_dir else selection.default_out_dir(subject.ckpt, split)
    check_free(out_dir)
    network = asked.network()
    point = _operating_point(subject, asked, network)
    unseal(out_dir)
    evidence, seconds = predict_cases(
        subject.model,
        subject.data_dir,
        subject.test,
        point,
        out_dir / PENDING_MASKS if asked.save_masks else None,
        network,
    )
    mark_sites(evidence.rows, subject.trained_sites)
    evidence.score(
        point.threshold,
        point.seg_threshold,
        asked.min_false_positive_pixels,
        asked.resamples,
        asked.seed,
    )
    run = _run(subject, point, asked, network) | {"seconds": seconds}
    _add_sections(evidence, subject, run, point, asked, network)
    if asked.figures:
        evidence.pictures = draw_cases(
            subject.test,
            evidence,
            run["display_names"],
            lambda rows: show(subject.model, subject.data_dir, rows, point, network),
            out_dir,
        )
    publish(out_dir, evidence, run, asked.bands, asked.figures)
    return {"metrics": evidence.result, "run": run, "out_dir": out_dir}


def _operating_point(
    subject: Subject, asked: EvaluationOptions, network: dict[str, Any]
) -> OperatingPoint:
    """Fitted on the validation samples of the sources of training, with what was asked on top."""
    point = operating_point_for(
        asked.operating_point,
        subject.ckpt,
        subject.model,
        subject.data_dir,
        subject.validation,
        manifest_sha256=subject.manifest_sha256,
        same_data=subject.same_data,
        seg_gate=asked.seg_gate,
        **network,
    )
    return asked.apply(point)


def predict_cases(
    model: MultiTaskModel,
    data_dir: Path,
    frame: pd.DataFrame,
    point: OperatingPoint,
    mask_dir: Path | None,
    network: dict[str, Any],
) -> tuple[Evidence, dict[str, float]]:
    """Lines of predictions.csv and cases.csv, seconds per source; one case in memory at a time."""
    evidence = Evidence([], [])
    seconds: dict[str, float] = {}
    predictions = predict_split(model, data_dir, frame, point=point, **network)
    before = time.perf_counter()
    for (source, _), group in groupby(predictions, key=lambda p: (p.row.source, p.row.case_id)):
        slices = list(group)
        evidence.rows += [prediction.record() for prediction in slices]
        mask = _case_mask(slices, point)
        case = score_case(slices, mask, data_dir, point)
        if case is not None:
            evidence.cases.append(case)
        if mask_dir is not None:
            save_case_masks(slices, mask, mask_dir / str(source))
        now = time.perf_counter()
        seconds[source] = seconds.get(source, 0.0) + now - before
        before = now
    return evidence, {source: round(value, 3) for source, value in seconds.items()}


def _case_mask(slices: Sequence[Prediction], point: OperatingPoint) -> np.ndarray:
    mask = original_mask(slices)
    geometry = slices[0].geometry
    if geometry.volume is None:
        return mask
    return clean_assembled(mask, point.postprocess, voxel_volume_ml(geometry))


def _run(
    subject: Subject, point: OperatingPoint, asked: EvaluationOptions, network: dict[str, Any]
) -> dict[str, Any]:
    """run.json, but for the seconds."""
    remarks = selection.remarks(
        subject.test,
        subject.meta,
        subject.split,
        subject.asked["fold"],
        same_data=subject.same_data,
        left_out=subject.left_out,
    )
    return {
        **subject.provenance(),
        **{name: network[name] for name in ("batch_size", "device", "precision")},
        "seg_threshold": point.seg_threshold,
        "operating_point": point.to_dict(),
        "min_false_positive_pixels": asked.min_false_positive_pixels,
        "resamples": asked.resamples,
        "options": subject.asked | asked.record(),
        "remarks": [*remarks, *point.remarks],
    }


def _add_sections(
    evidence: Evidence,
    subject: Subject,
    run: dict[str, Any],
    point: OperatingPoint,
    asked: EvaluationOptions,
    network: dict[str, Any],
) -> None:
    model, data_dir, frame = subject.model, subject.data_dir, subject.frame
    if "shortcuts" in asked.sections:
        from brainmtl.evaluation.shortcuts import shortcut_section

        section = shortcut_section(
            model,
            data_dir,
            frame[frame["split"] == "train"],
            subject.test,
            evidence.rows,
            evidence.result,
            run,
            seed=asked.seed,
            progress=asked.progress,
        )
        evidence.baseline_lines = section.pop("baseline_lines")
        evidence.shortcuts = section
    if "robustness" in asked.sections:
        from brainmtl.evaluation.robustness import robustness

        section = robustness(
            model,
            data_dir,
            subject.test,
            temperature=point.temperature,
            threshold=point.threshold,
            seg_threshold=point.seg_threshold,
            limit=asked.section_limit,
            seed=asked.seed,
            **network,
        )
        evidence.robustness_lines = section.pop("lines")
        evidence.robustness = section
