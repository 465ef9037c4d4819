"""A checkpoint and the rows that it is evaluated on, found and checked to fit each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmtl.data.manifest import display_name, load_manifest
from brainmtl.data.samples import first_samples
from brainmtl.data.selection import assign_splits
from brainmtl.evaluation import selection
from brainmtl.evaluation.sites import trained_sites
from brainmtl.files import sha256

if TYPE_CHECKING:
    import pandas as pd

    from brainmtl.models.multitask import MultiTaskModel


@dataclass(frozen=True, eq=False)
class Subject:
    """What is evaluated on what.

    ``meta`` is the description that the checkpoint carries; ``frame`` are all rows of the sources asked
    for, with the splits of ``fold``, and ``test`` those of ``split``; their ``role`` is the split in the
    fold of training. ``validation`` are those of the sources of training by that role, whichever are
    asked for: the operating point belongs to the checkpoint. ``left_out`` are the sources that the model
    cannot take, where all were asked for.
    ``trained_sites``: sources and institutions of training; None where the folder is another one.
    ``same_data``: the folder holds what the model was trained on, as it was then. ``asked`` are
    ``sources`` and ``fold`` as they were given.
    """

    ckpt: Path
    model: MultiTaskModel
    meta: dict[str, Any]
    data_dir: Path
    manifest_sha256: str
    same_data: bool
    split: str
    fold: int | None
    asked: dict[str, Any]
    frame: pd.DataFrame
    test: pd.DataFrame
    validation: pd.DataFrame
    left_out: list[str]
    trained_sites: set[tuple[str, str]] | None

    def provenance(self) -> dict[str, Any]:
        """The first part of run.json."""
        synthetic = self.test.groupby(self.test["source"].astype(str))["synthetic"].max()
        return {
            "checkpoint": str(self.ckpt),
            "checkpoint_sha256": sha256(self.ckpt),
            "stage": self.meta.get("stage"),
            "split": self.split,
            "fold": self.fold,
            "folds": None,
            "data_dir": str(self.data_dir),
            "manifest_sha256": self.manifest_sha256,
            "training_manifest_sha256": self.meta.get("manifest_sha256"),
            "training_sources": list(self.meta.get("sources") or []),
            "synthetic_training": bool(self.meta.get("synthetic_training")),
            "pretrained": self.meta.get("pretrained"),
            "trainings": self.meta.get("trainings", 1),
            "preprocessing_version": self.meta["preprocessing_version"],
            "display_names": {
                source: display_name(source, bool(flag)) for source, flag in synthetic.items()
            },
        }


def choose_subject(
    ckpt: Path,
    data_dir: str | Path | None,
    split: str,
    sources: Sequence[str] | None,
    fold: int | str | None,
) -> Subject:
    """Load a checkpoint and choose its rows; arguments and errors as of ``evaluate``."""
    given = None if data_dir is None else selection.require_prepared(data_dir)
    model, meta = selection.load_checkpoint(ckpt)
    data_dir = given or selection.require_training_folder(meta)
    manifest = load_manifest(data_dir)
    same_data = selection.trained_here(manifest, meta)
    if not same_data:
        selection.check_unchanged(manifest.frame, data_dir, meta)
    asked = {"sources": None if sources is None else list(sources), "fold": fold}
    trained_fold = selection.choose_fold("auto", meta, same_data=same_data)
    fold = selection.choose_fold(fold, meta, same_data=same_data)
    everything = selection.read_frame(data_dir, fold, manifest=manifest.frame)
    everything = everything.assign(role=assign_splits(everything, trained_fold))
    frame = selection.rows_of_sources(everything, sources, data_dir)
    test = selection.select_rows(frame, split, data_dir)
    firsts = first_samples(test, data_dir)
    left_out = selection.unfit_sources(firsts, meta) if sources is None else []
    frame, test = (rows[~rows["source"].isin(left_out)] for rows in (frame, test))
    taken = {source: first for source, first in firsts.items() if source not in left_out}
    selection.check_samples(taken, data_dir, meta)
    trained = everything["source"].isin(selection.trained_sources(everything, meta))
    return Subject(
        ckpt,
        model,
        meta,
        data_dir,
        manifest.sha256,
        same_data,
        split,
        fold,
        asked,
        frame,
        test,
        validation=everything[(everything["role"] == "val") & trained],
        left_out=left_out,
        trained_sites=trained_sites(everything[(everything["role"] == "train") & trained])
        if same_data
        else None,
    )
