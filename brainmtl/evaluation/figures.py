"""ROC curve and confusion matrix of one source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brainmtl.files import atomic_path

SIZE = (4.2, 4.2)
BLUE = "#1f5fa8"


def classification_figures(
    rows: Sequence[dict[str, Any]], values: dict[str, Any], name: str, folder: Path, source: str
) -> list[tuple[str, Path]]:
    """Draw what can be drawn from one source's lines of predictions.csv; (caption, path) each.

    ``values`` is the source's entry of metrics.json, ``name`` its display name. The ROC curve is
    left out where only one class is present.
    """
    found = values["classification"]
    pictures = []
    if found["roc_auc"] is not None:
        labelled = [row for row in rows if row["cls"] >= 0]
        labels = np.array([row["cls"] for row in labelled])
        scores = np.array([row["probability"] for row in labelled])
        path = folder / f"roc_{source}.png"
        draw_roc(labels, scores, found, name, path)
        pictures.append((f"{name}: ROC curve, the circle is the threshold in use", path))
    path = folder / f"confusion_{source}.png"
    draw_confusion(found, name, path)
    pictures.append((f"{name}: confusion matrix, counts and shares of the reference class", path))
    return pictures


def draw_roc(
    labels: np.ndarray, scores: np.ndarray, found: dict[str, Any], name: str, path: Path
) -> None:
    """ROC curve of (N,) labels and scores, with the operating point of ``found["threshold"]``."""
    from matplotlib.figure import Figure
    from sklearn.metrics import roc_curve

    false_positive, true_positive, _ = roc_curve(labels, scores)
    figure = Figure(figsize=SIZE, layout="constrained")
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], color="0.7", linestyle="--", linewidth=1, label="chance")
    ax.plot(
        false_positive,
        true_positive,
        color=BLUE,
        linewidth=1.8,
        label=f"AUC {found['roc_auc']:.3f} (n = {found['n_positive']} + {found['n_negative']})",
    )
    ax.plot(
        1 - found["specificity"],
        found["sensitivity"],
        marker="o",
        markersize=8,
        markerfacecolor="none",
        markeredgecolor=BLUE,
        linestyle="none",
        label=f"P >= {found['threshold']:g}",
    )
    ax.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.set_aspect("equal")
    ax.set_title(name, fontsize=10, fontweight="bold")
    ax.legend(loc="lower right", fontsize=8)
    _save(figure, path)


def draw_confusion(found: dict[str, Any], name: str, path: Path) -> None:
    """Counts per (reference, call), shaded by their share of the reference class."""
    from matplotlib.figure import Figure

    counts = np.array(found["confusion_matrix"])
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    figure = Figure(figsize=SIZE, layout="constrained")
    ax = figure.subplots()
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ax.axhline(0.5, color="0.7", linewidth=1)
    ax.axvline(0.5, color="0.7", linewidth=1)
    for (row, column), count in np.ndenumerate(counts):
        share = f"{shares[row, column]:.0%}" if totals[row, 0] else "no such image"
        ax.text(
            column,
            row,
            f"{count}\n{share}",
            ha="center",
            va="center",
            fontsize=13,
            color="white" if shares[row, column] > 0.55 else "black",
        )
    ax.set_xticks([0, 1], ["no tumour", "tumour"])
    ax.set_yticks([0, 1], ["no tumour", "tumour"], rotation=90, va="center")
    ax.set(xlabel=f"called (P >= {found['threshold']:g})", ylabel="reference")
    ax.set_title(name, fontsize=10, fontweight="bold")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
