"""Pictures of cases: reference and predicted contours on the best, median and worst of a source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from brainmtl.evaluation.predict import Prediction

REFERENCE_COLOUR, PREDICTION_COLOUR = "#2fd65b", "#ff7f0e"
PANEL_INCHES = 2.6
CLASSIFICATION_PANELS = 8
HEAT_ALPHA = 0.75  # of the hottest pixel


@dataclass(frozen=True)
class Panel:
    """One row of pictures: a case with the samples that show it, the first being the main one."""

    title: str
    image_ids: tuple[str, ...]


def choose_panels(rows: Sequence[dict[str, Any]], cases: Sequence[dict[str, Any]]) -> list[Panel]:
    """The cases to show for one source.

    With references: best, median and worst case by Dice in the original grid. Without: the images
    that the classification gets most wrong, worst first.
    """
    scored = sorted((case for case in cases if case["dice"] is not None), key=_by_dice)
    if not scored:
        labelled = [row for row in rows if row["cls"] >= 0]
        hardest = sorted(labelled or rows, key=lambda row: (-_error(row), row["image_id"]))
        # One picture per duplicate group: the same picture twice shows nothing new.
        one_each: dict[str, dict[str, Any]] = {}
        for row in hardest:
            one_each.setdefault(row["group"], row)
        shown = list(one_each.values())[:CLASSIFICATION_PANELS]
        return [Panel(_call(row), (row["image_id"],)) for row in shown]
    picks = {"worst": scored[0], "median": scored[len(scored) // 2], "best": scored[-1]}
    names: dict[str, list[str]] = {}
    for name in ("best", "median", "worst"):
        names.setdefault(picks[name]["case_id"], []).append(name)
    by_id = {case["case_id"]: case for case in scored}
    return [
        Panel(
            f"{' = '.join(name)}: {case_id}\n{_unit(by_id[case_id])} Dice "
            f"{by_id[case_id]['dice']:.3f}",
            _slices_of(case_id, rows),
        )
        for case_id, name in names.items()
    ]


def rows_of(frame: pd.DataFrame, source: str, panels: Sequence[Panel]) -> pd.DataFrame:
    """The manifest rows that ``panels`` show, in their order."""
    wanted = [image_id for panel in panels for image_id in panel.image_ids]
    own = frame[frame["source"] == source]
    return own.set_index("image_id", drop=False).loc[wanted]


def draw(
    panels: Sequence[Panel],
    predictions: Sequence[Prediction],
    name: str,
    path: Path,
    heat: Sequence[np.ndarray] | None = None,
) -> list[tuple[str, Path]]:
    """Draw ``panels`` into ``path``; returns (caption, path).

    ``predictions`` are those of the panels' images in order, ``heat`` their heat maps (H, W) in
    [0, 1], which get a picture of their own beside the contours.

    Raises:
        ValueError: another number of maps than of predictions.
    """
    if not panels:
        return []
    if heat is not None and len(heat) != len(predictions):
        raise ValueError(f"{len(heat)} heat maps for {len(predictions)} predictions: one each")
    ranked = any(one.reference is not None and one.reference.any() for one in predictions)
    if not ranked and len(panels) == len(predictions):  # as without references: no Dice to rank by
        return _draw_images(panels, predictions, name, path, heat)
    return _draw_cases(panels, predictions, name, path, heat)


def _unit(case: dict[str, Any]) -> str:
    return "volume" if case["kind"] == "volume" else "image"


def _by_dice(case: dict[str, Any]) -> tuple[float, str]:
    return case["dice"], case["case_id"]


def _error(row: dict[str, Any]) -> float:
    """Distance of the probability from the label; without one, nearness to 0.5."""
    if row["cls"] >= 0:
        return abs(row["cls"] - row["calibrated"])
    return 0.5 - abs(row["calibrated"] - 0.5)


def _call(row: dict[str, Any]) -> str:
    truth = {1: "tumour", 0: "no tumour", -1: "no label"}[row["cls"]]
    return f"{row['image_id']}\n{truth}, P = {row['calibrated']:.3f}"


def _slices_of(case_id: str, rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The slice with most reference, then one at 1/4 and one at 3/4 of the tumour's extent."""
    own = sorted((r for r in rows if r["case_id"] == case_id), key=lambda r: r["position"])
    tumour = [row for row in own if row["reference_pixels"]] or own
    largest = max(tumour, key=lambda row: row["reference_pixels"] or 0)
    if len(own) == 1:
        return (largest["image_id"],)
    others = [row for row in tumour if row is not largest]
    quarters = {round(share * (len(others) - 1)): None for share in (0.25, 0.75)} if others else ()
    return (largest["image_id"], *(others[k]["image_id"] for k in quarters))


