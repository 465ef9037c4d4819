"""How far the figures of a model fall as its images get worse, each source by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.evaluation import metrics
from brainmtl.evaluation.robustness.corruptions import CORRUPTIONS, LEVELS
from brainmtl.evaluation.robustness.metamorphic import CHECKS, summary
from brainmtl.evaluation.robustness.observe import CLEAN, Predictor, observe
from brainmtl.evaluation.robustness.subset import choose_images

if TYPE_CHECKING:
    import pandas as pd

    from brainmtl.models.multitask import MultiTaskModel


def robustness(
    model: MultiTaskModel,
    data_dir: str | Path,
    frame: pd.DataFrame,
    *,
    temperature: float,
    threshold: float,
    seg_threshold: float,
    limit: int = 60,
    seed: int = 0,
    batch_size: int = 16,
    device: str = "cpu",
    precision: str = "32",
    progress: bool = True,
) -> dict[str, Any]:
    """Corruption curves and metamorphic checks on some images of each source of ``frame``.

    Each image is predicted in one pass, without test-time augmentation, and its mask is not cleaned:
    the network itself is tested, so the clean Dice may differ a little from that of the report.

    Args:
        data_dir, frame: a prepared folder, and the rows of its manifest to draw from.
        temperature, threshold, seg_threshold: see :class:`Predictor`.
        limit: images per source, see :func:`choose_images`; each is seen 50 times.
        seed: of the draw, and of noise, bias fields, directions and shifts.

    Returns:
        ``{"settings", "corruptions": {name: {title, unit, parameters}}, "checks": {name: title},
        "sources": {source: {synthetic, n_images, n_groups, clean, corruptions, metamorphic}},
        "lines"}`` in plain JSON values. ``clean`` is what :func:`level_figures` returns, ``corruptions[name]`` a
        list of five of them (levels 1 to 5), ``metamorphic[check]`` what
        :func:`~brainmtl.evaluation.robustness.metamorphic.summary` returns; ``lines`` are those of
        :func:`observe`, from which the rest can be made again over folds.

    Raises:
        ConfigError: an empty frame, or an option that cannot work.
        DataError: an unreadable sample, or a network output that is not finite.
    """
    chosen = choose_images(frame, limit, seed)
    predictor = Predictor(model, temperature, threshold, seg_threshold, device, precision)
    lines = observe(
        predictor, data_dir, chosen, seed=seed, batch_size=batch_size, progress=progress
    )
    settings = {
        "limit": int(limit),
        "seed": int(seed),
        "temperature": float(temperature),
        "threshold": float(threshold),
        "seg_threshold": float(seg_threshold),
    }
    return robustness_section(lines, settings) | {"lines": lines}


def robustness_section(
    lines: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """What :func:`robustness` returns beside the lines of :func:`observe`, from these.

    The lines may be those of several models, one per fold, each on images that it was not trained
    on: every line carries the call that its own model made.
    """
    return {
        "settings": dict(settings),
        "corruptions": {
            name: {
                "title": corruption.title,
                "unit": corruption.unit,
                "parameters": [float(value) for value in corruption.parameters],
            }
            for name, corruption in CORRUPTIONS.items()
        },
        "checks": {name: title for name, (title, _) in CHECKS.items()},
        "sources": _per_source(lines),
    }


def _per_source(lines: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    cells: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for line in lines:
        cells.setdefault((line["source"], line["condition"], line["level"]), []).append(line)
    result = {}
    for source in sorted({source for source, _, _ in cells}):
        clean = cells[source, CLEAN, 0]
        result[source] = {
            "synthetic": bool(clean[0]["synthetic"]),
            "n_images": len(clean),
            "n_groups": len({line["group"] for line in clean}),
            "clean": level_figures(clean),
            "corruptions": {
                name: [level_figures(cells[source, name, k + 1]) for k in range(LEVELS)]
                for name in CORRUPTIONS
            },
            "metamorphic": {name: summary(cells[source, name, 0]) for name in CHECKS},
        }
    return result


def level_figures(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Figures of one source under one condition from the lines of :func:`observe`.

    Returns:
        ``n``, ``dice`` (mean per slice with tumour) over ``n_dice`` slices, and over ``n_labelled``
        images ``balanced_accuracy, roc_auc, sensitivity, specificity``; over all
        ``probability_change`` (mean |dP| against clean) and ``flipped`` (calls that differ from
        clean). The shares ``sensitivity, specificity, flipped`` are ``{rate, counts}``; what is not
        defined is None.
    """
    dices = metrics.mean_sd([line["dice"] for line in lines])
    labelled = [line for line in lines if line["cls"] >= 0]
    labels, calls, scores = (
        np.array([line[key] for line in labelled]) for key in ("cls", "call", "calibrated")
    )
    tn, fp, fn, tp = metrics.confusion(labels, calls)
    sensitivity, specificity = metrics.ratio(tp, tp + fn), metrics.ratio(tn, tn + fp)
    both = sensitivity is not None and specificity is not None
    flipped = sum(bool(line["flipped"]) for line in lines)
    return {
        "n": len(lines),
        "dice": dices["mean"],
        "n_dice": dices["n"],
        "n_labelled": len(labelled),
        "balanced_accuracy": (sensitivity + specificity) / 2 if both else None,
        "roc_auc": metrics.roc_auc(labels, scores),
        "sensitivity": {"rate": sensitivity, "counts": [tp, tp + fn]},
        "specificity": {"rate": specificity, "counts": [tn, tn + fp]},
        "probability_change": float(np.mean([line["change"] for line in lines])),
        "flipped": {"rate": metrics.ratio(flipped, len(lines)), "counts": [flipped, len(lines)]},
    }
