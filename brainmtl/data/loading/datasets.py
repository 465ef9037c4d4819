"""Prepared samples as a torch dataset: several sources, each with or without masks and labels.

Start-up reads ``manifest.csv`` and nothing else. What stays in memory is a handful of numpy columns
(about 100 bytes a row), which forked workers share without copying; no list of Python objects.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

from brainmtl.data.half import from_half
from brainmtl.data.loading.sampling import Pool, SampleKey
from brainmtl.data.manifest import read_manifest
from brainmtl.data.samples import read_for_training
from brainmtl.data.selection import (
    PREPARE_COMMAND,
    Sources,
    name_list,
    present_sources,
    resolve_sources,
    select_rows,
)
from brainmtl.data.statistics import count_statistics
from brainmtl.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
Transform = Callable[[dict[str, Any]], dict[str, Any]]


class MultiSourceDataset(Dataset[dict[str, Any]]):
    """Samples of the sources in the segmentation role and of those in the classification role.

    Args:
        data_dir: a prepared folder, with its ``manifest.csv``.
        split: "train", "val", "test", or several of them.
        seg_sources, cls_sources: source names by role, or "auto" (see
            :func:`brainmtl.data.selection.resolve_sources`). A source the folder lacks is passed
            over, so either role may be empty, but not both.
        transform: called with each sample dict, returns one of the same form. One that has
            ``set_random_state(seed)`` (MONAI's convention) is seeded for every sample from (seed,
            epoch, index, repeat), so that workers and their order make no difference.
        fold: cross-validation fold instead of the prepared splits (``assign_splits``).
        limit: at most so many samples per source, for quick tests.
        manifest: ``read_manifest(data_dir)``, where it was read already.

    Indexing with an int or a :class:`SampleKey` gives ``image`` (C, 256, 256) float32, ``mask``
    (256, 256) uint8 {0, 1} or None, ``cls`` 1 tumour, 0 none, -1 no label, ``has_label``,
    ``source``, ``has_mask`` and ``image_id``.

    Raises:
        DataError: no manifest, no sample selected, or (on access) a sample that is broken or
            contradicts the manifest.
    """

    def __init__(
        self,
        data_dir: str | Path,
        split: str | Sequence[str] = "train",
        seg_sources: Sources = ("brats",),
        cls_sources: Sources = ("kaggle",),
        transform: Transform | None = None,
        *,
        fold: int | None = None,
        limit: int | None = None,
        seed: int = 0,
        manifest: pd.DataFrame | None = None,
    ) -> None:
        frame = read_manifest(data_dir) if manifest is None else manifest
        self.data_dir = Path(data_dir)
        self.transform = transform
        self._copies: list[Transform | None] = []  # of the transform, for threads beside the first
        self.seed = seed
        self.seg_sources, self.cls_sources = resolve_sources(frame, seg_sources, cls_sources)
        sources = sorted({*self.seg_sources, *self.cls_sources})
        splits = name_list(split)
        rows = select_rows(frame, sources, splits, fold, limit)
        if len(rows) == 0:
            raise DataError(
                f"{data_dir} holds no samples of {sources} in split {splits}; present are "
                f"{present_sources(frame)}. Name one of them, or run `{PREPARE_COMMAND}`"
            )
        self._take_columns(frame.iloc[rows])

    def _take_columns(self, part: pd.DataFrame) -> None:
        codes, names = part["source"].factorize(sort=True)
        self.source_names = [str(name) for name in names]
        self.source_codes = np.asarray(codes, dtype=np.int16)
        self.labels = part["label"].to_numpy(dtype=np.int8)
        self.has_mask = part["has_mask"].to_numpy(dtype=bool)
        # Fixed-width bytes: a list of str would have its reference counts, and so its pages, copied
        # into every worker.
        self._image_ids = np.array([text.encode() for text in part["image_id"].tolist()])
        self._paths = np.array([text.encode() for text in part["path"].tolist()])

    def __len__(self) -> int:
        return len(self.labels)

    def image_id(self, index: int) -> str:
        """Name of a sample, unique within its source."""
        return self._image_ids[index].decode()

    def source(self, index: int) -> str:
        """Source of a sample."""
        return self.source_names[self.source_codes[index]]

    def path(self, index: int) -> Path:
        """The sample's file."""
        return self.data_dir / self._paths[index].decode()

    def __getitem__(self, key: int | SampleKey) -> dict[str, Any]:
        return self._sample(key, self.transform)

    def __getitems__(self, keys: Sequence[int | SampleKey]) -> list[dict[str, Any]]:
        """A batch, as a DataLoader asks for it: on as many threads as torch has (in a worker: one).

        Without workers, torch's own threads wait meanwhile. Each thread has a copy of the
        transform, since that keeps the state that it is seeded with.
        """
        count = min(torch.get_num_threads(), len(keys))
        if count < 2:
            return [self[key] for key in keys]
        while len(self._copies) < count - 1:
            self._copies.append(copy.deepcopy(self.transform))

        def share(first: int) -> list[dict[str, Any]]:
            transform = self._copies[first - 1] if first else self.transform
            return [self._sample(key, transform) for key in keys[first::count]]

        with ThreadPoolExecutor(count) as pool:
            shares = list(pool.map(share, range(count)))
        return [shares[k % count][k // count] for k in range(len(keys))]

    def _sample(self, key: int | SampleKey, transform: Transform | None) -> dict[str, Any]:
        index, epoch, repeat = key if isinstance(key, tuple) else SampleKey(int(key))
        image, stored_label, mask = read_for_training(self.path(index))
        label = int(self.labels[index])
        if stored_label != label or (mask is not None) != self.has_mask[index]:
            raise DataError(
                f"{self.path(index)} contradicts manifest.csv (its label is {stored_label}, the "
                f"manifest's {label}; or only one of them knows a mask): run `{PREPARE_COMMAND}`"
            )
        sample = {
            "image": torch.from_numpy(from_half(image)),
            "mask": None if mask is None else torch.from_numpy(mask),
            "cls": label,
            "has_label": label >= 0,
            "source": self.source(index),
            "has_mask": mask is not None,
            "image_id": self.image_id(index),
        }
        if transform is None:
            return sample
        if hasattr(transform, "set_random_state"):
            transform.set_random_state(seed=sample_seed(self.seed, epoch, index, repeat))
        return transform(sample)

    def pool(self, role: str) -> Pool:
        """Samples for training in the role "seg" or "cls", as the batch samplers take them.

        Samples with neither mask nor label teach nothing and are left out.
        """
        if role not in ("seg", "cls"):
            raise ConfigError(f"role={role!r} must be 'seg' or 'cls'")
        wanted = self.seg_sources if role == "seg" else self.cls_sources
        codes = [code for code, name in enumerate(self.source_names) if name in wanted]
        chosen = np.flatnonzero(
            np.isin(self.source_codes, codes) & (self.has_mask | (self.labels >= 0))
        )
        name = "+".join(self.source_names[code] for code in codes) or "+".join(wanted)
        return Pool(
            name,
            chosen,
            self.labels[chosen],
            self.source_codes[chosen],
        )

    def get_statistics(self) -> dict[str, Any]:
        """Counts and ratios of this dataset: see ``statistics.count_statistics``."""
        return count_statistics(
            self.source_codes,
            self.source_names,
            self.labels,
            self.seg_sources,
            self.cls_sources,
        )


class BraTSOnlyDataset(MultiSourceDataset):
    """Only the sources in the segmentation role; arguments as in :class:`MultiSourceDataset`."""

    def __init__(
        self,
        data_dir: str | Path,
        split: str | Sequence[str] = "train",
        seg_sources: Sources = ("brats",),
        transform: Transform | None = None,
        **options: Any,
    ) -> None:
        super().__init__(data_dir, split, seg_sources, (), transform, **options)


class KaggleOnlyDataset(MultiSourceDataset):
    """Only the sources in the classification role; arguments as in :class:`MultiSourceDataset`."""

    def __init__(
        self,
        data_dir: str | Path,
        split: str | Sequence[str] = "train",
        cls_sources: Sources = ("kaggle",),
        transform: Transform | None = None,
        **options: Any,
    ) -> None:
        super().__init__(data_dir, split, (), cls_sources, transform, **options)


def sample_seed(seed: int, epoch: int, index: int, repeat: int = 0) -> int:
    """32-bit seed of one draw of one sample: what its augmentation depends on, and nothing else."""
    return int(np.random.SeedSequence([seed, epoch, index, repeat]).generate_state(1)[0])


def evaluation_datasets(
    data_dir: Path,
    split: str,
    seg_sources: Sequence[str],
    cls_sources: Sequence[str],
    *,
    fold: int | None,
    limit: int | None,
    manifest: pd.DataFrame,
) -> dict[str, MultiSourceDataset]:
    """One dataset per source with samples in ``split``; the others are named in a warning."""
    datasets = {}
    for name in dict.fromkeys([*seg_sources, *cls_sources]):
        if len(select_rows(manifest, [name], [split], fold)) == 0:
            log.warning(
                "no %s samples of source %s in %s: it is not evaluated", split, name, data_dir
            )
            continue
        datasets[name] = MultiSourceDataset(
            data_dir,
            split,
            [name] if name in seg_sources else (),
            [name] if name in cls_sources else (),
            fold=fold,
            limit=limit,
            manifest=manifest,
        )
    return datasets
