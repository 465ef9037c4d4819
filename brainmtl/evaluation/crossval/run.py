"""``cross_validate(dir)``: every fold evaluated by its own model, all folds as one evaluation."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmtl.errors import ConfigError
from brainmtl.evaluation import selection
from brainmtl.evaluation.crossval.folds import FoldModel, find_folds, missing_folds
from brainmtl.evaluation.crossval.merge import mean_tree, merge_lines
from brainmtl.evaluation.evidence import (
    BASELINES,
    ROBUSTNESS,
    Evidence,
    Pictures,
    check_free,
    publish,
    unseal,
)
from brainmtl.evaluation.lines import CASES, PREDICTIONS, read_lines
from brainmtl.evaluation.options import EvaluationOptions
from brainmtl.evaluation.reuse import finished_evaluation
from brainmtl.evaluation.robustness import robustness_section
from brainmtl.evaluation.run import evaluate
from brainmtl.evaluation.shortcuts import summarise_baselines
from brainmtl.evaluation.shortcuts.association import label_source_association
from brainmtl.evaluation.shortcuts.unseen import unseen_report
from brainmtl.evaluation.showcase import Shown, draw_cases, show
from brainmtl.files import sha256
from brainmtl.inference.operating.operating_point import OperatingPoint
from brainmtl.words import quantity

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
PER_FOLD_NOTE = (
    "Cross-validation: every figure with cases is over out-of-fold predictions, each case predicted once "
    "by a model that saw neither its patient nor its duplicate group. The models differ between folds, so "
    "ROC curves over all folds mix their scales; linear probe, background swap and heat are means over "
    "folds, and their counts are sums over folds."
)


def cross_validate(
    dir: str | Path,
    stage_name: str = "joint",
    data_dir: str | Path | None = None,
    out_dir: str | Path | None = None,
    *,
    partial: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Evaluate the folds of one cross-validation and merge them.

    Args:
        dir: folder of ``python train.py -m fold=0,1,...``.
        stage_name: which stage's models.
        data_dir: prepared folder; None = where the first fold was trained.
        out_dir: default ``<dir>/crossval_<stage_name>``.
        partial: merge although folds are missing; the report says which.
        options: fields of :class:`brainmtl.evaluation.options.EvaluationOptions`.

    Returns:
        As :func:`brainmtl.evaluation.run.evaluate`.

    Raises:
        ConfigError: no folds, folds missing or of different recipes.
        DataError: as evaluate, or a case that two folds predicted.
    """
    folder = Path(dir)
    asked = EvaluationOptions(**options)
    models = find_folds(folder, stage_name)
    data_dir = (
        selection.require_prepared(data_dir)
        if data_dir
        else selection.require_training_folder(models[0].meta)
    )
    missing = missing_folds(models, data_dir)
    if missing and not partial:
        raise ConfigError(
            f"dir={folder} lacks the finished folds {missing}: repeat the training command (finished "
            "stages are reused), or set partial=true to see what is there"
        )
    out_dir = Path(out_dir) if out_dir else folder / f"crossval_{stage_name}"
    check_free(out_dir)
    folders = [_evaluate_fold(model, data_dir, options) for model in models]
    runs = [json.loads((path / "run.json").read_text(encoding="utf-8")) for path in folders]
    unseal(out_dir)
    evidence = _merge(models, folders)
    thresholds = {run["operating_point"]["threshold"] for run in runs}
    evidence.score(
        thresholds.pop() if len(thresholds) == 1 else None,
        runs[0]["seg_threshold"],
        asked.min_false_positive_pixels,
        asked.resamples,
        asked.seed,
    )
    run = _run(models, runs, missing)
    run["remarks"] += _never_tested(data_dir, run["display_names"])
    if evidence.shortcuts is not None:
        _renew_shortcuts(evidence, run, data_dir)
    if asked.figures:
        evidence.pictures = _pictures(models, runs, data_dir, evidence, run, asked, out_dir)
    publish(out_dir, evidence, run, asked.bands, asked.figures)
    return {"metrics": evidence.result, "run": run, "out_dir": out_dir}


def _evaluate_fold(model: FoldModel, data_dir: Path, options: dict[str, Any]) -> Path:
    """Folder of the fold's own evaluation, made now unless it is there and whole."""
    folder = model.directory / "evaluation_test"
    if finished_evaluation(folder, sha256(model.checkpoint), data_dir, "test", options):
        log.info("fold %d: evaluated already, %s", model.fold, folder)
        return folder
    print(f"fold {model.fold}: {model.checkpoint}", flush=True)
    evaluate(model.checkpoint, data_dir, folder, **options)
    return folder


