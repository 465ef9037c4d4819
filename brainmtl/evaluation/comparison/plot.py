"""Trade-off of the two tasks: Dice per patient against balanced accuracy, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainmtl.files import atomic_path

PANEL = 4.2  # inches
DICE, BALANCED = "dice", "balanced_accuracy"
LABELS = {DICE: "Dice per patient", BALANCED: "balanced accuracy"}
# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#b0a000")
SHORT_NAME = 40  # letters that fit into half of a picture
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def draw_tradeoff(found: Mapping[str, Any], path: Path) -> Path | None:
    """Draw comparison.json to ``path``; None where neither figure is defined anywhere.

    One panel per source that has both figures, and one per pair of a source with masks and a source
    with labels alone, since the two tasks may be trained and tested on different sources. A source
    that finds no partner has a panel of its own with the one figure that it has.
    """
    from matplotlib.figure import Figure

    panels = choose_panels(found["sources"])
    if not panels:
        return None
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    size = (PANEL * columns + 0.4, (PANEL + 0.2) * lines + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    legend: dict[str, Any] = {}
    for ax, (vertical, horizontal) in zip(axes, panels, strict=False):
        _panel(ax, found, vertical, horizontal)
        handles, labels = ax.get_legend_handles_labels()
        legend |= dict(zip(labels, handles, strict=True))
    figure.legend(
        legend.values(),
        legend.keys(),
        loc="outside lower center",
        ncols=2 if max(map(len, legend), default=0) <= SHORT_NAME else 1,
        fontsize=8,
        frameon=False,
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
    return path


def choose_panels(sources: Mapping[str, Any]) -> list[tuple[str | None, str | None]]:
    """(source of Dice, source of balanced accuracy) per panel; None where there is none."""
    defined = {
        key: [source for source, values in sources.items() if _is_defined(values, key)]
        for key in (DICE, BALANCED)
    }
    alone = [source for source in defined[BALANCED] if source not in defined[DICE]]
    panels: list[tuple[str | None, str | None]] = []
    for source in defined[DICE]:
        partners = [source] if source in defined[BALANCED] else []
        panels += [(source, partner) for partner in [*partners, *alone]] or [(source, None)]
    return panels or [(None, source) for source in alone]


def _is_defined(values: Mapping[str, Any], figure: str) -> bool:
    return any(entry["value"] is not None for entry in values["figures"].get(figure, ()))


def _panel(ax: Any, found: Mapping[str, Any], vertical: str | None, horizontal: str | None) -> None:
    sources = found["sources"]
    places = {entry["name"]: k for k, entry in enumerate(found["evaluations"])}
    ys = _points(sources, vertical, DICE, places)
    xs = _points(sources, horizontal, BALANCED, places)
    for name, k in places.items():
        x, y = xs[name], ys[name]
        if x["value"] is None or y["value"] is None:
            continue
        _mark(ax, name, k, x, y)
    _arrows(ax, sources[vertical or horizontal]["comparisons"], xs, ys)
    _label(ax, sources, vertical, horizontal, list(places))


def _mark(ax: Any, name: str, k: int, x: Mapping[str, Any], y: Mapping[str, Any]) -> None:
    """An evaluation with its intervals, and a dot for every single seed where it has several."""
    hollow = x["untrained"] or y["untrained"]
    colour = COLOURS[k % len(COLOURS)]
    ax.errorbar(
        x["value"],
        y["value"],
        xerr=_reach(x),
        yerr=_reach(y),
        fmt=MARKERS[(k + k // len(COLOURS)) % len(MARKERS)],
        color=colour,
        markerfacecolor="white" if hollow else None,
        markersize=8,
        elinewidth=1.2,
        capsize=3,
        label=f"{name} (hollow: part not trained yet)" if hollow else name,
    )
    n = max(len(x["per_seed"]), len(y["per_seed"]))
    if n > 1:
        ends = (end["per_seed"] or [end["value"]] * n for end in (x, y))
        ax.plot(*ends, ".", color=colour, alpha=0.5)


def _points(
    sources: Mapping[str, Any], source: str | None, figure: str, places: Mapping[str, int]
) -> dict[str, dict[str, Any]]:
    """Entry per evaluation; without a source its place in the list, for a panel of one figure."""
    if source is None:
        none = {"low": None, "high": None}
        return {
            name: {"value": float(k), "interval": none, "per_seed": [], "untrained": False}
            for name, k in places.items()
        }
    return {entry["evaluation"]: entry for entry in sources[source]["figures"][figure]}


def _reach(entry: Mapping[str, Any]) -> list[list[float]] | None:
    low, high = entry["interval"]["low"], entry["interval"]["high"]
    if low is None:
        return None
    # A BCa interval can lie to one side of a biased estimate; a bar has no negative length.
    return [[max(0.0, entry["value"] - low)], [max(0.0, high - entry["value"])]]


def _arrows(
    ax: Any, tests: list[dict[str, Any]], xs: Mapping[str, Any], ys: Mapping[str, Any]
) -> None:
    """From every baseline to the evaluation that is compared with it."""
    for baseline, evaluation in dict.fromkeys((t["baseline"], t["evaluation"]) for t in tests):
        ends = [(xs[name]["value"], ys[name]["value"]) for name in (baseline, evaluation)]
        if any(value is None for end in ends for value in end):
            continue
        style = {"arrowstyle": "->", "color": "0.6", "shrinkA": 6, "shrinkB": 6, "linewidth": 1}
        ax.annotate("", xy=ends[1], xytext=ends[0], arrowprops=style, zorder=0)


def _label(
    ax: Any,
    sources: Mapping[str, Any],
    vertical: str | None,
    horizontal: str | None,
    names: list[str],
) -> None:
    def title(source: str) -> str:
        return sources[source]["display_name"]

    shown = list(dict.fromkeys(title(source) for source in (vertical, horizontal) if source))
    ax.set_title("\n".join(shown), fontsize=10, fontweight="bold")
    for axis, source, figure in ((ax.xaxis, horizontal, BALANCED), (ax.yaxis, vertical, DICE)):
        if source is None:
            # Where they would lie on each other, the legend has them alone.
            short = len(names) * max(map(len, names)) <= SHORT_NAME
            axis.set_ticks(range(len(names)), names if short else [""] * len(names))
        else:
            axis.set_label_text(f"{LABELS[figure]}, {title(source)}")
    ax.grid(color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
