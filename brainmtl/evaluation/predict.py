"""Inference over the rows of a manifest: read, forward, threshold, one prediction at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.data.preprocessing.geometry import SliceGeometry
from brainmtl.data.samples import Sample, read_sample
from brainmtl.errors import ConfigError, DataError, check_count
from brainmtl.evaluation import metrics
from brainmtl.inference.device import autocast
from brainmtl.inference.operating.decision import decide_many
from brainmtl.inference.operating.operating_point import OperatingPoint
from brainmtl.inference.operating.postprocess import clean_slice
from brainmtl.inference.operating.tta import Predicted, predict_modes

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from brainmtl.models.multitask import MultiTaskModel

READERS = 2  # threads that read the next batch while the model works on this one


@dataclass(frozen=True)
class Prediction:
    """What the model says about one prepared sample.

    ``row`` is its line of the manifest, ``image`` float32 (C, 256, 256) as the model saw it,
    ``probability`` the tumour probability in [0, 1] as the network gives it, ``calibrated`` the one
    after temperature scaling, ``call`` 1 when ``calibrated`` reaches the classification threshold
    and 0 otherwise, ``mask`` (cleaned, not gated) and ``reference`` bool (256, 256), reference
    None without one.
    """

    row: Any
    image: np.ndarray
    probability: float
    calibrated: float
    call: int
    mask: np.ndarray
    reference: np.ndarray | None
    geometry: SliceGeometry

    @cached_property
    def counts(self) -> tuple[int, int, int] | None:
        """(intersection, predicted, reference) pixels on the prepared grid; None without reference."""
        return None if self.reference is None else metrics.overlap(self.mask, self.reference)

    @property
    def dice(self) -> float | None:
        """Dice on the prepared grid; None without a reference or on an empty one."""
        return metrics.dice_from_counts(*self.counts) if self.counts else None

    def surface(self) -> dict[str, float | None]:
        """NSD, boundary F and HD95 on the prepared grid in pixels; None without a reference."""
        if self.reference is None:
            return dict.fromkeys(("nsd", "boundary_f", "hd95"))
        return metrics.surface_metrics(self.mask, self.reference)

    def record(self) -> dict[str, Any]:
        """The line of ``predictions.csv``; see docs/evaluation.md for the columns."""
        row = self.row
        intersection, predicted, reference = self.counts or (None, int(self.mask.sum()), None)
        return {
            "image_id": row.image_id,
            "source": row.source,
            "group": row.group,
            "cls": int(row.label),
            "probability": self.probability,
            "calibrated": self.calibrated,
            "call": self.call,
            "dice": self.dice,
            "reference_pixels": reference,
            "predicted_pixels": predicted,
            "intersection_pixels": intersection,
            **self.surface(),
            "case_id": row.case_id,
            "site": row.site or None,
            "position": int(row.position),
            "split": row.split,
            "synthetic": int(row.synthetic),
            "fold": int(row.fold) if row.fold >= 0 else None,
        }


def forward(
    model: MultiTaskModel, images: torch.Tensor, *, precision: str = "32"
) -> tuple[np.ndarray, np.ndarray]:
    """(probability (B,) of tumour, probability (B, H, W) of tumour per pixel), float32.

    ``precision="bf16"`` runs the network under bfloat16 autocast; the sigmoid and softmax are
    always float32. The model must be in eval mode.
    """
    import torch

    with torch.inference_mode(), autocast(images.device.type, precision):
        output = model(images)
    probability = output.cls.float().softmax(dim=1)[:, 1]
    pixels = output.seg.float().sigmoid()[:, 0]
    return probability.cpu().numpy(), pixels.cpu().numpy()


def predict_split(
    model: MultiTaskModel,
    data_dir: str | Path,
    frame: pd.DataFrame,
    batch_size: int = 16,
    *,
    point: OperatingPoint | None = None,
    device: str = "cpu",
    precision: str = "32",
    progress: bool = True,
) -> Iterator[Prediction]:
    """Predictions for the rows of ``frame`` (a part of the manifest), in the order of its rows.

    ``point`` says how outputs become masks and calls; by default the unfitted one. Masks are not
    gated here: what the gate costs is counted per case. Only two batches are in memory at a time:
    sort the frame by case to assemble volumes one by one.

    Raises:
        ConfigError: unknown precision, or batch size < 1.
        DataError: an unreadable sample, or a network output that is not finite.
    """
    point = point or OperatingPoint.default()
    batches = predict_maps(
        model,
        data_dir,
        frame,
        (point.tta,),
        batch_size=batch_size,
        device=device,
        precision=precision,
        progress=progress,
    )
    for batch, samples, found in batches:
        probabilities, pixels = found[point.tta]
        decided = decide_many(probabilities, point)
        for k, (row, sample) in enumerate(zip(batch, samples, strict=True)):
            yield Prediction(
                row=row,
                image=sample.image,
                probability=float(probabilities[k]),
                calibrated=float(decided.calibrated[k]),
                call=int(decided.label[k]),
                mask=clean_slice(pixels[k] >= point.seg_threshold, point.postprocess),
                reference=None if sample.mask is None else sample.mask > 0,
                geometry=sample.geometry,
            )


def predict_maps(
    model: MultiTaskModel,
    data_dir: str | Path,
    frame: pd.DataFrame,
    modes: Sequence[str],
    *,
    batch_size: int = 16,
    device: str = "cpu",
    precision: str = "32",
    progress: bool = True,
    description: str = "predicting",
) -> Iterator[tuple[list[Any], list[Sample], dict[str, Predicted]]]:
    """Batch by batch: rows of ``frame``, their samples, and the network's probabilities.

    The probabilities are, per mode of test-time augmentation in ``modes``, P(tumour) (B,) and that
    of each pixel (B, 256, 256).

    Raises:
        ConfigError, DataError: as :func:`predict_split`.
    """
    import torch
    from rich.progress import track

    check_options(batch_size, precision)
    model = model.to(device).eval()
    rows = list(frame.itertuples(index=False))
    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    for batch, samples in track(
        zip(batches, _load_ahead(Path(data_dir), batches), strict=True),
        total=len(batches),
        description=description,
        disable=not progress,
    ):
        images = torch.from_numpy(stack(batch, samples)).to(device)
        found = predict_modes(partial(forward, model, precision=precision), images, modes)
        for probabilities, pixels in found.values():
            _check_finite(batch, probabilities, pixels)
        yield batch, samples, found


def _check_finite(batch: list[Any], probabilities: np.ndarray, pixels: np.ndarray) -> None:
    finite = np.isfinite(probabilities) & np.isfinite(pixels).all(axis=(1, 2))
    if not finite.all():
        raise DataError(
            f"{batch[int(np.argmin(finite))].path}: the model's output is NaN or infinite; check the "
            "checkpoint, and the sample with `python -m brainmtl.check data_dir=...`"
        )


def check_options(batch_size: int, precision: str) -> None:
    """Refuse values that cannot work before any file is opened."""
    check_count("batch_size", batch_size)
    if precision not in ("32", "bf16"):
        raise ConfigError(f"precision={precision} is unknown: choose 32 or bf16")


def stack(rows: Sequence[Any], samples: Sequence[Sample]) -> np.ndarray:
    """Images of one batch as (B, C, 256, 256); DataError where the channel counts differ."""
    channels = {sample.image.shape[0] for sample in samples}
    if len(channels) > 1:
        odd = next(
            r for r, s in zip(rows, samples, strict=True) if s.image.shape[0] == max(channels)
        )
        raise DataError(
            f"{odd.path} has {max(channels)} channels, others {min(channels)}: evaluate sources of "
            "different channel counts apart (sources=[...])"
        )
    return np.stack([sample.image for sample in samples])


def _load_ahead(data_dir: Path, batches: list[list[Any]]) -> Iterator[list[Sample]]:
    """Samples batch by batch; the next batch is read while the caller works on this one."""
    with ThreadPoolExecutor(READERS) as pool:
        pending = None
        for batch in batches:
            upcoming = [pool.submit(read_sample, data_dir / row.path) for row in batch]
            if pending is not None:
                yield [future.result() for future in pending]
            pending = upcoming
        if pending is not None:
            yield [future.result() for future in pending]
