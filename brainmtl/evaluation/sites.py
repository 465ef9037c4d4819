"""Figures per institution: what pools over sites says little of the next one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from brainmtl.evaluation.scores import source_metrics
from brainmtl.evaluation.statistics.intervals import main_intervals

if TYPE_CHECKING:
    import pandas as pd

Lines = list[dict[str, Any]]

CLASSIFICATION = ("n", "balanced_accuracy", "sensitivity", "specificity", "roc_auc")
PER_PATIENT = ("n", "dice", "dice_sd")


def trained_sites(frame: pd.DataFrame) -> set[tuple[str, str]]:
    """``(source, site)`` of the rows of training, given as rows of the manifest."""
    pairs = frame[["source", "site"]].drop_duplicates().astype(str)
    return {(source, site) for source, site in pairs.itertuples(index=False) if site}


def mark_sites(rows: Lines, trained: set[tuple[str, str]] | None) -> None:
    """Set ``site_trained`` of lines of predictions.csv: 1 where the model saw other patients of the
    site in training, else 0; None where that, or the site, is not known (``trained`` is None)."""
    for row in rows:
        known = trained is not None and row["site"]
        row["site_trained"] = int((row["source"], row["site"]) in trained) if known else None


def add_sites(
    result: Mapping[str, dict[str, Any]], rows: Lines, cases: Lines, resamples: int, seed: int
) -> None:
    """Fill ``result[source]["sites"]``: site -> its main figures; None where no row names a site.

    Each entry has the form of the source's own, cut to what is read per site: ``n_images``,
    ``n_groups``, ``trained_on`` (whether its model saw patients of the site in training; None where
    folds differ, or nothing tells), ``classification``, ``segmentation`` and ``intervals``. Rows
    without a site are in none. Thresholds are those of the source. Arguments as of ``add_intervals``.
    """
    for source, values in result.items():
        by_site = _by_site([row for row in rows if row["source"] == source])
        values["sites"] = {
            site: _entry(
                own,
                [case for case in cases if case["source"] == source and case.get("site") == site],
                resamples,
                seed,
            )
            for site, own in by_site.items()
        } or None


def unseen_sites(result: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Per source that has some, the sites of which the model saw no patient in training.

    ``result`` is metrics.json, with or without what :func:`add_sites` fills.
    """
    found = {}
    for source, values in result.items():
        entries = (values.get("sites") or {}).items()
        if sites := [site for site, entry in entries if entry["trained_on"] is False]:
            found[source] = sites
    return found


def _by_site(rows: Lines) -> dict[str, Lines]:
    found: dict[str, Lines] = {}
    for row in rows:
        if row.get("site"):  # lines of before have none
            found.setdefault(row["site"], []).append(row)
    return dict(sorted(found.items()))


def _entry(rows: Lines, cases: Lines, resamples: int, seed: int) -> dict[str, Any]:
    values = source_metrics(rows, cases)
    called, masks = values["classification"], values["segmentation"]
    return {
        "n_images": len(rows),
        "n_groups": len({row["group"] for row in rows}),
        "trained_on": _trained_on([row.get("site_trained") for row in rows]),
        "classification": called and _cut(called, CLASSIFICATION) | {"counts": called["counts"]},
        "segmentation": masks and {"per_patient": _cut(masks["per_patient"], PER_PATIENT)},
        "intervals": main_intervals(rows, cases, resamples, seed),
    }


def _cut(values: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: values[key] for key in keys}


def _trained_on(flags: Sequence[int | None]) -> bool | None:
    return bool(flags[0]) if len(set(flags)) == 1 and flags[0] is not None else None
