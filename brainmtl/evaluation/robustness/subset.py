"""Which images the robustness checks look at: some of each label, from as many patients as possible."""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import TYPE_CHECKING

import numpy as np

from brainmtl.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

# Slices of one patient resemble each other: more of them would count the patient, not add to it.
MAX_PER_GROUP = 4  # images of one patient (or duplicate group) and label


def choose_images(frame: pd.DataFrame, limit: int, seed: int) -> pd.DataFrame:
    """At most ``limit`` rows per source of ``frame`` (rows of the manifest), in its order.

    Each label of a source gets the same share of ``limit``, or all that it has. Within a label,
    patients take turns, in an order drawn from ``seed``; none gives more than
    :data:`MAX_PER_GROUP`. Rows without a label are drawn only where a source has no labels.

    Raises:
        ConfigError: an empty frame, or a limit below 2.
    """
    if limit < 2:
        raise ConfigError(f"limit={limit} must be at least 2: one image of each label")
    if frame.empty:
        raise ConfigError("no images to check for robustness: the frame has no rows")
    frame = frame.reset_index(drop=True)
    sources = frame["source"].astype(str)
    chosen: list[int] = []
    for source in sorted(sources.unique()):
        own = frame[sources == source]
        labels = sorted({0, 1} & set(own["label"].tolist())) or [-1]
        for label in labels:
            rng = np.random.default_rng([seed, label + 1])
            chosen += _take_turns(own[own["label"] == label], limit // len(labels), rng)
    return frame.loc[sorted(chosen)]


def _take_turns(rows: pd.DataFrame, count: int, rng: np.random.Generator) -> list[int]:
    """Index values of up to ``count`` rows: one of each group, then a second of each, ..."""
    groups = [part.index.to_numpy() for _, part in rows.groupby(rows["group"].astype(str))]
    drawn = [rng.permutation(groups[k])[:MAX_PER_GROUP] for k in rng.permutation(len(groups))]
    turns = chain.from_iterable(zip_longest(*drawn))
    return [int(index) for index in turns if index is not None][:count]
