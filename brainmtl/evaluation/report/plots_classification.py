"""The report's figures on one source's classification."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.evaluation.report.canvas import (
    BLUE,
    GREY,
    ORANGE,
    SQUARE,
    Drawn,
    Lines,
    axes,
    save,
    title,
    unit_square,
)
from brainmtl.evaluation.report.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HISTOGRAM_BINS = 20


def classification_figures(
    rows: Lines, values: Mapping[str, Any], name: str, folder: Path, source: str
) -> Drawn:
    """Draw what one source's lines of predictions.csv allow; (caption, path) each.

    ``values`` is the source's entry of metrics.json, ``name`` its display name. The curves are left
    out where only one class is present.
    """
    found = values["classification"]
    if found is None:
        return []
    labelled = [row for row in rows if row["cls"] >= 0]
    labels = np.array([row["cls"] for row in labelled])
    scores = np.array([row["calibrated"] for row in labelled])
    figures: list[tuple[str, str, Figure]] = []
    if found["roc_auc"] is not None:
        figures += [
            (
                "ROC curve; the circle is the threshold in use",
                "roc",
                draw_roc(labels, scores, found, name),
            ),
            (
                "Precision against sensitivity; the circle is the threshold in use",
                "pr",
                draw_precision_recall(labels, scores, found, name),
            ),
        ]
    figures += [
        (
            "Reliability: share with tumour per range of P, and how many images lie there",
            "reliability",
            draw_reliability(values["uncalibrated"], found, rows, name),
        ),
        (
            "Confusion matrix: counts, and shares of the reference class",
            "confusion",
            draw_confusion(found, name),
        ),
    ]
    return [
        (f"{name}: {caption}", save(figure, folder, kind, source))
        for caption, kind, figure in figures
    ]


def draw_roc(labels: np.ndarray, scores: np.ndarray, found: Mapping[str, Any], name: str) -> Figure:
    """ROC curve of (N,) labels and calibrated scores, with the calls in use as a circle."""
    from sklearn.metrics import roc_curve

    false_positive, true_positive, _ = roc_curve(labels, scores)
    figure, ax = unit_square(name)
    ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="chance")
    label = f"AUC {number(found['roc_auc'])} (n = {found['n_positive']} + {found['n_negative']})"
    ax.plot(false_positive, true_positive, color=BLUE, linewidth=1.8, label=label)
    _circle(ax, 1 - found["specificity"], found["sensitivity"], found)
    ax.set(xlabel="1 - specificity", ylabel="sensitivity")
    ax.legend(loc="lower right", fontsize=8)
    return figure


def draw_precision_recall(
    labels: np.ndarray, scores: np.ndarray, found: Mapping[str, Any], name: str
) -> Figure:
    """Precision-recall curve of (N,) labels and calibrated scores; dashed: the prevalence."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(labels, scores)
    figure, ax = unit_square(name)
    prevalence = found["prevalence"]
    label = f"prevalence {number(prevalence)}"
    ax.axhline(prevalence, color=GREY, linestyle="--", linewidth=1, label=label)
    ax.plot(
        recall,
        precision,
        color=BLUE,
        linewidth=1.8,
        drawstyle="steps-post",
        label=f"average precision {number(found['pr_auc'])}",
    )
    if found["precision"] is not None:
        _circle(ax, found["sensitivity"], found["precision"], found)
    ax.set(xlabel="sensitivity (recall)", ylabel="precision")
    ax.legend(loc="lower left", fontsize=8)
    return figure


def draw_reliability(
    before: Mapping[str, Any] | None, after: Mapping[str, Any], rows: Lines, name: str
) -> Figure:
    """Share with tumour against mean P per range, above a histogram of P over labelled ``rows``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=SQUARE, layout="constrained")
    ax, counts = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="perfect")
    series = [("after calibration", "calibrated", after, BLUE, "o-")]
    if before is not None:
        series.insert(0, ("before", "probability", before, ORANGE, "s--"))
    for label, _, values, colour, style in series:
        used = [part for part in values["reliability"] if part["n"]]
        ax.plot(
            [part["mean_probability"] for part in used],
            [part["observed"] for part in used],
            style,
            color=colour,
            markersize=4,
            linewidth=1.2,
            label=f"{label}, ECE {number(values['ece'])}",
        )
    counts.hist(
        [[row[key] for row in rows if row["cls"] >= 0] for _, key, *_ in series],
        bins=np.linspace(0, 1, HISTOGRAM_BINS + 1),
        color=[colour for *_, colour, _ in series],
    )
    ax.set(ylabel="share with tumour", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.legend(loc="upper left", fontsize=8)
    counts.set(xlabel="P(tumour)", ylabel="images")
    title(ax, name)
    return figure


def draw_confusion(found: Mapping[str, Any], name: str) -> Figure:
    """Counts per (reference, call), shaded by their share of the reference class."""
    counts = np.array(found["confusion_matrix"])
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    figure, ax = axes(name, SQUARE)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ax.axhline(0.5, color="0.7", linewidth=1)
    ax.axvline(0.5, color="0.7", linewidth=1)
    for (row, column), count in np.ndenumerate(counts):
        share = f"{shares[row, column]:.0%}" if totals[row, 0] else "no such image"
        colour = "white" if shares[row, column] > 0.55 else "black"
        style = {"ha": "center", "va": "center", "fontsize": 13, "color": colour}
        ax.text(column, row, f"{count}\n{share}", **style)
    ax.set_xticks([0, 1], ["no tumour", "tumour"])
    ax.set_yticks([0, 1], ["no tumour", "tumour"], rotation=90, va="center")
    ax.set(xlabel=f"called ({_rule(found)})", ylabel="reference")
    return figure


def _circle(ax: Axes, x: float, y: float, found: Mapping[str, Any]) -> None:
    style = {"markersize": 8, "markerfacecolor": "none", "markeredgecolor": ORANGE}
    ax.plot(x, y, marker="o", markeredgewidth=1.8, linestyle="none", label=_rule(found), **style)


def _rule(found: Mapping[str, Any]) -> str:
    if found["threshold"] is None:
        return "P ≥ threshold of the fold"
    return f"P ≥ {found['threshold']:.3g}"
