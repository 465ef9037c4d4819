"""The LightningDataModule: sources by role, four kinds of training loader."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from brainmtl.data.loading.batches import (
    AlternatingBatchSampler,
    EpochBatchSampler,
    MixedBatchSampler,
    SingleBatchSampler,
)
from brainmtl.data.loading.collate import multitask_collate
from brainmtl.data.loading.datasets import MultiSourceDataset, Transform, evaluation_datasets
from brainmtl.data.manifest import Manifest, load_manifest
from brainmtl.data.selection import (
    PREPARE_COMMAND,
    Sources,
    check_sources,
    name_list,
    present_sources,
    resolve_sources,
    select_rows,
)
from brainmtl.data.statistics import dataset_statistics, inverse_frequency
from brainmtl.errors import ConfigError

log = logging.getLogger(__name__)
LOADERS = {
    "mixed": ("seg", "cls"),
    "alternating": ("seg", "cls"),
    "brats_only": ("seg",),
    "kaggle_only": ("cls",),
}


class MultiTaskDataModule(pl.LightningDataModule):
    """Loaders over a prepared folder; works with and without a Trainer.

    Args:
        data_dir: prepared folder; only its ``manifest.csv`` is read before the first batch.
        seg_sources, cls_sources: which sources play which role, or "auto" (the real ones by what
            they hold; synthetic ones only where there are no real ones).
        loader: "mixed" (both roles in every batch), "alternating" (whole batches in turn),
            "brats_only" (segmentation role) or "kaggle_only" (classification role).
        batch_size: samples per batch, in training and evaluation; the tail batch is kept.
        num_workers: worker processes; None: :func:`default_workers`.
        mixed_ratio: share of the segmentation role in a batch of loader="mixed".
        balance_labels: draw tumour and no tumour equally often within a role.
        balance_sources: draw the sources of a role equally often, whatever their sizes.
        images_per_epoch: images that a training epoch draws, rounded up to whole batches
            (alternating: pairs of batches), however many there are; None: one pass over the larger
            role.
        augmentation: transform of training samples (:mod:`brainmtl.data.augmentation.compose`), or None.
        seed: with the epoch, all that order and augmentation depend on.
        fold: cross-validation fold k: test = k, val = k + 1 (mod K), train = the rest.
        max_train_samples, max_eval_samples: at most so many per source, for quick tests.
        pin_memory: None: where there is a GPU.
        rank, world_size: this process's share of the training batches; a Trainer (with
            ``use_distributed_sampler=False``) says it itself. Evaluation has no shares: every
            process sees all of it.
        manifest: ``load_manifest(data_dir)``, where it was loaded already.

    After construction ``manifest``, ``manifest_sha256``, ``seg_sources`` and ``cls_sources`` are
    set. ``val_names`` and ``test_names`` give the source of each evaluation loader, in order.
    """

    def __init__(
        self,
        data_dir: str | Path,
        seg_sources: Sources = ("brats",),
        cls_sources: Sources = ("kaggle",),
        loader: str = "mixed",
        batch_size: int = 16,
        num_workers: int | None = None,
        mixed_ratio: float = 0.5,
        balance_labels: bool = True,
        balance_sources: bool = False,
        images_per_epoch: int | None = None,
        augmentation: Transform | None = None,
        seed: int = 0,
        fold: int | None = None,
        max_train_samples: int | None = None,
        max_eval_samples: int | None = None,
        pin_memory: bool | None = None,
        rank: int = 0,
        world_size: int = 1,
        manifest: Manifest | None = None,
    ) -> None:
        super().__init__()
        if loader not in LOADERS:
            raise ConfigError(f"loader={loader!r} must be one of {', '.join(LOADERS)}")
        self.data_dir = Path(data_dir)
        self.loader, self.batch_size = loader, int(batch_size)
        self.seed, self.fold = int(seed), fold
        self.mixed_ratio, self.balance_labels = float(mixed_ratio), bool(balance_labels)
        self.balance_sources = bool(balance_sources)
        self.images_per_epoch = None if images_per_epoch is None else int(images_per_epoch)
        self.augmentation = augmentation
        self.max_train_samples = max_train_samples
        self.max_eval_samples = max_eval_samples
        self.num_workers = default_workers() if num_workers is None else int(num_workers)
        self.pin_memory = torch.cuda.is_available() if pin_memory is None else bool(pin_memory)
        self.rank, self.world_size = rank, world_size
        manifest = manifest or load_manifest(self.data_dir)
        self.manifest, self.manifest_sha256 = manifest.frame, manifest.sha256
        self.seg_sources, self.cls_sources = resolve_sources(
            self.manifest, seg_sources, cls_sources
        )
        self._train: MultiSourceDataset | None = None
        self._eval: dict[str, dict[str, MultiSourceDataset]] = {}
        self._batches: EpochBatchSampler | None = None

    def setup(self, stage: str | None = None) -> None:
        """Select the samples of ``stage`` ("fit", "validate", "test"; None: all of them).

        Raises:
            ConfigError: the loader needs a role for which there is no training sample.
        """
        if stage in (None, "fit") and self._train is None:
            self._train = self._train_dataset()
            self._batches = self._batch_sampler(self._train)
        if self._batches is not None and self.trainer is not None:
            self._batches.share(self.trainer.global_rank, self.trainer.world_size)
        for split, stages in (("val", ("fit", "validate")), ("test", ("test",))):
            if stage is None or stage in stages:
                self._eval_split(split)

    def train_dataloader(self) -> DataLoader:
        """Training loader; Lightning, or :meth:`set_epoch`, tells it the epoch."""
        return self._loader(self.train_dataset, batch_sampler=self.train_batches)

    def val_dataloader(self) -> list[DataLoader]:
        """One loader per source with validation samples, in order of ``val_names``."""
        return self._eval_loaders("val")

    def test_dataloader(self) -> list[DataLoader]:
        """One loader per source with test samples, in order of ``test_names``."""
        return self._eval_loaders("test")

    @property
    def val_names(self) -> list[str]:
        """Source of each validation loader."""
        return list(self._eval_split("val"))

    @property
    def val_datasets(self) -> dict[str, MultiSourceDataset]:
        """The validation samples of each source that has some."""
        return dict(self._eval_split("val"))

    @property
    def test_names(self) -> list[str]:
        """Source of each test loader."""
        return list(self._eval_split("test"))

    @property
    def train_dataset(self) -> MultiSourceDataset:
        """The training samples."""
        self.setup("fit")
        assert self._train is not None
        return self._train

    @property
    def train_batches(self) -> EpochBatchSampler:
        """The training batch sampler, with ``repeats`` of the current epoch."""
        self.setup("fit")
        assert self._batches is not None
        return self._batches

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Choose what the next pass over the training loader draws, and the batch it begins with.

        Lightning chooses the epoch itself, but in a resumed run only after the workers have begun.
        """
        self.train_batches.set_epoch(epoch)
        self.train_batches.start_at(first_batch)

    def class_weights(self, sources: Sequence[str] | None = None) -> torch.Tensor:
        """Inverse-frequency weights (2,) float32 of "no tumour" and "tumour", of mean 1.

        Frequencies are those of the labels which an epoch of the training loader draws (of
        ``sources``, or all): a loader that balances the labels already gives (1, 1), and weights on
        top of that would correct twice.
        """
        dataset = self.train_dataset
        drawn = np.concatenate(self.train_batches.draws(0))
        if sources is not None:
            codes = [
                code for code, name in enumerate(dataset.source_names) if name in list(sources)
            ]
            drawn = drawn[np.isin(dataset.source_codes[drawn], codes)]
        return torch.as_tensor(inverse_frequency(dataset.labels[drawn]), dtype=torch.float32)

    def statistics(self, split: str | Sequence[str] = "train") -> dict[str, Any]:
        """Counts and ratios of the samples of ``split``, as ``get_statistics`` of a dataset."""
        sources = sorted({*self.seg_sources, *self.cls_sources})
        rows = select_rows(self.manifest, sources, name_list(split), self.fold)
        return dataset_statistics(self.manifest.iloc[rows], self.seg_sources, self.cls_sources)

    def _train_dataset(self) -> MultiSourceDataset:
        roles = LOADERS[self.loader]
        wanted = {"seg": self.seg_sources, "cls": self.cls_sources}
        for role in roles:
            check_sources(self.manifest, f"data.{role}_sources", wanted[role], self.data_dir)
            if len(select_rows(self.manifest, wanted[role], ["train"], self.fold)) == 0:
                raise ConfigError(
                    f"loader={self.loader} needs training samples of data.{role}_sources="
                    f"{wanted[role]}, and {self.data_dir} has none; its sources are "
                    f"{present_sources(self.manifest)}. Prepare one (`{PREPARE_COMMAND}`), name "
                    "another, or choose another loader"
                )
        dataset = MultiSourceDataset(
            self.data_dir,
            "train",
            self.seg_sources if "seg" in roles else (),
            self.cls_sources if "cls" in roles else (),
            self.augmentation,
            fold=self.fold,
            limit=self.max_train_samples,
            seed=self.seed,
            manifest=self.manifest,
        )
        named = {name for role in roles for name in wanted[role]}
        for name in sorted(named - set(dataset.source_names)):
            log.warning("no train samples of %s in %s: it is not trained on", name, self.data_dir)
        return dataset

    def _batch_sampler(self, dataset: MultiSourceDataset) -> EpochBatchSampler:
        pools = [dataset.pool(role) for role in LOADERS[self.loader]]
        options: dict[str, Any] = {
            "balance_labels": self.balance_labels,
            "balance_sources": self.balance_sources,
            "images_per_epoch": self.images_per_epoch,
            "seed": self.seed,
            "rank": self.rank,
            "world_size": self.world_size,
        }
        if self.loader == "mixed":
            return MixedBatchSampler(pools, self.batch_size, self.mixed_ratio, **options)
        kind = AlternatingBatchSampler if self.loader == "alternating" else SingleBatchSampler
        return kind(pools, self.batch_size, **options)

    def _eval_split(self, split: str) -> dict[str, MultiSourceDataset]:
        if split not in self._eval:
            self._eval[split] = evaluation_datasets(
                self.data_dir,
                split,
                self.seg_sources,
                self.cls_sources,
                fold=self.fold,
                limit=self.max_eval_samples,
                manifest=self.manifest,
            )
        return self._eval[split]

    def _eval_loaders(self, split: str) -> list[DataLoader]:
        datasets = self._eval_split(split).values()
        return [
            self._loader(dataset, batch_size=self.batch_size, shuffle=False) for dataset in datasets
        ]

    def _loader(self, dataset: MultiSourceDataset, **options: Any) -> DataLoader:
        return DataLoader(
            dataset,
            collate_fn=multitask_collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=self.pin_memory,
            **options,
        )


def default_workers() -> int:
    """Cores that this process may use, less one for the training loop, at most 4.

    None where two cores train themselves: there a worker was slower than none
    (benchmarks/README.md), and the loader reads on both of them between the steps
    (:meth:`MultiSourceDataset.__getitems__`).
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    if cores <= 2 and not torch.cuda.is_available():
        return 0
    return min(cores - 1, 4)
