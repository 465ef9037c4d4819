"""What the surroundings of the brain do to P(tumour): exchanged between sources, or taken away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE
from brainmtl.evaluation.shortcuts.images import at_most, sample_batches
from brainmtl.evaluation.shortcuts.network import calibrated_probabilities
from brainmtl.evaluation.shortcuts.regions import (
    Rim,
    brain_region,
    find_rim,
    head_region,
    swap_surroundings,
)

if TYPE_CHECKING:
    import pandas as pd

    from brainmtl.models.multitask import MultiTaskModel

PAIR_SHARE = 0.5  # of the images per source, in each pair of sources


@dataclass(frozen=True)
class Picture:
    """A test image (C, H, W) with its brain (H, W), what it is, and what the model said of it."""

    image: np.ndarray
    brain: np.ndarray
    group: str
    label: int
    probability: float
    call: bool


def background_report(
    model: MultiTaskModel,
    data_dir: str | Path,
    test: pd.DataFrame,
    operating_point: Mapping[str, Any],
    *,
    limit: int,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """How far calibrated P(tumour) moves when the surroundings of the brain change.

    Both times it is that of one pass: beside the mean over an image and its mirror image, which
    test-time augmentation gives, P would move where nothing was changed.

    Args:
        operating_point: its ``temperature`` and ``threshold``.
        limit: images per source; half as many per ordered pair of sources.

    Returns:
        ``rims`` per source (how deep scalp and skull reach, see :func:`.regions.find_rim`);
        ``swaps`` per brain's source and surroundings' source, the same source twice being the
        control; ``blanked`` per source: ``surroundings`` (background up to the brain) and ``head``
        (the head filled with its mean, 0: nothing left but its outline).
    """
    images, chosen = _read(data_dir, at_most(test, limit), progress)
    rims = {source: find_rim(own) for source, own in images.items()}
    ask = Question(model, operating_point)
    pictures = {
        source: _pictures(ask, own, chosen[source], rims[source]) for source, own in images.items()
    }
    return {
        "rims": {source: _describe(rims[source], images[source]) for source in images},
        "swaps": _swaps(ask, pictures, max(1, round(PAIR_SHARE * limit)), seed),
        "blanked": {source: _blanked(ask, own, rims[source]) for source, own in pictures.items()},
    }


@dataclass(frozen=True)
class Question:
    """A model at an operating point: how its answer about altered images differs."""

    model: MultiTaskModel
    operating_point: Mapping[str, Any]

    def answers(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Calibrated P (N,) of images (C, H, W), and whether each is called tumour, (N,) bool."""
        found = calibrated_probabilities(self.model, images, self.operating_point)
        return found, found >= self.operating_point["threshold"]

    def movement(
        self, pictures: Sequence[Picture], altered: Sequence[np.ndarray]
    ) -> dict[str, Any]:
        """Mean absolute and signed change of P, and flips of the call with their counts."""
        after, calls = self.answers(altered)
        before = np.array([picture.probability for picture in pictures])
        called = np.array([picture.call for picture in pictures])
        change = after - before
        return {
            "n": len(pictures),
            "n_tumour": sum(picture.label == 1 for picture in pictures),
            "mean_absolute_change": float(np.abs(change).mean()),
            "mean_change": float(change.mean()),
            "mean_probability_before": float(before.mean()),
            "mean_probability_after": float(after.mean()),
            "flips": {
                "counts": [int((calls != called).sum()), len(called)],
                "to_tumour": {"counts": [int((calls & ~called).sum()), int((~called).sum())]},
                "to_no_tumour": {"counts": [int((~calls & called).sum()), int(called.sum())]},
            },
        }


def _read(
    data_dir: str | Path, part: pd.DataFrame, progress: bool
) -> tuple[dict[str, list[np.ndarray]], dict[str, list[Any]]]:
    images: dict[str, list[np.ndarray]] = {}
    chosen: dict[str, list[Any]] = {}
    batches = sample_batches(data_dir, part, text="surroundings", progress=progress)
    for rows, samples in batches:
        for row, sample in zip(rows, samples, strict=True):
            images.setdefault(str(row.source), []).append(sample.image)
            chosen.setdefault(str(row.source), []).append(row)
    return images, chosen


def _pictures(
    ask: Question, images: Sequence[np.ndarray], rows: Sequence[Any], rim: Rim
) -> list[Picture]:
    return [
        Picture(
            image,
            brain_region(image, rim),
            str(row.group),
            int(row.label),
            float(probability),
            bool(call),
        )
        for image, row, probability, call in zip(images, rows, *ask.answers(images), strict=True)
    ]


def _describe(rim: Rim, images: Sequence[np.ndarray]) -> dict[str, Any]:
    heads = [head_region(image) for image in images]
    return {
        "stripped": rim.stripped,
        "depth": rim.depth,
        "drop": rim.drop,
        "n": rim.n,
        "background_share": float(np.mean([1 - head.mean() for head in heads])),
        "n_without_background": sum(bool(head.all()) for head in heads),
    }


def _swaps(
    ask: Question, pictures: Mapping[str, Sequence[Picture]], per_pair: int, seed: int
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for first, brain_source in enumerate(pictures):
        found[brain_source] = {}
        for second, donor_source in enumerate(pictures):
            rng = np.random.default_rng([seed, first, second])
            own = pictures[brain_source]
            taken = [own[k] for k in rng.permutation(len(own))[:per_pair]]
            donors = _donors(pictures[donor_source])
            found[brain_source][donor_source] = _swap(ask, taken, donors, rng)
    return found


def _donors(pictures: Sequence[Picture]) -> list[Picture]:
    """Images without tumour (all, where every image has one), the half with the largest brains.

    A tumour left in the donor's rim would be a reason to say tumour; a brain resized to the few
    pixels of a volume's last slice would be a reason not to.
    """
    healthy = [picture for picture in pictures if picture.label == 0] or list(pictures)
    by_size = sorted(healthy, key=lambda picture: -int(picture.brain.sum()))
    return by_size[: (len(by_size) + 1) // 2]


def _swap(
    ask: Question, pictures: Sequence[Picture], donors: Sequence[Picture], rng: np.random.Generator
) -> dict[str, Any]:
    used, composites = [], []
    for picture in pictures:
        others = [donor for donor in donors if donor.group != picture.group]
        if not others or not picture.brain.any():
            continue
        donor = others[rng.integers(len(others))]
        used.append(picture)
        composites.append(
            swap_surroundings(picture.image, picture.brain, donor.image, donor.brain)[0]
        )
    if not used:
        return {"n": 0, "reason": "no image of another patient to take the surroundings from"}
    with_tumour = any(donor.label == 1 for donor in donors)
    return ask.movement(used, composites) | {"donors_without_tumour": not with_tumour}


def _blanked(ask: Question, pictures: Sequence[Picture], rim: Rim) -> dict[str, Any]:
    brains, outlines = [], []
    for picture in pictures:
        brains.append(
            np.where(picture.brain, picture.image, BACKGROUND_VALUE).astype(picture.image.dtype)
        )
        outline = np.where(head_region(picture.image), 0.0, BACKGROUND_VALUE)
        outlines.append(np.broadcast_to(outline, picture.image.shape).astype(np.float32))
    surroundings = (
        {"n": 0, "reason": "skull-stripped: the brain is surrounded by background already"}
        if rim.stripped
        else ask.movement(pictures, brains)
    )
    return {"surroundings": surroundings, "head": ask.movement(pictures, outlines)}
