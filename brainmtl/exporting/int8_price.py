"""What int8 costs: the same cases by the float32 graphs and by the int8 ones, scored as evaluation does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.exporting.training_rows import training_rows
from brainmtl.inference.ood import pool
from brainmtl.inference.runtimes.graphs import NAMES
from brainmtl.markdown import markdown_table

if TYPE_CHECKING:
    from torch import nn

    from brainmtl.inference.ood import OodDetector
    from brainmtl.inference.operating.operating_point import OperatingPoint
    from brainmtl.inference.runtimes.base import Runtime

SPLIT = "val"
FIGURES = {
    "segmentation.per_patient.dice": "Dice per patient",
    "segmentation.dice": "Dice per slice",
    "classification.balanced_accuracy": "balanced accuracy",
    "unlike_share": "refused as unlike training",
}
FORMATS = {"float32": "32", "int8": "int8"}
Price = dict[str, Any]


def measure_price(
    folder: Path,
    data_dir: Path,
    meta: Mapping[str, Any],
    point: OperatingPoint,
    checks: Mapping[str, OodDetector | None],
    *,
    batch_size: int = 16,
    progress: bool = False,
) -> Price:
    """Figures of the float32 and of the int8 graphs in ``folder`` on the validation split.

    Args:
        checks: the check for unlike images of "float32" and of "int8", None without one.

    Returns:
        ``{"split": "val", "images": n, "sources": {source: {figure: {"float32": x, "int8": y}}}}``
        with the figures of :data:`FIGURES`; those that a source has no annotation for are left out,
        and the share of refused images where there are no ``checks``. Under ``changed_calls`` the
        number of images that int8 labels otherwise.

    Raises:
        DataError: no validation images of the sources of training.
    """
    rows = training_rows(data_dir, meta, SPLIT, option="int8")
    graphs = {name: (folder / name).read_bytes() for both in NAMES.values() for name in both}
    network = {"device": "cpu", "batch_size": batch_size, "progress": progress}
    found = {
        shown: _figures(graphs, precision, data_dir, rows, point, checks[shown], network)
        for shown, precision in FORMATS.items()
    }
    sources = {
        source: {
            figure: {shown: own[0][source][figure] for shown, own in found.items()}
            for figure in found["float32"][0][source]
        }
        for source in found["float32"][0]
    }
    calls = [own[1] for own in found.values()]
    changed = sum(a != b for a, b in zip(*calls, strict=True))
    return {"split": SPLIT, "images": len(rows), "changed_calls": changed, "sources": sources}


def price_markdown(price: Price) -> str:
    """A section for the model card, and for the terminal."""
    rows = (
        (source, FIGURES[figure], *(f"{own[shown]:.4f}" for shown in FORMATS), _change(own))
        for source, figures in price["sources"].items()
        for figure, own in figures.items()
    )
    table = markdown_table(("source", "figure", *FORMATS, "difference"), rows, text=(0, 1))
    return (
        "## What int8 costs\n\n"
        f"Split {price['split']}, {price['images']} images. The checkpoint was chosen on it, so that "
        f"only the differences count. {price['changed_calls']} images get another label in int8.\n\n"
        + "\n".join(table)
        + "\n"
    )


def _change(own: Mapping[str, float]) -> str:
    before, after = (own[shown] for shown in FORMATS)
    return f"{after - before:+.4f}"


def _figures(
    graphs: Mapping[str, bytes],
    precision: str,
    data_dir: Path,
    rows: Any,
    point: OperatingPoint,
    ood: OodDetector | None,
    network: dict[str, Any],
) -> tuple[dict[str, dict[str, float]], list[int]]:
    """(figures per source, call per image) of one format."""
    from brainmtl.evaluation.report.text import lookup
    from brainmtl.evaluation.run import predict_cases
    from brainmtl.evaluation.scores import score_sources
    from brainmtl.inference.runtimes.onnx_runtime import OnnxRuntime

    model = _as_model(OnnxRuntime(graphs, precision))
    evidence, _ = predict_cases(model, data_dir, rows, point, None, network)
    scored = score_sources(evidence.rows, evidence.cases, point.threshold, point.seg_threshold)
    figures = {
        source: {name: lookup(values, name) for name in FIGURES if "." in name}
        for source, values in scored.items()
    }
    if ood is not None:
        passes = 2 if point.tta == "flip" else 1  # the mirror images come second
        unlike = ood.score(np.concatenate(model.pooled[::passes])) > ood.threshold
        names = rows["source"].astype(str).to_numpy()
        for source, own in figures.items():
            own["unlike_share"] = float(unlike[names == source].mean())
    kept = {
        source: {name: value for name, value in own.items() if value is not None}
        for source, own in figures.items()
    }
    return kept, [row["call"] for row in evidence.rows]


def _as_model(runtime: Runtime) -> nn.Module:
    """What evaluation calls a model; ``pooled`` collects the features for the check for unlike images."""
    from torch import Tensor, nn

    from brainmtl.models.multitask import MultiTaskOutput

    class ByRuntime(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pooled: list[np.ndarray] = []

        def forward(self, images: Tensor) -> MultiTaskOutput:
            features, logits = runtime.encode(images)
            self.pooled.append(pool(features, images.cpu().numpy()))
            return MultiTaskOutput(seg=runtime.decode(features), cls=logits)

    return ByRuntime()
