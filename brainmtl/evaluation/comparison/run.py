"""``compare(runs)``: figures on the common cases, paired tests, table, plot and report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from brainmtl.errors import ConfigError
from brainmtl.evaluation.comparison.figures import (
    FIGURES,
    Options,
    figure_interval,
    measured,
    paired_test,
    same_predictions,
)
from brainmtl.evaluation.comparison.folders import PARTS, Evaluation, load_chains
from brainmtl.evaluation.comparison.pairing import SharedCases, shared_cases
from brainmtl.evaluation.comparison.plot import draw_tradeoff
from brainmtl.evaluation.comparison.report import comparison_report
from brainmtl.evaluation.comparison.sentences import conclusions, nothing_shown
from brainmtl.evaluation.statistics.bootstrap import RESAMPLES
from brainmtl.evaluation.statistics.paired import holm
from brainmtl.files import write_json, write_text


def compare(
    runs: Sequence[str | Path],
    split: str = "test",
    out_dir: str | Path | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare evaluations on the cases that all of them share, each source by itself.

    Within an entry of ``runs`` every stage is compared with the one that it started from; across
    entries the last stage of each with the last one of the first.

    Args:
        runs: folders of runs, stages or evaluations, see
            :func:`brainmtl.evaluation.comparison.folders.load_chains`.
        split: which evaluation of a run or stage.
        out_dir: default ``comparison_<split>`` in the first folder.
        resamples, seed: of every bootstrap.

    Returns:
        ``{"comparison": comparison.json, "out_dir": Path}``; docs/comparison.md has the fields.

    Raises:
        ConfigError, DataError: as load_chains; no common source; references that differ.
    """
    if resamples < 100:
        raise ConfigError(f"resamples={resamples} must be at least 100: the default is {RESAMPLES}")
    found = _compared(load_chains(runs, split), {"resamples": resamples, "seed": seed})
    out_dir = Path(out_dir) if out_dir else Path(runs[0]) / f"comparison_{found['split']}"
    write_json(out_dir / "comparison.json", found)
    drawn = draw_tradeoff(found, out_dir / "tradeoff.png")
    write_text(out_dir / "comparison.md", comparison_report(found, drawn))
    return {"comparison": found, "out_dir": out_dir}


def _compared(chains: Sequence[Sequence[Evaluation]], options: Options) -> dict[str, Any]:
    """comparison.json: every source by itself, then what holds over all of them."""
    evaluations = [evaluation for chain in chains for evaluation in chain]
    shared, warnings = shared_cases(evaluations)
    warnings += _data_warnings(evaluations)
    pairs = _pairs(chains)
    sources = {
        source: {
            "display_name": evaluations[0].run["display_names"][source],
            **_source(cases, evaluations, pairs, options),
        }
        for source, cases in shared.items()
    }
    n_tests = _adjust(sources.values())
    warnings += nothing_shown(sources, n_tests)
    return {
        "split": evaluations[0].run["split"],
        **options,
        "evaluations": [_provenance(evaluation) for evaluation in evaluations],
        "sources": sources,
        "n_tests": n_tests,
        "conclusions": conclusions(sources, n_tests),
        "warnings": warnings,
        "remarks": _remarks(evaluations),
    }


def _pairs(chains: Sequence[Sequence[Evaluation]]) -> list[tuple[int, int]]:
    """(baseline, evaluation) places in the flattened chains."""
    pairs, ends, start = [], [], 0
    for chain in chains:
        places = range(start, start + len(chain))
        pairs += list(pairwise(places))
        ends.append(places[-1])
        start += len(chain)
    return pairs + [(ends[0], end) for end in ends[1:]]


def _source(
    cases: SharedCases,
    evaluations: Sequence[Evaluation],
    pairs: Sequence[tuple[int, int]],
    options: Options,
) -> dict[str, Any]:
    """Counts, figures and paired tests of one source."""
    values = _values(cases, evaluations, options)
    return {
        "counts": cases.counts,
        "n_patients_with_tumour": cases.dice.shape[1],
        "n_labelled_images": len(cases.labels),
        "n_groups": cases.n_groups,
        "figures": values,
        "comparisons": _tests(cases, evaluations, pairs, values, options),
    }


def _values(
    cases: SharedCases, evaluations: Sequence[Evaluation], options: Options
) -> dict[str, list[dict[str, Any]]]:
    return {
        figure: [
            {
                "evaluation": evaluation.name,
                "value": (found := figure_interval(cases, k, figure, options)).estimate,
                "interval": found.to_dict(),
                "untrained": evaluation.untrained(figure),
            }
            for k, evaluation in enumerate(evaluations)
        ]
        for figure in FIGURES
        if measured(cases, figure)
    }


def _tests(
    cases: SharedCases,
    evaluations: Sequence[Evaluation],
    pairs: Iterable[tuple[int, int]],
    values: dict[str, list[dict[str, Any]]],
    options: Options,
) -> list[dict[str, Any]]:
    """One entry per pair and figure; ``change`` is the difference of the values."""
    found = []
    for first, second in pairs:
        for figure, entries in values.items():
            before, after = entries[first]["value"], entries[second]["value"]
            test = asdict(paired_test(cases, first, second, figure, options))
            reason = _no_test(cases, evaluations, first, second, figure)
            if reason is not None:
                test |= {"low": None, "high": None, "p": None, "note": reason}
            found.append(
                {
                    "figure": figure,
                    "baseline": evaluations[first].name,
                    "evaluation": evaluations[second].name,
                    "change": None if before is None or after is None else after - before,
                    **test,
                }
            )
    return found


def _no_test(
    cases: SharedCases, evaluations: Sequence[Evaluation], first: int, second: int, figure: str
) -> str | None:
    """Why the question is none: random weights on one side, or the same predictions on both."""
    for k in (first, second):
        if evaluations[k].untrained(figure):
            return (
                f"the {PARTS[figure]} was not trained up to {evaluations[k].name}: a change against "
                "random weights, not tested"
            )
    if same_predictions(cases, first, second, figure):
        names = f"{evaluations[second].name} and {evaluations[first].name}"
        return f"{names} predict the same throughout: nothing to test"
    return None


def _adjust(sources: Iterable[dict[str, Any]]) -> int:
    """Add ``p_holm`` over all tests of all sources; returns their number."""
    tests = [test for values in sources for test in values["comparisons"]]
    for test, adjusted in zip(tests, holm([test["p"] for test in tests]), strict=True):
        test["p_holm"] = adjusted
    return sum(test["p"] is not None for test in tests)


def _provenance(evaluation: Evaluation) -> dict[str, Any]:
    keys = ("stage", "checkpoint", "checkpoint_sha256", "manifest_sha256", "folds")
    return {
        "name": evaluation.name,
        "folder": str(evaluation.folder),
        **{key: evaluation.run.get(key) for key in keys},
    }


def _data_warnings(evaluations: Sequence[Evaluation]) -> list[str]:
    if len({evaluation.run["manifest_sha256"] for evaluation in evaluations}) == 1:
        return []
    return [
        "The evaluations were made on different states of the data (their manifests differ): cases "
        "are paired by name, and only labels, groups and sizes of the references were checked."
    ]


def _remarks(evaluations: Sequence[Evaluation]) -> list[str]:
    """Remarks of the evaluations, each once, with the names where not all have it."""
    remarks: dict[str, list[str]] = {}
    for evaluation in evaluations:
        for remark in evaluation.run["remarks"]:
            remarks.setdefault(remark, []).append(evaluation.name)
    return [
        remark if len(names) == len(evaluations) else f"{', '.join(names)}: {remark}"
        for remark, names in remarks.items()
    ]
