"""The pictures of ``python -m benchmarks.profiling``."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.speed.spans import NETWORK, Recording, median_lines, typical
from benchmarks.speed.step_profile import ORDER, StepProfile, kind_of
from brainmtl.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = dict(
    zip(
        ORDER,
        (
            "#1f5a94",
            "#5b9bd5",
            "#7a7a7a",
            "#e08e2b",
            "#f2c14e",
            "#5aa469",
            "#b5524c",
            "#9a86a4",
            "#d9d9d9",
        ),
        strict=True,
    )
)
OPERATORS = 10  # the dearest ones, each with a line of its own
ROOM = 0.05  # share of the longest bar from which a segment has room for its percentage
NETWORK_COLOUR, AROUND, PART = "#1f5a94", "#e08e2b", "#f3cfa2"
INCH, DPI = 11.0, 130


def draw_step(profiles: Sequence[StepProfile], sentence: str, title: str, path: Path) -> None:
    """One stacked bar per number format, and the dearest operators of each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(INCH, 7.6), layout="constrained", dpi=DPI)
    above, below = figure.subplots(2, 1, height_ratios=(1.0, 2.2))
    _stacked(above, profiles)
    _operators(below, profiles)
    _finish(figure, title, sentence, path)


def _stacked(axes: Axes, profiles: Sequence[StepProfile]) -> None:
    longest = max(profile.seconds for profile in profiles)
    for row, profile in enumerate(profiles):
        left = 0.0
        for kind in ORDER:
            width = 1000 * profile.kinds[kind]
            label = kind if row == 0 else None
            axes.barh(row, width, left=left, color=COLOURS[kind], label=label, edgecolor="white")
            if profile.kinds[kind] > ROOM * longest:
                dark = kind in ORDER[:3] or kind in ORDER[5:7]
                axes.text(
                    left + width / 2,
                    row,
                    f"{profile.share(kind):.0%}",
                    ha="center",
                    va="center",
                    color="white" if dark else "black",
                    fontsize=10,
                )
            left += width
        axes.text(left, row, f"  {1000 * profile.seconds:,.0f} ms", va="center", fontsize=10)
    axes.set_yticks(range(len(profiles)), [profile.name for profile in profiles])
    axes.invert_yaxis()
    axes.set_xlim(0, 1120 * longest)
    axes.set_xlabel("ms per step")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.62), ncols=3, frameon=False, fontsize=9)
    _plain(axes)


def _operators(axes: Axes, profiles: Sequence[StepProfile]) -> None:
    """A line per operator, a bar per number format; the colour is that of its kind."""
    totals: dict[str, float] = {}
    for profile in profiles:
        for name, seconds in profile.operators.items():
            totals[name] = totals.get(name, 0.0) + seconds
    chosen = sorted(totals, key=totals.get, reverse=True)[:OPERATORS]
    height = 0.8 / len(profiles)
    for number, profile in enumerate(profiles):
        for row, name in enumerate(chosen):
            place = row + (number - (len(profiles) - 1) / 2) * height
            width = 1000 * profile.operators.get(name, 0.0)
            axes.barh(place, width, 0.9 * height, color=COLOURS[kind_of(name)])
            axes.text(width, place, f" {width:,.1f} {profile.name}", va="center", fontsize=8)
    axes.set_yticks(range(len(chosen)), [name.removeprefix("aten::") for name in chosen])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(f"ms per step in the {len(chosen)} dearest operators themselves")
    _plain(axes)


def draw_request(recordings: Sequence[Recording], sentence: str, title: str, path: Path) -> None:
    """A typical request from left to right: a line per stage with its median, its parts below it."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    recording, medians = typical(recordings), median_lines(recordings)
    whole, median = 1000 * recording.seconds, statistics.median(r.seconds for r in recordings)
    figure = Figure(figsize=(INCH, 1.9 + 0.34 * len(medians)), layout="constrained", dpi=DPI)
    axes = figure.subplots()
    for row, ((stage, name), seconds) in enumerate(medians.items()):
        spans = [s for s in recording.spans if (s.stage, s.name) == (stage, name)]
        colour = NETWORK_COLOUR if stage in NETWORK else AROUND if stage == name else PART
        for span in spans:
            axes.barh(row, 1000 * span.seconds, left=1000 * span.start, color=colour, height=0.72)
        share = seconds / median
        percent = f" ({share:.0%})" if stage == name and share >= 0.01 else ""
        text = f"{1000 * seconds:.{1 if seconds > 0.01 else 2}f} ms{percent}"
        # to the right of its bar, or to the left where the picture ends
        start, end = 1000 * spans[0].start, 1000 * spans[-1].end
        right = end < 0.8 * whole
        place, side = (end + 0.006 * whole, "left") if right else (start - 0.006 * whole, "right")
        axes.text(place, row, text, va="center", ha=side, fontsize=9)
    axes.set_yticks(range(len(medians)), [name for _, name in medians])
    for label, (stage, name) in zip(axes.get_yticklabels(), medians, strict=True):
        if stage != name:
            label.set(fontsize=8.5, color="0.45")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.01 * whole)
    axes.set_xlabel("ms since the request came (a typical one; the figures are medians)")
    patches = (
        (NETWORK_COLOUR, "network"),
        (AROUND, "around it"),
        (PART, "a part of the stage above"),
    )
    axes.legend(
        handles=[Patch(color=colour, label=label) for colour, label in patches],
        loc="lower left",
        frameon=False,
        fontsize=9,
    )
    _plain(axes)
    _finish(figure, title, sentence, path)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)


def _finish(figure: Figure, title: str, sentence: str, path: Path) -> None:
    figure.suptitle(title, fontsize=13, fontweight="bold")
    figure.supxlabel("\n".join(textwrap.wrap(sentence, 135)), fontsize=9.5, color="0.25")
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