def _merge(models: Sequence[FoldModel], folders: Sequence[Path]) -> Evidence:
    def lines(name: str) -> list[tuple[int, list[dict[str, Any]]]]:
        present = [(m.fold, f / name) for m, f in zip(models, folders, strict=True)]
        return [(fold, read_lines(path)) for fold, path in present if path.is_file()]

    def section(name: str) -> dict[str, Any] | None:
        paths = [folder / f"{name}.json" for folder in folders]
        if not all(path.is_file() for path in paths):
            return None
        return mean_tree([json.loads(path.read_text(encoding="utf-8")) for path in paths])

    evidence = Evidence(
        merge_lines(lines(PREDICTIONS), "image_id"), merge_lines(lines(CASES), "case_id")
    )
    evidence.shortcuts = section("shortcuts")
    evidence.baseline_lines = _with_fold(lines(BASELINES))
    altered, found = lines(ROBUSTNESS), section("robustness")
    if found is not None and len(altered) == len(models):
        # The other settings are those of each fold's operating point.
        settings = {name: found["settings"][name] for name in ("limit", "seed")}
        evidence.robustness_lines = _with_fold(altered)
        evidence.robustness = robustness_section(evidence.robustness_lines, settings)
    return evidence


def _with_fold(per_fold: Sequence[tuple[int, list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    return [line | {"fold": fold} for fold, own in per_fold for line in own]


def _renew_shortcuts(evidence: Evidence, run: dict[str, Any], data_dir: Path) -> None:
    """What has cases is made again from those of all folds instead of being averaged over folds."""
    frame = _evaluated(evidence, data_dir)
    evidence.shortcuts |= {
        # Every case is a training case of the other folds.
        "association": label_source_association(frame, frame),
        "baselines": summarise_baselines(evidence.baseline_lines, evidence.rows),
        "unseen": unseen_report(frame, evidence.result, run),
    }


def _evaluated(evidence: Evidence, data_dir: Path) -> pd.DataFrame:
    """The manifest's rows of the evaluated samples."""
    frame = selection.read_frame(data_dir)
    evaluated = {(row["source"], row["image_id"]) for row in evidence.rows}
    keys = zip(frame["source"].astype(str), frame["image_id"].astype(str), strict=True)
    return frame[[key in evaluated for key in keys]]


def _run(
    models: Sequence[FoldModel], runs: Sequence[dict[str, Any]], missing: Sequence[int]
) -> dict[str, Any]:
    """run.json of all folds together; what differs between them stands per fold."""
    first = runs[0]
    remarks = [PER_FOLD_NOTE]
    if missing:
        remarks.insert(
            0, f"Folds {list(missing)} are missing: their cases are not in these figures."
        )
    shared = [r for r in first["remarks"] if all(r in run["remarks"] for run in runs)]
    return first | {
        "checkpoint": ", ".join(str(model.checkpoint) for model in models),
        "checkpoint_sha256": ", ".join(run["checkpoint_sha256"][:16] for run in runs),
        "split": "test",
        "fold": None,
        "folds": [model.fold for model in models],
        "options": first["options"] | ({"partial": True} if missing else {}),
        "operating_point": {
            f"fold {m.fold}": r["operating_point"] for m, r in zip(models, runs, strict=True)
        },
        "seconds": {
            source: round(sum(run["seconds"].get(source, 0.0) for run in runs), 3)
            for source in first["seconds"]
        },
        "remarks": [*remarks, *shared],
    }


def _never_tested(data_dir: Path, names: Mapping[str, str]) -> list[str]:
    """A sentence per source with groups that no fold tests (``split.train_groups``, ``split.test_groups``)."""
    frame = selection.read_frame(data_dir)
    frame = frame[frame.groupby("source", observed=True)["fold"].transform("max") >= 0]
    found = []
    apart = frame[(frame["fold"] < 0) & frame["source"].isin(list(names))]
    for (source, split), rows in apart.groupby(["source", "split"], observed=True):
        groups = quantity(rows["group"].nunique(), "groups")
        does = "trained on in every fold" if split == "train" else "used by no fold"
        found.append(
            f"{names[source]}: {groups} of split.{split}_groups, {does}, in none of these figures."
        )
    return found


def _pictures(
    models: Sequence[FoldModel],
    runs: Sequence[dict[str, Any]],
    data_dir: Path,
    evidence: Evidence,
    run: dict[str, Any],
    asked: EvaluationOptions,
    out_dir: Path,
) -> Pictures:
    """Cases of all folds, each drawn by the model that predicted it."""
    network = asked.network()

    def show_rows(rows: pd.DataFrame) -> Shown:
        found: dict[str, Any] = {}
        for model, fold_run in zip(models, runs, strict=True):
            own = rows[rows["fold"] == model.fold]
            if own.empty:
                continue
            network_of_fold, _ = selection.load_checkpoint(model.checkpoint)
            point = OperatingPoint.from_dict(fold_run["operating_point"])
            for item in show(network_of_fold, data_dir, own, point, network):
                found[item[0].row.image_id] = item
        return [found[image_id] for image_id in rows["image_id"]]

    return draw_cases(
        _evaluated(evidence, data_dir), evidence, run["display_names"], show_rows, out_dir
    )
