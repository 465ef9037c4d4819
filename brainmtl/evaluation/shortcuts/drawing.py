"""Figures of the section: the model beside trivial baselines, and the exchange of surroundings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.evaluation.shortcuts.baselines import BASELINES
from brainmtl.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = Mapping[str, Any]
Names = Mapping[str, str]

COLOURS = {
    "model": "#1f5fa8",
    "metadata": "#8c6bb1",
    "border": "#4daf8c",
    "intensity": "#d9a441",
    "neighbour": "#9aa0a8",
}
LABELS = {"model": "the model", **BASELINES}


def section_figures(section: Values, display_names: Names, folder: Path) -> list[tuple[str, Path]]:
    """Draw into ``folder``; returns (caption, path) for each figure that there is data for."""
    pictures = []
    sources = {
        source: values
        for source, values in section["baselines"]["sources"].items()
        if values["model"]["balanced_accuracy"] is not None
    }
    if sources:
        path = folder / "shortcut_baselines.png"
        draw_baselines(sources, display_names, path)
        caption = (
            "Balanced accuracy of the model and of trivial baselines within each source, with 95 % "
            "intervals over groups; the dashed line is chance"
        )
        pictures.append((caption, path))
    swaps = section["background"]["swaps"]
    if any(own["n"] for line in swaps.values() for own in line.values()):
        path = folder / "shortcut_swaps.png"
        draw_swaps(swaps, display_names, path)
        caption = (
            "Mean absolute change of P(tumour), and flipped calls, when the brain of one source is "
            "put into the surroundings of another; the diagonal is the control"
        )
        pictures.append((caption, path))
    return pictures


def draw_baselines(sources: Mapping[str, Values], display_names: Names, path: Path) -> None:
    """Grouped bars per source: entries of ``summarise_baselines(...)["sources"]``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(5.0, 1.6 + 1.9 * len(sources)), 4.2), layout="constrained")
    ax = figure.subplots()
    width = 0.8 / len(LABELS)
    for k, key in enumerate(LABELS):
        places = np.arange(len(sources)) + (k - (len(LABELS) - 1) / 2) * width
        values = [v["model"] if key == "model" else v["baselines"][key] for v in sources.values()]
        _bars(ax, places, values, width, key)
    ax.axhline(0.5, color="0.3", linestyle="--", linewidth=1)
    names = [_title(display_names.get(source, source)) for source in sources]
    turned = {"rotation": 20, "ha": "right"} if max(map(len, names)) > 20 else {}
    ax.set_xticks(range(len(sources)), names, **turned)
    ax.set(ylabel="balanced accuracy", ylim=(0, 1.02))
    ax.set_title("The model and trivial baselines", fontsize=10)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    _save(figure, path)


def _bars(ax: Axes, places: np.ndarray, values: list[Values], width: float, key: str) -> None:
    heights = [value["balanced_accuracy"] or 0.0 for value in values]
    ax.bar(places, heights, 0.92 * width, color=COLOURS[key], label=LABELS[key])
    for place, value in zip(places, values, strict=True):
        found = value["interval"]
        if value["balanced_accuracy"] is None:
            ax.text(place, 0.02, "n/d", rotation=90, ha="center", va="bottom", fontsize=8)
        elif found["low"] is not None:
            ax.plot([place, place], [found["low"], found["high"]], color="black", linewidth=1)


def draw_swaps(swaps: Mapping[str, Values], display_names: Names, path: Path) -> None:
    """The table of swaps, cells shaded by the mean absolute change of P."""
    from matplotlib.figure import Figure

    names = [_title(display_names.get(source, source)) for source in swaps]
    cells = [[swaps[brain][donor] for donor in swaps] for brain in swaps]
    change = np.array([[own["mean_absolute_change"] if own["n"] else np.nan for own in line] for line in cells])  # fmt: skip
    side = max(4.2, 1.6 + 1.2 * len(names))
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    ax = figure.subplots()
    image = ax.imshow(change, cmap="Blues", vmin=0, vmax=max(0.2, float(np.nanmax(change))))
    figure.colorbar(image, ax=ax, shrink=0.8, label="mean |change of P(tumour)|")
    for (row, column), value in np.ndenumerate(change):
        own = cells[row][column]
        text = "n/d" if np.isnan(value) else f"{value:.2f}\n{own['flips']['counts'][0]}/{own['n']}"
        dark = not np.isnan(value) and value > 0.6 * image.get_clim()[1]
        ax.text(column, row, text, ha="center", va="center", color="white" if dark else "black")
    ax.set_xticks(range(len(names)), names, rotation=20, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="surroundings of", ylabel="brain of")
    ax.set_title("Exchanged surroundings", fontsize=10)
    _save(figure, path)


def _title(text: str) -> str:
    return text.replace("$", r"\$")  # a dollar sign would start a formula


def _save(figure: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
