"""``compare(runs)``: figures on the common cases, paired tests, table, plot and report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from brainmtl.errors import check_count
from brainmtl.evaluation.comparison.arms import Arm, entries, load_arms
from brainmtl.evaluation.comparison.figures import Options
from brainmtl.evaluation.comparison.folders import Evaluation
from brainmtl.evaluation.comparison.noninferiority import Margins, check_margins
from brainmtl.evaluation.comparison.pairing import SharedCases, shared_cases
from brainmtl.evaluation.comparison.plot import draw_tradeoff
from brainmtl.evaluation.comparison.report import comparison_report
from brainmtl.evaluation.comparison.seeds import seed_warnings
from brainmtl.evaluation.comparison.sentences import conclusions, nothing_shown
from brainmtl.evaluation.comparison.values import figure_values, paired_tests
from brainmtl.evaluation.statistics.bootstrap import RESAMPLES
from brainmtl.evaluation.statistics.paired import holm
from brainmtl.files import write_json, write_text


def compare(
    runs: Sequence[str | Path | Sequence[str | Path]],
    split: str = "test",
    out_dir: str | Path | None = None,
    *,
    margins: Mapping[str, float | None] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare evaluations on the cases that all of them share, each source by itself.

    Within an entry of ``runs`` every stage is compared with the one that it started from; across
    entries the last stage of each with the last one of the first.

    Args:
        runs: folders of runs, stages or evaluations, one per entry; an inner list holds the runs of
            one recipe with different seeds, whose figures are averaged. See
            :func:`brainmtl.evaluation.comparison.arms.load_arms`.
        split: which evaluation of a run or stage.
        out_dir: default ``comparison_<split>`` in the first folder.
        margins: non-inferiority margin in (0, 1) by figure (dice, balanced_accuracy, roc_auc), chosen
            before looking, see :func:`brainmtl.evaluation.comparison.noninferiority.judge`.
        resamples, seed: of every bootstrap.

    Returns:
        ``{"comparison": comparison.json, "out_dir": Path}``; docs/comparison.md has the fields.

    Raises:
        ConfigError, DataError: as entries, load_arms and check_margins; no common source; references
            that differ.
    """
    check_count("resamples", resamples, 100)
    check_count("seed", seed, 0)
    margins = check_margins(margins)
    named = entries(runs)
    found = _compared(load_arms(named, split), margins, {"resamples": resamples, "seed": seed})
    out_dir = Path(out_dir) if out_dir else Path(named[0][0]) / f"comparison_{found['split']}"
    write_json(out_dir / "comparison.json", found)
    drawn = draw_tradeoff(found, out_dir / "tradeoff.png")
    write_text(out_dir / "comparison.md", comparison_report(found, drawn))
    return {"comparison": found, "out_dir": out_dir}


def _compared(
    recipes: Sequence[Sequence[Arm]], margins: Margins, options: Options
) -> dict[str, Any]:
    """comparison.json: every source by itself, then what holds over all of them."""
    arms = [arm for recipe in recipes for arm in recipe]
    evaluations = [evaluation for arm in arms for evaluation in arm.seeds]
    shared, warnings = shared_cases(arms)
    warnings += _data_warnings(evaluations) + seed_warnings(recipes)
    pairs = _pairs(recipes)
    sources = {
        source: {
            "display_name": evaluations[0].run["display_names"][source],
            **_source(cases, arms, pairs, margins, options),
        }
        for source, cases in shared.items()
    }
    n_tests = _adjust(sources.values())
    warnings += nothing_shown(sources, n_tests)
    return {
        "split": evaluations[0].run["split"],
        **options,
        "margins": margins,
        "evaluations": [_provenance(arm) for arm in arms],
        "sources": sources,
        "n_tests": n_tests,
        "conclusions": conclusions(sources, margins, n_tests),
        "warnings": warnings,
        "remarks": _remarks(arms),
    }


def _pairs(recipes: Sequence[Sequence[Arm]]) -> list[tuple[int, int]]:
    """(baseline, evaluation) places in the flattened recipes."""
    pairs, ends, start = [], [], 0
    for recipe in recipes:
        places = range(start, start + len(recipe))
        pairs += list(pairwise(places))
        ends.append(places[-1])
        start += len(recipe)
    return pairs + [(ends[0], end) for end in ends[1:]]


def _source(
    cases: SharedCases,
    arms: Sequence[Arm],
    pairs: Sequence[tuple[int, int]],
    margins: Margins,
    options: Options,
) -> dict[str, Any]:
    """Counts, figures and paired tests of one source."""
    values = figure_values(cases, arms, options)
    return {
        "counts": cases.counts,
        "n_patients_with_tumour": cases.n_patients,
        "n_labelled_images": len(cases.labels),
        "n_groups": cases.n_groups,
        "figures": values,
        "comparisons": paired_tests(cases, arms, pairs, values, margins, options),
    }


def _adjust(sources: Iterable[dict[str, Any]]) -> int:
    """Add ``p_holm`` over all tests of all sources; returns their number."""
    tests = [test for values in sources for test in values["comparisons"]]
    for test, adjusted in zip(tests, holm([test["p"] for test in tests]), strict=True):
        test["p_holm"] = adjusted
    return sum(test["p"] is not None for test in tests)


def _provenance(arm: Arm) -> dict[str, Any]:
    keys = ("stage", "checkpoint", "checkpoint_sha256", "manifest_sha256", "folds")
    runs = [{"folder": str(e.folder), **{key: e.run.get(key) for key in keys}} for e in arm.seeds]
    return {"name": arm.name, "runs": runs}


def _data_warnings(evaluations: Sequence[Evaluation]) -> list[str]:
    if len({evaluation.run["manifest_sha256"] for evaluation in evaluations}) == 1:
        return []
    return [
        "The evaluations were made on different states of the data (their manifests differ): cases "
        "are paired by name, and only labels, groups and sizes of the references were checked."
    ]


def _remarks(arms: Sequence[Arm]) -> list[str]:
    """Remarks of the evaluations, each once, with the names where not all have it."""
    remarks: dict[str, list[str]] = {}
    for arm in arms:
        for remark in dict.fromkeys(r for e in arm.seeds for r in e.run["remarks"]):
            having = [e.name for e in arm.seeds if remark in e.run["remarks"]]
            names = [arm.name] if len(having) == len(arm.seeds) else having
            remarks.setdefault(remark, []).extend(names)
    everybody = [arm.name for arm in arms]
    return [
        remark if names == everybody else f"{', '.join(names)}: {remark}"
        for remark, names in remarks.items()
    ]
