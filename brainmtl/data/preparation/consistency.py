"""Checks that need the manifest alone: columns that contradict each other, leaks between splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from brainmtl.data.manifest import SPLITS
from brainmtl.data.preparation.duplicates import group_duplicates

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, order=True)
class Finding:
    """Something wrong: ``path`` relative to the prepared folder (or a group's name), and what."""

    path: str
    problem: str


def check_columns(frame: pd.DataFrame) -> list[Finding]:
    """Rows of the manifest whose columns contradict each other."""
    has_mask, pixels, label = frame["has_mask"] == 1, frame["tumour_pixels"], frame["label"]
    path = frame["source"].astype(str) + "/" + frame["split"].astype(str) + "/" + frame["image_id"]
    raw = frame["raw_sha256"].astype(str)
    pictures = frame[(frame["kind"] == "image") & (label >= 0) & (raw != "")]
    answers = pictures["label"].groupby(raw).transform("nunique")
    broken = {
        "split is none of train, val, test": ~frame["split"].isin(SPLITS),
        "path is not <source>/<split>/<image_id>.npz": frame["path"] != path + ".npz",
        "image_id is listed twice": frame.duplicated(["source", "image_id"], keep="first"),
        "kind is neither volume nor image": ~frame["kind"].isin(["volume", "image"]),
        "label is none of -1, 0, 1": ~label.isin([-1, 0, 1]),
        "has_label contradicts label": frame["has_label"] != (label >= 0),
        "tumour_pixels contradicts has_mask": has_mask != (pixels >= 0),
        "label 0 with tumour in its mask": has_mask & (label == 0) & (pixels > 0),
        "label is not 0 and its mask is empty": has_mask & (label != 0) & (pixels == 0),
        "the same picture (raw_sha256) is labelled 0 in one file and 1 in another": frame.index.isin(
            answers.index[answers > 1]
        ),
        "an image without duplicate_hash": (frame["kind"] == "image")
        & (frame["duplicate_hash"] == ""),
    }
    return [
        Finding(str(path), f"manifest: {reason}")
        for reason, rows in broken.items()
        for path in frame.loc[rows.astype(bool), "path"]
    ]


def check_leakage(frame: pd.DataFrame) -> list[Finding]:
    """Patients, cases, raw files and copies of pictures that lie in more than one split or fold.

    Groups, raw files and pictures are compared over all sources together.
    """
    case = frame["source"].astype(str) + "/" + frame["case_id"].astype(str)
    findings = []
    for what, key in (
        ("group", frame["group"].astype(str)),
        ("case", case),
        ("raw file", frame["raw_sha256"].astype(str)),
        ("set of near-duplicate pictures", _copies(frame)),
    ):
        for column in ("split", "fold"):
            findings += _spread(frame, key, column, what)
    return findings


def _copies(frame: pd.DataFrame) -> pd.Series:
    """One number for each set of copies among the pictures; missing for everything else."""
    numbers = frame["fold"].astype("Int64") * 0
    pictures = frame["duplicate_hash"].to_numpy() != ""
    numbers[~pictures] = None
    numbers[pictures] = group_duplicates(frame.loc[pictures, "duplicate_hash"].tolist())
    return numbers


def _spread(frame: pd.DataFrame, key: pd.Series, column: str, what: str) -> list[Finding]:
    """Findings for each value of ``key`` whose rows lie in two values of ``column``."""
    rows = key.notna()
    if column == "fold":  # -1 in a source that has folds: trains in each of them
        rows &= frame.groupby("source", observed=True)["fold"].transform("max") >= 0
    places = frame.loc[rows, column].astype(str).groupby(key[rows]).unique()
    findings = []
    for name, where in places[places.map(len) > 1].items():
        members = frame[rows & (key == name).fillna(False)]
        example = members.drop_duplicates(column)["path"].tolist()
        label = str(name)[:16] if what == "raw file" else str(name)
        title = what if what.startswith("set of") else f"{what} {label}"
        findings.append(
            Finding(
                example[0],
                f"leak: {title} lies in {column}s {', '.join(np.sort(where))} "
                f"({len(members)} samples; also {', '.join(example[1:])})",
            )
        )
    return findings
