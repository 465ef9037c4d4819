"""Pareto plot of a sweep: Dice per patient against balanced accuracy, per pair of sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmtl.evaluation.comparison.plot import BALANCED, DICE, LABELS, choose_panels
from brainmtl.files import atomic_path
from brainmtl.sweeps.settings import Setting, option_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = 4.8  # inches
FRONT, CHOSEN = "0.45", "#d55e00"
# Where a point's name can stand, in typographic points; the first is taken where there is room.
OFFSETS = ((9, 7), (-9, 7), (9, -7), (-9, -7), (0, 13), (0, -13), (22, 0), (-22, 0))
ROOM = 15.0  # typographic points between a name's middle and what is nearest to it
Point = tuple[float, float]


def pareto_front(points: Sequence[Point]) -> list[int]:
    """Places of the points that no other one beats at both: not worse in one, better in another.

    Both coordinates are to be large. The places are ordered by the first coordinate.
    """
    front = [
        k
        for k, (x, y) in enumerate(points)
        if not any(a >= x and b >= y and (a > x or b > y) for a, b in points)
    ]
    return sorted(front, key=lambda k: points[k])


def draw_pareto(
    settings: Sequence[Setting],
    names: Mapping[str, str],
    chosen: Setting | None,
    split: str,
    path: Path,
) -> Path | None:
    """Draw the settings' means, their runs as small dots, and the front; None without any pair.

    Args:
        names: display name per source.
        chosen: the setting to ring.
        split: which split the figures are of, for the title.
    """
    from matplotlib.figure import Figure

    panels = [(v, h) for v, h in _panels(settings, names) if v is not None and h is not None]
    if not panels:
        return None
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(
        figsize=(PANEL * columns + 0.6, PANEL * lines + 0.9), layout="constrained", dpi=110
    )
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    for ax, (vertical, horizontal) in zip(axes, panels, strict=False):
        _panel(ax, settings, vertical, horizontal, chosen)
        ax.set_xlabel(f"{LABELS[BALANCED]}, {names[horizontal]}")
        ax.set_ylabel(f"{LABELS[DICE]}, {names[vertical]}")
    figure.suptitle(f"{_what(settings)}; figures on split {split}", fontsize=10)
    _legend(figure, chosen)
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    return path


def _panels(
    settings: Sequence[Setting], names: Mapping[str, str]
) -> list[tuple[str | None, str | None]]:
    def entries(source: str, figure: str) -> list[dict[str, float | None]]:
        return [{"value": setting.spread(source, figure)["mean"]} for setting in settings]

    return choose_panels(
        {s: {"figures": {figure: entries(s, figure) for figure in LABELS}} for s in names}
    )


def _panel(
    ax: Axes, settings: Sequence[Setting], vertical: str, horizontal: str, chosen: Setting | None
) -> None:
    means: dict[int, Point] = {}
    for k, setting in enumerate(settings):
        x, y = setting.spread(horizontal, BALANCED)["mean"], setting.spread(vertical, DICE)["mean"]
        if x is None or y is None:
            continue
        means[k] = (x, y)
        colour = _colour(k, len(settings))
        for result in setting.results if len(setting.results) > 1 else []:
            own = result.figure(horizontal, BALANCED), result.figure(vertical, DICE)
            if None not in own:
                ax.plot([x, own[0]], [y, own[1]], color=colour, linewidth=0.7, alpha=0.45, zorder=1)
                ax.plot(*own, ".", color=colour, markersize=6, zorder=2)
        if setting is chosen:
            ax.plot(x, y, "o", markersize=17, mfc="none", mec=CHOSEN, mew=2.2, zorder=4)
    front = [list(means)[place] for place in pareto_front(list(means.values()))]
    for k, point in means.items():
        edge = "black" if k in front else "white"
        colour = _colour(k, len(settings))
        ax.plot(*point, "o", color=colour, markersize=10, mec=edge, mew=1.4, zorder=5)
    if len(front) > 1:
        # Steps: what lies below and left of them is beaten.
        xs, ys = zip(*(means[k] for k in front), strict=True)
        ax.step(xs, ys, where="pre", color=FRONT, linewidth=1.4, linestyle="--", zorder=3)
    ax.grid(color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.margins(0.14)
    _names(ax, [settings[k].mark for k in means], list(means.values()))


def _colour(k: int, count: int) -> Any:
    """Dark to light in the order of the sweep."""
    from matplotlib import colormaps

    return colormaps["viridis"](0.92 * k / max(count - 1, 1))


def _names(ax: Axes, texts: Sequence[str], points: Sequence[Point]) -> None:
    """Each name where it is farthest from the points and the names before it: settings lie close."""
    import numpy as np

    ax.autoscale_view()
    # The window in typographic points: constrained layout changes it by a few percent only.
    places = ax.transData.transform(np.array(points)) * 72 / ax.figure.dpi if points else []
    taken = [*places]
    for text, point, place in zip(texts, points, places, strict=True):
        # The middle of a text of two or three letters lies beyond its anchor.
        middles = [place + np.sign(offset) * (8, 5) + offset for offset in OFFSETS]
        room = [min(np.hypot(*(middle - other)) for other in taken) for middle in middles]
        best = next((k for k, space in enumerate(room) if space > ROOM), int(np.argmax(room)))
        taken.append(middles[best])
        _name(ax, text, point, OFFSETS[best])


def _name(ax: Axes, text: str, point: Point, offset: tuple[int, int]) -> None:
    horizontal = {1: "left", 0: "center", -1: "right"}
    vertical = {1: "bottom", 0: "center", -1: "top"}
    ax.annotate(
        text,
        point,
        xytext=offset,
        textcoords="offset points",
        ha=horizontal[(offset[0] > 0) - (offset[0] < 0)],
        va=vertical[(offset[1] > 0) - (offset[1] < 0)],
        fontsize=9.5,
        fontweight="bold",
        bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.6},
        zorder=6,
    )


def _what(settings: Sequence[Setting]) -> str:
    """What the names beside the points are."""
    options = option_names(settings)
    single = len(settings[0].values) == 1
    return f"Beside the points: {options}" if single else f"Number of the run; {options}"


def _legend(figure: Figure, chosen: Setting | None) -> None:
    from matplotlib.lines import Line2D

    mean = {"marker": "o", "color": "0.6", "markersize": 10}
    handles: list[Any] = [
        Line2D([], [], linestyle="none", mec="white", label="mean", **mean),
        Line2D([], [], linestyle="none", marker=".", color="0.4", markersize=7, label="one run"),
        Line2D([], [], linestyle="none", mec="black", mew=1.4, label="on the front", **mean),
        Line2D([], [], color=FRONT, linestyle="--", label="Pareto front of the means"),
    ]
    if chosen is not None:
        ring = {"marker": "o", "mfc": "none", "mec": CHOSEN, "mew": 2, "markersize": 12}
        label = "chosen on validation data"
        handles.append(Line2D([], [], linestyle="none", label=label, **ring))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9
    )
