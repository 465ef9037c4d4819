"""What a model says about clean, corrupted and transformed images: one line per image and condition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.data.samples import Sample, read_sample
from brainmtl.errors import ConfigError, DataError
from brainmtl.evaluation.metrics import dice
from brainmtl.evaluation.predict import check_options, forward, stack
from brainmtl.evaluation.robustness.corruptions import CORRUPTIONS, LEVELS, corrupt, image_seed
from brainmtl.evaluation.robustness.metamorphic import CHECKS, agreement

if TYPE_CHECKING:
    import pandas as pd

    from brainmtl.models.multitask import MultiTaskModel

CLEAN = "clean"


@dataclass(frozen=True)
class Answers:
    """Of N images: calibrated probability (N,), call (N,) bool, mask (N, H, W) bool."""

    calibrated: np.ndarray
    calls: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True)
class Predictor:
    """A model with its operating point; one pass per image, masks as they come (not cleaned).

    ``temperature`` > 0 divides the class logits; an image is called tumour from a calibrated
    probability of ``threshold`` on, a pixel from ``seg_threshold`` in (0, 1) on.
    """

    model: MultiTaskModel
    temperature: float
    threshold: float
    seg_threshold: float
    device: str = "cpu"
    precision: str = "32"

    def __post_init__(self) -> None:
        check_options(1, self.precision)
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise ConfigError(f"temperature={self.temperature} must be a number above 0")
        if not np.isfinite(self.threshold):
            raise ConfigError(f"threshold={self.threshold} must be a number")
        if not 0 < self.seg_threshold < 1:
            raise ConfigError(
                f"seg_threshold={self.seg_threshold} must lie between 0 and 1 (both excluded)"
            )
        self.model.to(self.device).eval()

    def __call__(self, images: np.ndarray) -> Answers:
        """Answers about float32 images (N, C, H, W); DataError where they are not finite."""
        import torch

        from brainmtl.inference.operating import calibration

        batch = torch.from_numpy(images).to(self.device)
        probability, pixels = forward(self.model, batch, precision=self.precision)
        if not (np.isfinite(probability).all() and np.isfinite(pixels).all()):
            raise DataError("the model's output is NaN or infinite: check the checkpoint")
        calibrated = calibration.apply(probability, self.temperature)
        return Answers(calibrated, calibrated >= self.threshold, pixels >= self.seg_threshold)


def observe(
    predictor: Predictor,
    data_dir: str | Path,
    chosen: pd.DataFrame,
    *,
    seed: int = 0,
    batch_size: int = 16,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """One dict per row of ``chosen`` (rows of the manifest) and condition.

    Keys: ``source, synthetic, image_id, group, cls, condition`` ("clean", a corruption or a check),
    ``level`` (1 to 5, else 0), ``calibrated, call, dice`` (None without reference, or on an empty
    one), ``change`` (|dP| against the image that it is compared with, P calibrated), ``flipped``
    (1 where the call differs from that image's, else 0), ``mask_dice`` (of these two masks; checks only).

    Raises:
        DataError: an unreadable sample, or a network output that is not finite.
    """
    from rich.progress import track

    check_options(batch_size, predictor.precision)
    batches = [
        rows[start : start + batch_size]
        for _, part in chosen.groupby(chosen["source"].astype(str))
        for rows in [list(part.itertuples(index=False))]
        for start in range(0, len(rows), batch_size)
    ]
    conditions = 1 + LEVELS * len(CORRUPTIONS) + len(CHECKS)
    parts = track(
        (part for batch in batches for part in _batch(predictor, Path(data_dir), batch, seed)),
        total=len(batches) * conditions,
        description="robustness",
        disable=not progress,
    )
    return [line for part in parts for line in part]


def _batch(
    predictor: Predictor, data_dir: Path, rows: Sequence[Any], seed: int
) -> Iterator[list[dict[str, Any]]]:
    """The lines of one batch, condition by condition."""
    samples = [read_sample(data_dir / row.path) for row in rows]
    clean = predictor(stack(rows, samples))
    yield _lines(rows, CLEAN, 0, clean, clean, [sample.mask for sample in samples])
    for name in CORRUPTIONS:
        for level in range(1, LEVELS + 1):
            images, masks = _corrupted(rows, samples, name, level, seed)
            yield _lines(rows, name, level, predictor(images), clean, masks)
    for name in CHECKS:
        yield _checked(predictor, rows, samples, clean, name, seed)


def _corrupted(
    rows: Sequence[Any], samples: Sequence[Sample], name: str, level: int, seed: int
) -> tuple[np.ndarray, list[np.ndarray | None]]:
    images, masks = [], []
    for row, sample in zip(rows, samples, strict=True):
        own = image_seed(seed, row.image_id, name)
        try:
            image, mask = corrupt(sample.image, sample.mask, name, level, own)
        except DataError as error:
            raise DataError(f"{row.path}: {error}") from error
        images.append(image)
        masks.append(mask)
    return np.stack(images), masks


def _checked(
    predictor: Predictor,
    rows: Sequence[Any],
    samples: Sequence[Sample],
    clean: Answers,
    name: str,
    seed: int,
) -> list[dict[str, Any]]:
    _, make = CHECKS[name]
    variants = [
        make(sample.image, np.random.default_rng(image_seed(seed, row.image_id, name)))
        for row, sample in zip(rows, samples, strict=True)
    ]
    changed = predictor(np.stack([variant.changed for variant in variants]))
    if variants[0].original is not None:
        clean = predictor(np.stack([variant.original for variant in variants]))
    lines = _lines(rows, name, 0, changed, clean, [None] * len(rows))
    for line, variant, one, other in zip(lines, variants, changed.masks, clean.masks, strict=True):
        line["mask_dice"] = agreement(*variant.undo(one, other))
    return lines


def _lines(
    rows: Sequence[Any],
    condition: str,
    level: int,
    answers: Answers,
    compared: Answers,
    references: Sequence[np.ndarray | None],
) -> list[dict[str, Any]]:
    return [
        {
            "source": str(row.source),
            "synthetic": int(row.synthetic),
            "image_id": str(row.image_id),
            "group": str(row.group),
            "cls": int(row.label),
            "condition": condition,
            "level": level,
            "calibrated": float(answers.calibrated[k]),
            "call": int(answers.calls[k]),
            "dice": None if reference is None else dice(answers.masks[k], reference > 0),
            "change": float(abs(answers.calibrated[k] - compared.calibrated[k])),
            "flipped": int(answers.calls[k] != compared.calls[k]),
            "mask_dice": None,
        }
        for k, (row, reference) in enumerate(zip(rows, references, strict=True))
    ]
