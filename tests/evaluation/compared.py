"""Evaluation folders as `evaluate.py` leaves them, and what the tests of the comparison ask of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import simulated

from brainmtl.evaluation import selection
from brainmtl.evaluation.lines import CASES, PREDICTIONS, write_lines
from brainmtl.evaluation.scores import score_sources
from brainmtl.files import write_json

Lines = list[dict[str, Any]]
RESAMPLES = 200
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
