"""``evaluate(ckpt, data_dir, ...)``: figures per source, files, report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from brainmtl.data.manifest import display_name, manifest_hash
from brainmtl.errors import ConfigError
from brainmtl.evaluation import selection
from brainmtl.evaluation.cases import original_mask, save_case_masks, score_case
from brainmtl.evaluation.predict import check_options, choose_device, predict_split
from brainmtl.evaluation.report import report
from brainmtl.evaluation.scores import score_sources
from brainmtl.files import atomic_path, sha256, write_json, write_text


def evaluate(
    ckpt: str | Path,
    data_dir: str | Path,
    out_dir: str | Path | None = None,
    split: str = "test",
    *,
    sources: Sequence[str] | None = None,
    batch_size: int = 16,
    cls_threshold: float = 0.5,
    seg_threshold: float = 0.5,
    min_false_positive_pixels: int = 1,
    precision: str = "32",
    device: str = "auto",
    save_masks: bool = False,
    figures: bool = True,
    progress: bool = True,
) -> dict[str, Any]:
    """Evaluate a checkpoint on one split of a prepared folder, each source by itself.

    Args:
        ckpt: checkpoint of this project.
        data_dir: prepared folder; need not be the one of training.
        out_dir: where the files go; default ``<stage dir>/evaluation_<split>``.
        split: train, val, test or all.
        sources: which prepared sources; None = all that the split holds.
        cls_threshold: tumour probability from which an image is called tumour.
        seg_threshold: the same per pixel.
        min_false_positive_pixels: see :func:`brainmtl.evaluation.metrics.overlap_metrics`.
        precision: ``32`` or ``bf16``.
        save_masks: also write the predicted masks in their original geometry.
        figures: also draw the figures (a few seconds).

    Returns:
        ``{"metrics": metrics.json, "run": run.json, "out_dir": Path}``; docs/evaluation.md has the
        fields of both files.

    Raises:
        ConfigError: an option or path that cannot work, or an empty split.
        DataError: a broken sample, or a checkpoint or data of another preprocessing version.
    """
    ckpt, data_dir = Path(ckpt), Path(data_dir)
    check_options(batch_size, precision, cls_threshold, seg_threshold)
    if min_false_positive_pixels < 1:
        raise ConfigError(
            f"min_false_positive_pixels={min_false_positive_pixels} must be at least 1"
        )
    selection.require_prepared(data_dir)
    frame = selection.select_rows(data_dir, split, sources)
    model, meta = selection.load_checkpoint(ckpt)
    selection.check_samples(frame, data_dir, meta)
    out_dir = Path(out_dir) if out_dir else selection.default_out_dir(ckpt, split)
    options = {
        "batch_size": batch_size,
        "device": choose_device(device),
        "precision": precision,
        "seg_threshold": seg_threshold,
    }
    mask_dir = out_dir / "masks" if save_masks else None
    rows, cases, seconds = _predict_all(model, data_dir, frame, mask_dir, progress, options)
    result = score_sources(rows, cases, cls_threshold, seg_threshold, min_false_positive_pixels)
    run = {
        **_provenance(ckpt, data_dir, split, meta, result),
        **options,
        "cls_threshold": cls_threshold,
        "min_false_positive_pixels": min_false_positive_pixels,
        "seconds": seconds,
        "remarks": selection.remarks(frame, data_dir, meta, split),
    }
    _write(out_dir, rows, cases, result, run)
    drawn = _draw(model, data_dir, frame, rows, cases, result, out_dir, options) if figures else {}
    write_text(out_dir / "report.md", report(result, run, drawn))
    return {"metrics": result, "run": run, "out_dir": out_dir}


def _provenance(
    ckpt: Path, data_dir: Path, split: str, meta: dict[str, Any], result: dict[str, Any]
) -> dict[str, Any]:
    """What was evaluated on what: the first part of run.json."""
    return {
        "checkpoint": str(ckpt),
        "checkpoint_sha256": sha256(ckpt),
        "stage": meta.get("stage"),
        "split": split,
        "data_dir": str(data_dir),
        "manifest_sha256": manifest_hash(data_dir),
        "training_manifest_sha256": meta.get("manifest_sha256"),
        "training_sources": list(meta.get("sources") or []),
        "synthetic_training": bool(meta.get("synthetic_training")),
        "preprocessing_version": meta["preprocessing_version"],
        "display_names": {
            source: display_name(source, values["synthetic"]) for source, values in result.items()
        },
    }


def _predict_all(
    model: Any,
    data_dir: Path,
    frame: Any,
    mask_dir: Path | None,
    progress: bool,
    options: dict[str, Any],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, float]]:
    """Lines of predictions.csv and cases.csv, seconds per source; one case in memory at a time."""
    rows: list[dict[str, Any]] = []
    cases: list[dict[str, Any]] = []
    seconds: dict[str, float] = {}
    predictions = predict_split(model, data_dir, frame, progress=progress, **options)
    before = time.perf_counter()
    for (source, _), group in groupby(predictions, key=lambda p: (p.row.source, p.row.case_id)):
        slices = list(group)
        rows += [prediction.record() for prediction in slices]
        mask = original_mask(slices)
        case = score_case(slices, mask, data_dir)
        if case is not None:
            cases.append(case)
        if mask_dir is not None:
            save_case_masks(slices, mask, mask_dir / str(source))
        now = time.perf_counter()
        seconds[source] = seconds.get(source, 0.0) + now - before
        before = now
    return rows, cases, {source: round(value, 3) for source, value in seconds.items()}


def _write(
    out_dir: Path,
    rows: list[dict[str, Any]],
    cases: list[dict[str, Any]],
    result: dict[str, Any],
    run: dict[str, Any],
) -> None:
    import pandas as pd

    for name, lines in (("predictions.csv", rows), ("cases.csv", cases)):
        if lines:
            # Int64 keeps counts whole beside empty cells (a float column would write 12.0).
            table = pd.DataFrame(lines).convert_dtypes()
            with atomic_path(out_dir / name) as temporary:
                table.to_csv(temporary, index=False)
    write_json(out_dir / "metrics.json", result)
    write_json(out_dir / "run.json", run)


def _draw(
    model: Any,
    data_dir: Path,
    frame: Any,
    rows: list[dict[str, Any]],
    cases: list[dict[str, Any]],
    result: dict[str, Any],
    out_dir: Path,
    options: dict[str, Any],
) -> dict[str, list[tuple[str, Path]]]:
    """Figures per source as (caption, path relative to ``out_dir``)."""
    from brainmtl.evaluation import figures, gallery

    folder = out_dir / "figures"
    drawn: dict[str, list[tuple[str, Path]]] = {}
    for source, values in result.items():
        own_rows = [row for row in rows if row["source"] == source]
        own_cases = [case for case in cases if case["source"] == source]
        name = display_name(source, values["synthetic"])
        panels = gallery.choose_panels(own_rows, own_cases)
        predictions = predict_split(
            model, data_dir, gallery.rows_of(frame, source, panels), progress=False, **options
        )
        pictures = gallery.draw(panels, list(predictions), name, folder / f"cases_{source}.png")
        if values["classification"]:
            pictures += figures.classification_figures(own_rows, values, name, folder, source)
        drawn[source] = [(caption, path.relative_to(out_dir)) for caption, path in pictures]
    return drawn
