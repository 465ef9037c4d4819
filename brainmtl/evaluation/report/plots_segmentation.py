"""The report's figures on one source's masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.evaluation.report.canvas import (
    BLUE,
    GREY,
    ORANGE,
    Drawn,
    Lines,
    axes,
    save,
)
from brainmtl.evaluation.report.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.2  # inches
BOX_FROM = 5  # values; quartiles of fewer say nothing


def segmentation_figures(
    cases: Lines, values: Mapping[str, Any], name: str, folder: Path, source: str
) -> Drawn:
    """Dice of every patient and, where volumes in ml are known, Bland-Altman; (caption, path) each."""
    drawn = []
    dices = {
        label: sorted(patient_means((case["group"], case[key]) for case in cases).values())
        for label, key in (("all slices", "dice"), ("as served", "gated_dice"))
    }
    if any(dices.values()):
        figure = draw_strip(dices, name)
        caption = "Dice per patient, every patient a dot; box: quartiles, line: median"
        drawn.append((f"{name}: {caption}", save(figure, folder, "dice", source)))
    segmentation = values["segmentation"]
    agreement = segmentation and segmentation["per_patient"]["bland_altman"]
    if agreement:
        figure = draw_bland_altman(cases, agreement, name)
        caption = (
            "Tumour volume per patient, predicted minus reference, with bias and 95 % limits of "
            "agreement"
        )
        drawn.append((f"{name}: {caption}", save(figure, folder, "volume", source)))
    return drawn


def patient_means(values: Iterable[tuple[str, float | None]]) -> dict[str, float]:
    """Per patient the mean of the defined ones of (patient, value)."""
    by_patient: dict[str, list[float]] = {}
    for patient, value in values:
        if value is not None:
            by_patient.setdefault(patient, []).append(value)
    return {patient: float(np.mean(own)) for patient, own in by_patient.items()}


def draw_strip(series: Mapping[str, Sequence[float]], name: str) -> Figure:
    """Every patient a dot in [0, 1], one line per series, over a box of their quartiles."""
    shown = {label: values for label, values in series.items() if values}
    figure, ax = axes(name, (WIDTH, 1.1 + 0.85 * len(shown)))
    for line, values in enumerate(shown.values()):
        if len(values) >= BOX_FROM:
            _box(ax, values, line)
        # Neighbours in value alternate in height, so that dots do not hide each other.
        offset = np.array([(-0.14, 0.0, 0.14)[k % 3] for k in range(len(values))])
        ax.plot(values, line + offset, "o", color=BLUE, markersize=5, alpha=0.65, clip_on=False)
    labels = [f"{label}\nn = {len(values)}" for label, values in shown.items()]
    ax.set_yticks(range(len(shown)), labels)
    ax.set(xlim=(-0.02, 1.02), ylim=(len(shown) - 0.5, -0.5), xlabel="Dice")
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)
    return figure


def _box(ax: Axes, values: Sequence[float], line: int) -> None:
    """Quartiles as a box with the median, the whole range as a line through its middle."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    ax.plot([values[0], values[-1]], [line, line], color=GREY, linewidth=1)
    ax.barh(line, high - low, 0.5, low, color="white", edgecolor=GREY)
    ax.plot([middle, middle], [line - 0.25, line + 0.25], color=ORANGE, linewidth=1.8)


def draw_bland_altman(cases: Lines, agreement: Mapping[str, Any], name: str) -> Figure:
    """Difference against mean of predicted and reference volume in ml (Bland and Altman 1986)."""
    figure, ax = axes(name, (WIDTH, WIDTH / 2))
    measured = [case for case in cases if case["volume_error_ml"] is not None]
    error = patient_means((case["group"], case["volume_error_ml"]) for case in measured)
    mean = patient_means(
        (case["group"], (case["predicted_ml"] + case["reference_ml"]) / 2) for case in measured
    )
    ax.axhline(0, color="0.85", linewidth=1)
    points = [mean[patient] for patient in error], list(error.values())
    ax.plot(*points, "o", color=BLUE, markersize=5, alpha=0.65)
    for key, label, style in (
        ("upper", "upper limit", ":"),
        ("bias", "bias", "-"),
        ("lower", "lower limit", ":"),
    ):
        value = agreement[key]
        if value is not None:
            text = f"{label} {number(value, 1)} ml"
            ax.axhline(value, color=ORANGE, linestyle=style, linewidth=1.4, label=text)
    ax.set(
        xlabel="mean of predicted and reference volume (ml)", ylabel="predicted - reference (ml)"
    )
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)
    return figure
