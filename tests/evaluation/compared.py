"""Evaluation folders as `evaluate.py` leaves them, and what the tests of the comparison ask of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import simulated

from brainmtl.config import compose
from brainmtl.evaluation import selection
from brainmtl.evaluation.lines import CASES, PREDICTIONS, write_lines
from brainmtl.evaluation.scores import score_sources
from brainmtl.files import write_json
from brainmtl.training.run_folder.run_record import comparable

Lines = list[dict[str, Any]]
RESAMPLES = 200
LOW, HIGH = (0.8, 0.9, 1.0), (1.3, 1.4)  # skills of the seeds of two recipes
NAMES = {"phantom_brats": "brats-like (synthetic)", "kaggle": "kaggle"}


def data(seg_skill: float, cls_skill: float, patients: int = 20) -> tuple[Lines, Lines]:
    """Lines of a model with masks as of ``seg_skill`` and probabilities as of ``cls_skill``."""
    rows, cases = simulated.volumes("phantom_brats", patients, skill=seg_skill)
    other, _ = simulated.volumes("phantom_brats", patients, skill=cls_skill)
    heads = ("probability", "calibrated", "call")
    rows = [row | {key: own[key] for key in heads} for row, own in zip(rows, other, strict=True)]
    return rows + simulated.pictures("kaggle", 60, skill=cls_skill), cases


def write_evaluation(
    folder: Path, stage: str, rows: Lines, cases: Lines, trained: str = "decoder head", **run: Any
) -> Path:
    """What `evaluate.py` leaves of a stage up to which ``trained`` parts were trained."""
    write_lines(folder / PREDICTIONS, rows)
    if cases:
        write_lines(folder / CASES, cases)
    write_json(folder / "metrics.json", score_sources(rows, cases))
    meta = {"stage": stage, "trained_parts": trained.split()}
    provenance = {
        "stage": stage,
        "split": "test",
        "checkpoint": f"{stage}/checkpoints/best.ckpt",
        "checkpoint_sha256": (stage[0] * 64)[:64],
        "manifest_sha256": "0" * 64,
        "folds": None,
        "display_names": NAMES,
        "remarks": [*selection._untrained(meta), "The model was trained on kaggle."],
    }
    write_json(folder / "run.json", provenance | run)
    return folder


def differences(found: dict[str, Any], source: str, evaluation: str) -> dict[str, dict[str, Any]]:
    return {
        test["figure"]: test
        for test in found["sources"][source]["comparisons"]
        if test["evaluation"] == evaluation
    }


def patient_dice(cases: Lines) -> np.ndarray:
    own: dict[str, list[float]] = {}
    for case in cases:
        if case["dice"] is not None:
            own.setdefault(case["group"], []).append(case["dice"])
    return np.array([np.mean(own[group]) for group in sorted(own)])


def command(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "brainmtl.compare", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def record(folder: Path, seed: int, *overrides: str, manifest: str = "0" * 64) -> None:
    """What training leaves in the folder of a run with these overrides, as far as it is compared."""
    options = compose("train", f"seed={seed}", f"run_dir={folder}", *overrides)
    hashes = {"manifest_sha256": manifest, "init_from_sha256": None}
    versions = {"preprocessing_version": 1, "brainmtl_version": "1"}
    write_json(folder / "run.json", {"config": comparable(options), **hashes, **versions})


def write_stages(folder: Path, *skills: float, stages: tuple[str, ...] = ("joint",)) -> Path:
    for stage, skill in zip(stages, skills, strict=True):
        write_evaluation(folder / stage / "evaluation_test", stage, *data(skill, skill))
    return folder
