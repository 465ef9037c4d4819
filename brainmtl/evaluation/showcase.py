"""The cases that a report shows: chosen by rule, predicted again, drawn with contours and heat map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmtl.evaluation import gallery
from brainmtl.evaluation.evidence import Evidence, Pictures
from brainmtl.evaluation.predict import Prediction, predict_split
from brainmtl.inference.operating.operating_point import OperatingPoint

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from brainmtl.models.multitask import MultiTaskModel

Shown = list[tuple[Prediction, "np.ndarray"]]  # with the heat map (256, 256) in [0, 1]


def show(
    model: MultiTaskModel,
    data_dir: Path,
    frame: pd.DataFrame,
    point: OperatingPoint,
    network: Mapping[str, Any],
) -> Shown:
    """Predictions and heat maps of the few rows of ``frame``, in their order."""
    import torch

    from brainmtl.inference.gradcam import layercam

    options = {**network, "progress": False}
    shown = []
    for prediction in predict_split(model, data_dir, frame, point=point, **options):
        image = torch.from_numpy(prediction.image[None]).to(network["device"])
        shown.append((prediction, layercam(model, image)[0].cpu().numpy()))
    return shown


def draw_cases(
    frame: pd.DataFrame,
    evidence: Evidence,
    names: Mapping[str, str],
    show_rows: Callable[[pd.DataFrame], Shown],
    out_dir: Path,
) -> Pictures:
    """One picture per source, as (caption, path relative to ``out_dir``).

    Args:
        frame: the evaluated rows of the manifest.
        names: display name per source.
        show_rows: :func:`show` with its model bound.
    """
    drawn: Pictures = {}
    for source in evidence.result:
        rows = [row for row in evidence.rows if row["source"] == source]
        cases = [case for case in evidence.cases if case["source"] == source]
        panels = gallery.choose_panels(rows, cases)
        shown = show_rows(gallery.rows_of(frame, source, panels))
        path = out_dir / "figures" / f"cases_{source}.png"
        pictures = gallery.draw(
            panels, [p for p, _ in shown], names[source], path, [heat for _, heat in shown]
        )
        drawn[source] = [(caption, path.relative_to(out_dir)) for caption, path in pictures]
    return drawn
