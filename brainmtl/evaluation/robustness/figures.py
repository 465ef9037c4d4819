"""Corruption curves of one source: a panel per corruption, Dice and balanced accuracy over levels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmtl.evaluation.report.canvas import BLUE, ORANGE, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
WIDTH_INCHES, PANEL_HEIGHT_INCHES = 7.5, 2.15  # 900 pixels at 120 dpi
# Key of the figures, name for people, colour and marker: told apart without colour as well.
CURVES = (
    ("dice", "Dice per slice with tumour", BLUE, "o"),
    ("balanced_accuracy", "Balanced accuracy", ORANGE, "s"),
)


def robustness_figures(
    section: Mapping[str, Any], display_names: Mapping[str, str], folder: Path
) -> list[tuple[str, Path]]:
    """Draw ``robustness_<source>.png`` into ``folder`` per source; (caption, path) each.

    ``section`` is what :func:`~brainmtl.evaluation.robustness.curves.robustness` returns. A source
    for which neither curve is defined gets no picture.
    """
    pictures = []
    for source, values in section["sources"].items():
        curves = [curve for curve in CURVES if values["clean"][curve[0]] is not None]
        if not curves:
            continue
        name = display_names[source]
        figure = _draw(section["corruptions"], values, curves, name)
        path = save(figure, folder, "robustness", source)
        what = " and ".join(_plain(curve) for curve in curves)
        caption = (
            f"{name}: {what} under corruptions from level 1 (left) to level 5 (right); dashed: the "
            f"clean image ({values['n_images']} images of {values['n_groups']} patients or groups)"
        )
        pictures.append((caption, path))
    return pictures


def _plain(curve: tuple[str, ...]) -> str:
    return "Dice" if curve[0] == "dice" else "balanced accuracy"


def _draw(
    corruptions: Mapping[str, Any],
    values: Mapping[str, Any],
    curves: list[tuple[str, ...]],
    name: str,
) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    lines = -(-len(corruptions) // COLUMNS)
    height = lines * PANEL_HEIGHT_INCHES + 1.1
    figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
    axes = figure.subplots(lines, COLUMNS, sharey=True, squeeze=False).ravel()
    for ax, (key, corruption) in zip(axes, corruptions.items(), strict=False):
        _panel(ax, corruption, values["corruptions"][key], values["clean"], curves)
    for ax in axes[len(corruptions) :]:
        ax.set_axis_off()
    figure.suptitle(name.replace("$", r"\$"), fontsize=11, fontweight="bold")
    figure.get_layout_engine().set(h_pad=0.09)  # a panel's unit must not touch the next title
    handles, labels = axes[0].get_legend_handles_labels()
    handles.append(Line2D([], [], color="0.5", linestyle="--", linewidth=1))
    labels.append("clean image")
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(handles), fontsize=9, frameon=False
    )
    return figure


def _panel(
    ax: Axes,
    corruption: Mapping[str, Any],
    levels: list[Mapping[str, Any]],
    clean: Mapping[str, Any],
    curves: list[tuple[str, ...]],
) -> None:
    ticks = range(1, len(levels) + 1)
    for key, label, colour, marker in curves:
        counted = f"{label} (n = {clean['n_dice'] if key == 'dice' else clean['n_labelled']})"
        ax.axhline(clean[key], color=colour, linestyle="--", linewidth=1, alpha=0.7)
        # A level at which a figure is not defined leaves a gap.
        heights = [float("nan") if level[key] is None else level[key] for level in levels]
        ax.plot(ticks, heights, color=colour, marker=marker, markersize=4, label=counted)
    ax.set_title(corruption["title"], fontsize=9.5, fontweight="bold")
    ax.set_xlabel(corruption["unit"], fontsize=8.5)
    ax.set_xticks(ticks, [f"{value:g}" for value in corruption["parameters"]])
    ax.set(ylim=(-0.03, 1.03), xlim=(0.7, len(levels) + 0.3))
    ax.tick_params(labelsize=8.5)
    ax.grid(axis="y", color="0.9", linewidth=0.8)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
