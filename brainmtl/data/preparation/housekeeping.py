"""What a prepared folder must not keep: samples of changed or vanished cases, files of a killed run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from brainmtl.data.manifest import SPLITS

PENDING = "pending"  # samples wait here until the splits are known


def ledger_path(source_dir: Path, case_id: str) -> Path:
    """Where the ledger entry of a case lies."""
    return source_dir / "cases" / f"{case_id}.json"


def reference_path(source_dir: Path, case_id: str) -> Path:
    """Where the reference mask of a case lies."""
    return source_dir / "references" / f"{case_id}.npz"


def read_ledger(source_dir: Path, case_id: str) -> dict[str, Any] | None:
    """The ledger entry of a case; None where there is none that can be read."""
    try:
        return json.loads(ledger_path(source_dir, case_id).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def find_sample(source_dir: Path, image_id: str) -> Path | None:
    """Where a sample of this source lies now: pending or in one of the splits."""
    for folder in (PENDING, *SPLITS):
        path = source_dir / folder / f"{image_id}.npz"
        if path.is_file():
            return path
    return None


def forget_case(source_dir: Path, case_id: str) -> None:
    """Delete what was prepared from a case: its samples and reference, its ledger entry last.

    Interrupted half-way, the entry still names what is left to delete, and no longer counts as
    complete.
    """
    ledger = read_ledger(source_dir, case_id)
    for row in ledger["rows"] if ledger else []:
        for folder in (PENDING, *SPLITS):
            (source_dir / folder / f"{row['image_id']}.npz").unlink(missing_ok=True)
    reference_path(source_dir, case_id).unlink(missing_ok=True)
    ledger_path(source_dir, case_id).unlink(missing_ok=True)


def remove_stale(source_dir: Path, case_ids: set[str]) -> int:
    """Forget the cases that the raw folder no longer holds in usable form; returns their number."""
    stale = [p.stem for p in (source_dir / "cases").glob("[!.]*.json") if p.stem not in case_ids]
    for case_id in stale:
        forget_case(source_dir, case_id)
    return len(stale)


def sweep(source_dir: Path, kept: Iterable[Path]) -> None:
    """Delete samples that are not among ``kept``, and the temporary files of a killed run."""
    kept = set(kept)
    for folder in (PENDING, *SPLITS):
        for path in (source_dir / folder).glob("*.npz"):
            if path not in kept:
                path.unlink()
    for folder in ("cases", "references"):
        for path in (source_dir / folder).glob(".tmp-*"):
            path.unlink()
