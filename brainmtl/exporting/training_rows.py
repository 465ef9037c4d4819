"""Images of training that an export fits on: the check for unlike images, and the int8 graphs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmtl.data.manifest import Manifest, load_manifest
from brainmtl.data.samples import first_samples
from brainmtl.data.selection import select_rows
from brainmtl.errors import DataError
from brainmtl.evaluation.selection import (
    check_samples,
    choose_fold,
    trained_here,
    trained_sources,
)

if TYPE_CHECKING:
    import pandas as pd


def training_rows(
    data_dir: Path,
    meta: Mapping[str, Any],
    split: str,
    limit: int | None = None,
    *,
    option: str,
    manifest: Manifest | None = None,
) -> pd.DataFrame:
    """Rows of a split, as the checkpoint's training saw it, of the sources of training, cases together.

    ``limit`` is of all images, spread evenly over sources, labels and groups; ``option`` is the one of
    the export that needs them; ``manifest``: ``load_manifest(data_dir)``, where it was read already.

    Raises:
        DataError: there are none.
    """
    manifest = manifest or load_manifest(data_dir)
    frame = manifest.frame
    sources = trained_sources(frame, meta)
    if not sources:
        raise DataError(
            f"{data_dir} holds none of the sources of training ({meta.get('sources')}): give the "
            f"data_dir of training, or export with {option}=false"
        )
    fold = choose_fold("auto", meta, same_data=trained_here(manifest, meta))
    each = None if limit is None else max(1, limit // len(sources))
    rows = frame.iloc[select_rows(frame, sources, [split], fold, each)]
    if rows.empty:
        raise DataError(
            f"{data_dir} has no images of split {split} of {', '.join(sources)}, which {option}=true "
            f"needs: prepare with split.{split} > 0, or export with {option}=false"
        )
    check_samples(first_samples(rows, data_dir), data_dir, dict(meta))
    return rows.sort_values(["source", "case_id", "position"], kind="stable")
