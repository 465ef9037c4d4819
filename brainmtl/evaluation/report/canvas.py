"""What the report's figures share: size, colours, title, file name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from brainmtl.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Lines = Sequence[Mapping[str, Any]]
Drawn = list[tuple[str, Path]]

SQUARE = (4.2, 4.2)
BLUE, GREY, ORANGE = "#1f5fa8", "#8a8f98", "#c8641b"


def axes(name: str, size: tuple[float, float]) -> tuple[Figure, Axes]:
    """A figure of ``size`` inches with one axes, titled with a source's display name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    ax = figure.subplots()
    title(ax, name)
    return figure, ax


def unit_square(name: str) -> tuple[Figure, Axes]:
    """A square figure whose axes both run from 0 to 1."""
    figure, ax = axes(name, SQUARE)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.set_aspect("equal")
    return figure, ax


def title(ax: Axes, name: str) -> None:
    """Set the title; a dollar sign in it would start a formula."""
    ax.set_title(name.replace("$", r"\$"), fontsize=10, fontweight="bold")


def save(figure: Figure, folder: Path, kind: str, source: str) -> Path:
    """Write ``<kind>_<source>.png``; every name of a source gives a file name of its own."""
    path = folder / f"{kind}_{quote(source, safe='')}.png"
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
    return path
