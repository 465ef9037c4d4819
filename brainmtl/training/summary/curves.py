"""The curves of a run: all its stages along one axis of epochs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmtl.data.manifest import SYNTHETIC_PREFIX, display_name
from brainmtl.evaluation.comparison.plot import COLOURS
from brainmtl.files import atomic_path
from brainmtl.training.run_folder.records import Run, best_of, sources_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (12.5, 7.0)  # inches
GREY = "0.45"
PARTS = {"encoder": COLOURS[2], "decoder": COLOURS[3], "head": COLOURS[4]}
TRAIN, VALIDATION, RANKING = "--", "-", ":"
LEVEL = 9  # points between the names of short stages
NARROW = 0.3  # share of the epochs that a stage's name takes
MARKERS = {TRAIN: "o", VALIDATION: "o", RANKING: "^"}  # where an epoch or two leave no line to tell
# (title, [(name of a figure, line)]): one line per source.
PANELS = (
    ("Segmentation loss", [("train/loss_seg", TRAIN), ("val/loss_seg", VALIDATION)]),
    ("Classification loss", [("train/loss_cls", TRAIN), ("val/loss_cls", VALIDATION)]),
    ("Dice per patient (validation)", [("val/dice", VALIDATION)]),
    (
        "Balanced accuracy, dotted: ROC-AUC (validation)",
        [("val/balanced_accuracy", VALIDATION), ("val/roc_auc", RANKING)],
    ),
)
Points = list[tuple[float, Mapping[str, Any]]]


def draw_curves(run: Run, path: Path) -> Path | None:
    """Draw losses, validation figures by source, monitors and learning rates; None without epochs.

    Epochs count from 1 and go on from stage to stage; stages are parted by lines. Stars mark the
    epoch whose checkpoint is kept.
    """
    from matplotlib.figure import Figure

    timeline = _timeline(run)
    if not any(points for points in timeline.values()):
        return None
    names = list(dict.fromkeys(name for r in run.stages.values() for name in sources_of(r)))
    colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(names)}
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots(2, 3, sharex=True)
    for ax, (title, lines) in zip(axes.ravel(), PANELS, strict=False):
        for source, colour in colours.items():
            for name, style in lines:
                _curve(ax, timeline, f"{name}/{source}", colour, style)
        _frame(ax, title, timeline)
    _monitors(axes[1, 1], run, timeline)
    _rates(axes[1, 2], timeline)
    for ax in axes[1]:
        ax.set_xlabel("epoch")
    _legend(figure, colours)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
    return path


def _timeline(run: Run) -> dict[str, Points]:
    """Per stage its history with the epoch counted from the start of the run."""
    timeline: dict[str, Points] = {}
    before = 0
    for name, record in run.stages.items():
        timeline[name] = [(before + k, entry) for k, entry in enumerate(record["history"], 1)]
        before += len(record["history"])
    return timeline


def _curve(
    ax: Axes,
    timeline: Mapping[str, Points],
    name: str,
    colour: str,
    style: str,
    label: str = "",
    width: float = 1.6,
) -> bool:
    """One line per stage, so that nothing is drawn from one stage to the next."""
    drawn = False
    for points in timeline.values():
        found = [(x, entry[name]) for x, entry in points if entry.get(name) is not None]
        if found:
            ax.plot(
                *zip(*found, strict=True),
                style,
                color=colour,
                linewidth=width,
                # A stage of one epoch would leave no line.
                marker=MARKERS[style] if len(found) <= 3 else None,
                markersize=4,
                markerfacecolor="white" if style == TRAIN else None,
                label=label if label and not drawn else "_",
            )
            drawn = True
    return drawn


def _frame(ax: Axes, title: str, timeline: Mapping[str, Points]) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.grid(color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    spans = list(_spans(timeline))
    total = max(end for *_, end in spans)
    # Names of short stages would lie on each other: they begin where the stage does, one above the other.
    short = [stage for stage, start, end in spans if end - start + 1 < NARROW * total]
    ax.set_title(title, fontsize=10, fontweight="bold", pad=6 + LEVEL * max(len(short), 2))
    for stage, start, end in spans:
        if start > 1:
            ax.axvline(start - 0.5, color="0.6", linewidth=0.9)
        level = len(short) - 1 - short.index(stage) if stage in short else 0
        ax.annotate(
            stage,
            (start - 0.5 if stage in short else (start + end) / 2, 1),
            xytext=(0, 3 + LEVEL * level),
            xycoords=ax.get_xaxis_transform(),
            textcoords="offset points",
            ha="left" if stage in short else "center",
            fontsize=7.5,
            color=GREY,
        )
    ax.set_xlim(0.5, total + 0.5)


def _spans(timeline: Mapping[str, Points]) -> Iterator[tuple[str, float, float]]:
    for stage, points in timeline.items():
        if points:
            yield stage, points[0][0], points[-1][0]


def _monitors(ax: Axes, run: Run, timeline: Mapping[str, Points]) -> None:
    """What chose the checkpoints, with a star at each stage's best epoch."""
    for k, (stage, record) in enumerate(run.stages.items()):
        own = {stage: timeline[stage]}
        name, best = record["monitor"], best_of(record)
        colour = COLOURS[(5 + k) % len(COLOURS)]
        _curve(ax, own, name, colour, VALIDATION, f"{name.removeprefix('val/')} ({stage})")
        place = next((x for x, entry in timeline[stage] if entry["epoch"] == best.get("epoch")), 0)
        if place:
            ax.plot(place, best[name], "*", color=colour, markersize=12, label="_")
    _frame(ax, "Monitor, star: kept checkpoint (validation)", timeline)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize=7.5, loc="best")


def _rates(ax: Axes, timeline: Mapping[str, Points]) -> None:
    """Learning rate per part: weights that decay and those that do not share it."""
    drawn = [
        # The parts often share a rate: a thinner line leaves the one below it visible.
        _curve(ax, _part_rates(timeline, part), "rate", colour, VALIDATION, part, 5.0 - 1.7 * k)
        for k, (part, colour) in enumerate(PARTS.items())
    ]
    if any(drawn):
        ax.set_yscale("log")
        ax.legend(fontsize=7.5, loc="best")
    _frame(ax, "Learning rate (end of the epoch)", timeline)


def _part_rates(timeline: Mapping[str, Points], part: str) -> dict[str, Points]:
    def rate(entry: Mapping[str, Any]) -> float | None:
        found = [v for name, v in entry.items() if name.startswith(f"lr/{part}")]
        return found[0] if found and found[0] else None

    return {
        stage: [(x, {"rate": rate(entry)}) for x, entry in points]
        for stage, points in timeline.items()
    }


def _legend(figure: Any, colours: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D

    handles: Sequence[Any] = [
        Line2D([], [], color=colour, label=display_name(s, s.startswith(SYNTHETIC_PREFIX)))
        for s, colour in colours.items()
    ]
    styles = ((TRAIN, "training", "white"), (VALIDATION, "validation", GREY))
    kinds = [
        Line2D([], [], color=GREY, linestyle=style, marker="o", ms=4, mfc=filled, label=label)
        for style, label, filled in styles
    ]
    figure.legend(
        handles=[*handles, *kinds],
        loc="outside lower center",
        ncols=len(handles) + 2,
        frameon=False,
        fontsize=9,
    )
