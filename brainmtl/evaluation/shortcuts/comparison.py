"""The model against the baselines on the same images, with intervals over groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brainmtl.data.manifest import display_name
from brainmtl.evaluation.metrics import confusion, ratio, roc_auc
from brainmtl.evaluation.shortcuts.baselines import BASELINES
from brainmtl.evaluation.statistics import weighted
from brainmtl.evaluation.statistics.bootstrap import bootstrap_interval

NO_LINES = "no training images of both classes in this source, or no labelled test image"
ONE_CLASS = "the test images of this source have one label only"
Lines = Sequence[Mapping[str, Any]]


def summarise_baselines(lines: Lines, rows: Lines) -> dict[str, Any]:
    """Balanced accuracy and ROC-AUC of each baseline beside the model's on the same images.

    Args:
        lines: of :func:`.baselines.baseline_lines`, of one split or of all folds together.
        rows: lines of predictions.csv that hold these images.

    Returns:
        ``sources``: per source ``n``, ``n_tumour``, ``n_no_tumour``, ``n_groups``, ``model`` and,
        in ``baselines``, per name the figures, the paired ``difference`` (model - baseline, in
        balanced accuracy) with its cluster-bootstrap ``difference_interval`` over groups, and
        ``beaten``: the interval lies above 0 (None without an interval). What is not defined is
        None with a ``reason``. ``sentences`` for the head of a report, divided into ``alerts``
        and, for sources where every baseline is beaten, ``findings``.
    """
    sources = {
        source: _source(
            [line for line in lines if line["source"] == source],
            [row for row in rows if row["source"] == source and row["cls"] >= 0],
        )
        for source in sorted({row["source"] for row in rows})
    }
    synthetic = {row["source"]: bool(row["synthetic"]) for row in rows}
    said = {
        source: _sentences(display_name(source, synthetic[source]), values["baselines"])
        for source, values in sources.items()
    }
    return {
        "sources": sources,
        "sentences": [sentence for own in said.values() for sentence in own],
        "alerts": [
            s for source, own in said.items() if not _all_beaten(sources[source]) for s in own
        ],
        "findings": [
            s for source, own in said.items() if _all_beaten(sources[source]) for s in own
        ],
    }


def _all_beaten(values: Mapping[str, Any]) -> bool:
    compared = [v for v in values["baselines"].values() if v["balanced_accuracy"] is not None]
    return bool(compared) and all(v["beaten"] for v in compared)


def _source(lines: Lines, rows: Lines) -> dict[str, Any]:
    labels = np.array([row["cls"] for row in rows], dtype=int)
    model = {row["image_id"]: row for row in rows}
    own = [
        {"cls": r["cls"], "call": r["call"], "score": r["calibrated"], "group": r["group"]}
        for r in rows
    ]
    return {
        "n": len(rows),
        "n_tumour": int((labels == 1).sum()),
        "n_no_tumour": int((labels == 0).sum()),
        "n_groups": len({row["group"] for row in rows}),
        "model": _figures(own),
        "baselines": {
            name: _against([line for line in lines if line["baseline"] == name], model)
            for name in BASELINES
        },
    }


def _against(lines: Lines, model: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    paired = [
        dict(line) | {"group": model[line["image_id"]]["group"]}
        for line in lines
        if line["image_id"] in model
    ]
    said = [
        line
        | {
            "call": model[line["image_id"]]["call"],
            "score": model[line["image_id"]]["calibrated"],
        }
        for line in paired
    ]
    found, own = _figures(paired), _figures(said)
    values = found | {
        "model_balanced_accuracy": own["balanced_accuracy"],
        "model_roc_auc": own["roc_auc"],
        "difference": None,
        "difference_interval": None,
        "beaten": None,
    }
    if found["balanced_accuracy"] is None:
        return values | {"reason": ONE_CLASS if paired else NO_LINES}
    interval = cluster_interval(said, paired)
    low = interval["low"]
    return values | {
        "difference": own["balanced_accuracy"] - found["balanced_accuracy"],
        "difference_interval": interval,
        "beaten": None if low is None else low > 0,
    }


def _figures(lines: Lines) -> dict[str, Any]:
    labels, calls = (np.array([line[key] for line in lines], dtype=int) for key in ("cls", "call"))
    tn, fp, fn, tp = confusion(labels, calls)
    sensitivity, specificity = ratio(tp, tp + fn), ratio(tn, tn + fp)
    both = sensitivity is not None and specificity is not None
    return {
        "balanced_accuracy": (sensitivity + specificity) / 2 if both else None,
        "interval": cluster_interval(lines) if both else None,
        "roc_auc": roc_auc(labels, np.array([line["score"] for line in lines])) if both else None,
        "n": len(lines),
        "counts": {"sensitivity": [tp, tp + fn], "specificity": [tn, tn + fp]},
    }


def cluster_interval(lines: Lines, baseline: Lines | None = None) -> dict[str, Any]:
    """95 % interval over groups of the balanced accuracy of ``lines``.

    With ``baseline`` (the same images in the same order) of ``lines`` minus ``baseline``.
    """
    groups, index = np.unique([str(line["group"]) for line in lines], return_inverse=True)

    def statistic(part: Lines) -> Any:
        indicators = weighted.confusion_counts(
            np.array([line["cls"] for line in part]), np.array([line["call"] for line in part])
        )
        counts = weighted.group_sums(indicators, index, len(groups))
        return weighted.of_confusion(weighted.balanced_accuracy, counts)

    wanted = statistic(lines)
    if baseline is not None:
        wanted = weighted.difference(statistic(baseline), wanted)
    return bootstrap_interval(wanted, len(groups)).to_dict()


def _sentences(name: str, baselines: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One sentence per baseline that the model does not beat, or one that it beats them all.

    A lead that may be chance is told apart from no lead at all.
    """
    compared = {key: v for key, v in baselines.items() if v["balanced_accuracy"] is not None}
    if not compared:
        own = {values["reason"] for values in baselines.values()} - {NO_LINES}
        reason = "; ".join(sorted(own)) or NO_LINES
        return [f"On {name} the model cannot be compared with trivial baselines: {reason}."]
    sentences = [
        f"On {name} the model {'is not shown to' if values['difference'] > 0 else 'does not'} beat "
        f"{BASELINES[key]} {_numbers(values)}."
        for key, values in compared.items()
        if values["beaten"] is False
    ]
    unsure = [key for key, values in compared.items() if values["beaten"] is None]
    if unsure:
        listed = ", ".join(BASELINES[key] for key in unsure)
        sentences.append(
            f"On {name} there are too few groups to say whether the model beats {listed}."
        )
    if not sentences:
        key, best = max(compared.items(), key=lambda item: item[1]["balanced_accuracy"])
        sentences.append(
            f"On {name} the model beats every trivial baseline; the strongest is {BASELINES[key]} "
            f"{_numbers(best)}."
        )
    return sentences


def _numbers(values: Mapping[str, Any]) -> str:
    interval = values["difference_interval"]
    return (
        f"(balanced accuracy {values['model_balanced_accuracy']:.2f} against "
        f"{values['balanced_accuracy']:.2f}; difference {values['difference']:+.2f}, 95 % interval "
        f"{interval['low']:+.2f} to {interval['high']:+.2f}, {values['n']} images)"
    )