def _draw_cases(
    panels: Sequence[Panel],
    predictions: Sequence[Prediction],
    name: str,
    path: Path,
    heat: Sequence[np.ndarray] | None,
) -> list[tuple[str, Path]]:
    slices = max(len(panel.image_ids) for panel in panels)
    figure, axes = _grid(len(panels), 1 + slices + (heat is not None), name)
    start = 0
    for line, panel in zip(axes, panels, strict=True):
        shown = predictions[start : start + len(panel.image_ids)]
        _show(line[0], shown[0].image)
        line[0].set_title(panel.title, fontsize=8)
        for ax, prediction in zip(line[1:], shown, strict=False):
            _show(ax, prediction.image)
            _contours(ax, prediction)
            ax.set_title(_slice_title(prediction), fontsize=8)
        if heat is not None:
            _heat(line[-1], shown[0], heat[start])
        start += len(shown)
    _legend(figure, ("reference", REFERENCE_COLOUR), ("prediction", PREDICTION_COLOUR))
    _save(figure, path)
    what = "patient volume" if slices > 1 else "image"
    caption = (
        f"{name}: best, median and worst {what} by Dice in the original grid; reference green, "
        f"prediction orange{_heat_caption(heat)}"
    )
    return [(caption, path)]


def _draw_images(
    panels: Sequence[Panel],
    predictions: Sequence[Prediction],
    name: str,
    path: Path,
    heat: Sequence[np.ndarray] | None,
) -> list[tuple[str, Path]]:
    width = 1 if heat is None else 2  # pictures per panel
    across = min(4 // width, len(panels))
    figure, axes = _grid(-(-len(panels) // across), across * width, name)
    tiles = axes.reshape(-1, width)  # a multiple of width lies in each line
    for k, (panel, prediction) in enumerate(zip(panels, predictions, strict=True)):
        _show(tiles[k][0], prediction.image)
        _contours(tiles[k][0], prediction)
        tiles[k][0].set_title(panel.title, fontsize=8)
        if heat is not None:
            _heat(tiles[k][1], prediction, heat[k])
    _legend(figure, ("prediction (no reference tumour)", PREDICTION_COLOUR))
    _save(figure, path)
    caption = f"{name}: images whose P lies farthest from the label, worst first"
    return [(f"{caption}{_heat_caption(heat)}", path)]


def _heat(ax: Axes, prediction: Prediction, heat: np.ndarray) -> None:
    """The image under its heat map: the hotter, the less transparent."""
    _show(ax, prediction.image)
    ax.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=HEAT_ALPHA * heat)
    _contours(ax, prediction)
    ax.set_title(f"LayerCAM\nP = {prediction.calibrated:.3f}", fontsize=8)


def _heat_caption(heat: Sequence[np.ndarray] | None) -> str:
    if heat is None:
        return ""
    return "; LayerCAM: what speaks for tumour, bright = most within this image"


def _slice_title(prediction: Prediction) -> str:
    value = "not defined" if prediction.dice is None else f"{prediction.dice:.3f}"
    if prediction.row.kind == "volume":
        return f"slice {prediction.row.position}\nslice Dice {value}"
    return f"Dice {value} (256x256)\nP = {prediction.calibrated:.3f}"


def _grid(n_rows: int, n_columns: int, name: str) -> tuple[Any, Any]:
    """Figure and (n_rows, n_columns) axes of equal size, titled with the source."""
    from matplotlib.figure import Figure

    # Two lines of title above each picture, the source's name on top, the legend below.
    width, height = n_columns * PANEL_INCHES, n_rows * (PANEL_INCHES + 0.45) + 0.8
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    figure.subplots_adjust(
        left=0.01,
        right=0.99,
        top=1 - 0.8 / height,
        bottom=0.35 / height,
        wspace=0.03,
        hspace=0.45 / PANEL_INCHES,
    )
    for ax in axes.ravel():
        ax.set_axis_off()
    figure.suptitle(name, fontsize=11, fontweight="bold", y=1 - 0.12 / height, va="top")
    return figure, axes


def _show(ax: Axes, image: np.ndarray) -> None:
    """The first channel; the background stays black, single hot pixels do not darken the rest."""
    plane = image[0]
    low, high = np.percentile(plane, 1), np.percentile(plane, 99.7)
    inside = plane[plane > plane.min()]
    if inside.size:
        low = np.percentile(inside, 1)
    ax.imshow(plane, cmap="gray", vmin=low, vmax=max(high, low + 1e-3), interpolation="nearest")


def _contours(ax: Axes, prediction: Prediction) -> None:
    # The reference is the wider line below: both stay visible where they coincide.
    masks = (
        (prediction.reference, REFERENCE_COLOUR, 2.2),
        (prediction.mask, PREDICTION_COLOUR, 1.0),
    )
    for mask, colour, width in masks:
        if mask is not None and mask.any():
            # A rim of zeros closes contours of masks that reach the edge of the picture.
            ax.contour(
                np.arange(-1, mask.shape[1] + 1),
                np.arange(-1, mask.shape[0] + 1),
                np.pad(mask, 1).astype(float),
                levels=[0.5],
                colors=[colour],
                linewidths=width,
            )
    ax.set_xlim(-0.5, prediction.mask.shape[1] - 0.5)
    ax.set_ylim(prediction.mask.shape[0] - 0.5, -0.5)


def _legend(figure: Any, *entries: tuple[str, str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, label=label) for label, colour in entries]
    figure.legend(
        handles=handles, loc="lower center", ncols=len(handles), fontsize=9, frameon=False
    )


def _save(figure: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
