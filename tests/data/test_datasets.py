from __future__ import annotations

import pickle
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from prepared import SIZE, both_sources, brats_slices, kaggle_images, write_prepared

from brainmtl.data.augmentation.compose import Augmentation, RandomAffine2d
from brainmtl.data.augmentation.intensity import RandGaussianNoise
from brainmtl.data.loading.datasets import (
    BraTSOnlyDataset,
    KaggleOnlyDataset,
    MultiSourceDataset,
    sample_seed,
)
from brainmtl.data.loading.sampling import SampleKey
from brainmtl.data.manifest import MANIFEST_COLUMNS, read_manifest
from brainmtl.data.samples import read_sample
from brainmtl.data.selection import assign_splits, resolve_sources, select_rows
from brainmtl.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    both_sources(tmp_path)
    return tmp_path


def test_samples_follow_the_contract(folder: Path) -> None:
    dataset = MultiSourceDataset(folder, "train")
    assert len(dataset) == 24 + 9
    for index in range(len(dataset)):
        sample = dataset[index]
        assert set(sample) == {
            *("image", "mask", "cls", "has_label", "source", "has_mask", "image_id")
        }
        assert sample["image"].shape == (1, SIZE, SIZE) and sample["image"].dtype == torch.float32
        assert sample["has_label"] == (sample["cls"] in (0, 1))
        if sample["source"] == "kaggle":
            assert sample["mask"] is None and sample["has_mask"] is False
        else:
            assert sample["has_mask"] is True and sample["mask"].dtype == torch.uint8
            assert sample["mask"].shape == (SIZE, SIZE)
        stored = read_sample(dataset.path(index))
        assert np.array_equal(sample["image"].numpy(), stored.image)
        assert sample["image_id"] == stored.metadata["image_id"]


def test_slice_with_few_tumour_pixels_has_a_mask_and_no_label(folder: Path) -> None:
    sample = next(s for s in map(MultiSourceDataset(folder).__getitem__, range(24)) if s["cls"] < 0)
    assert sample["cls"] == -1 and sample["has_label"] is False
    assert sample["has_mask"] is True and sample["mask"].sum() > 0


def test_single_source_datasets(folder: Path) -> None:
    brats, kaggle = BraTSOnlyDataset(folder, "train"), KaggleOnlyDataset(folder, "train")
    assert len(brats) == 24 and {brats.source(i) for i in range(24)} == {"brats"}
    assert len(kaggle) == 9 and {kaggle.source(i) for i in range(9)} == {"kaggle"}
    assert brats.get_statistics()["kaggle_samples"] == 0
    assert len(kaggle.pool("seg")) == 0 and len(kaggle.pool("cls")) == 9


@pytest.mark.parametrize("present", ["brats", "kaggle"])
def test_either_source_may_be_absent(tmp_path: Path, present: str) -> None:
    rows = brats_slices("b", "train", 6) if present == "brats" else kaggle_images("train", 6)
    write_prepared(tmp_path, rows)
    dataset = MultiSourceDataset(tmp_path, "train")
    assert len(dataset) == 6 and dataset[0]["source"] == present
    absent = KaggleOnlyDataset if present == "brats" else BraTSOnlyDataset
    with pytest.raises(DataError, match=rf"present are \['{present}'\].*brainmtl\.prepare"):
        absent(tmp_path, "train")


def test_start_up_opens_no_sample(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in folder.rglob("*.npz"):
        path.unlink()
    dataset = MultiSourceDataset(folder, ["train", "val", "test"])
    assert dataset.get_statistics()["total_samples"] == len(dataset) == 51
    with pytest.raises(DataError, match=r"b0_z040\.npz"):
        dataset[0]


def test_sample_that_contradicts_the_manifest(folder: Path) -> None:
    frame = read_manifest(folder)
    frame.loc[frame["source"] == "kaggle", "label"] = 0
    dataset = KaggleOnlyDataset(folder, "train", manifest=frame)
    assert dataset[0]["cls"] == 0
    with pytest.raises(DataError, match="contradicts"):
        dataset[1]


def test_transform_is_seeded_per_draw(folder: Path) -> None:
    class Record:
        seeds: ClassVar[list[int]] = []

        def set_random_state(self, seed: int) -> None:
            self.seeds.append(seed)

        def __call__(self, sample: dict) -> dict:
            return {**sample, "seen": True}

    dataset = MultiSourceDataset(folder, transform=Record(), seed=5)
    keys = [SampleKey(3, 0), SampleKey(3, 1), SampleKey(3, 1, 1), SampleKey(4, 0), SampleKey(3, 0)]
    assert all(dataset[key]["seen"] for key in keys)
    assert Record.seeds == [sample_seed(5, k.epoch, k.index, k.repeat) for k in keys]
    assert len(set(Record.seeds)) == 4
    plain = MultiSourceDataset(folder, transform=lambda sample: sample["image_id"])
    assert plain[0] == "b0_z040"


@pytest.mark.parametrize("threads", [2, 3, 40])
def test_threads_make_no_difference(folder: Path, threads: int) -> None:
    transform = Augmentation(
        RandomAffine2d(rotate_degrees=20), {"noise": RandGaussianNoise(0.5, 1.0)}
    )
    dataset = MultiSourceDataset(folder, transform=transform, seed=2)
    keys = [SampleKey(k % 33, k // 33) for k in range(50)]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = dataset.__getitems__(keys)
        torch.set_num_threads(threads)
        together = dataset.__getitems__(keys)
    finally:
        torch.set_num_threads(before)
    for key, first, second in zip(keys, alone, together, strict=True):
        assert torch.equal(first["image"], second["image"])
        assert torch.equal(first["image"], dataset[key]["image"])
        assert first["image_id"] == second["image_id"] == dataset.image_id(key.index)


def test_a_broken_sample_is_named_by_threads_too(folder: Path) -> None:
    dataset = MultiSourceDataset(folder)
    dataset.path(5).write_bytes(b"")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(DataError, match=dataset.path(5).name):
            dataset.__getitems__(range(8))
    finally:
        torch.set_num_threads(before)


def test_rows_without_annotation_are_not_trained_on(tmp_path: Path) -> None:
    write_prepared(tmp_path, [*kaggle_images("train", 3), *kaggle_images("train", 5, label=-1)[3:]])
    dataset = KaggleOnlyDataset(tmp_path)
    assert len(dataset) == 5 and len(dataset.pool("cls")) == 3
    with pytest.raises(ConfigError, match="role"):
        dataset.pool("both")


def test_auto_sources(tmp_path: Path) -> None:
    real = [*brats_slices("b", "train", 2), *kaggle_images("train", 2)]
    fake = [
        {**s, "source": f"phantom_{s['source']}", "case_id": "p" + s["case_id"], "synthetic": 1}
        for s in real
    ]
    write_prepared(tmp_path / "all", [*real, *fake])
    write_prepared(tmp_path / "fake", fake)
    write_prepared(tmp_path / "mixed", [*real[2:], *fake])
    frames = {name: read_manifest(tmp_path / name) for name in ("all", "fake", "mixed")}
    assert resolve_sources(frames["all"], "auto", ["auto"]) == (["brats"], ["kaggle"])
    assert resolve_sources(frames["fake"], "auto", "auto") == (
        ["phantom_brats"],
        ["phantom_kaggle"],
    )
    # Real and synthetic are never mixed without being asked for.
    assert resolve_sources(frames["mixed"], "auto", "auto") == ([], ["kaggle"])
    assert resolve_sources(frames["all"], "phantom_brats", None) == (["phantom_brats"], [])


def test_folds(folder: Path) -> None:
    frame = read_manifest(folder)
    splits = assign_splits(frame, fold=1)
    expected = {0: "train", 1: "test", 2: "val"}
    assert all(split == expected[fold] for split, fold in zip(splits, frame["fold"], strict=True))
    tested = [set(select_rows(frame, ["brats"], ["test"], k).tolist()) for k in range(3)]
    assert set.union(*tested) == set(np.flatnonzero(frame["source"] == "brats").tolist())
    assert sum(map(len, tested)) == len(set.union(*tested))
    with pytest.raises(ConfigError, match=r"split\.folds"):
        assign_splits(frame, fold=3)
    frame["fold"] = -1
    with pytest.raises(ConfigError, match=r"split\.folds"):
        MultiSourceDataset(folder, fold=0, manifest=frame)


def test_limit_keeps_labels_patients_and_order(folder: Path) -> None:
    dataset = MultiSourceDataset(folder, limit=6)
    again = MultiSourceDataset(folder, limit=6)
    ids = [dataset.image_id(i) for i in range(len(dataset))]
    assert ids == [again.image_id(i) for i in range(len(again))] and len(ids) == 12
    assert dataset.get_statistics()["samples_per_source"] == {"brats": 6, "kaggle": 6}
    assert {name[:2] for name in ids[:6]} == {"b0", "b1"}
    assert sorted(dataset.labels[:6].tolist()) == [-1, 0, 0, 1, 1, 1]
    with pytest.raises(ConfigError, match="limit"):
        MultiSourceDataset(folder, limit=0)


def test_columns_stay_small_and_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 20_000
    frame = pd.DataFrame(
        {
            "image_id": [f"case{k // 100:05d}_z{k % 100:03d}" for k in range(count)],
            "source": "brats",
            "split": "train",
            "case_id": [f"case{k // 100:05d}" for k in range(count)],
            "kind": "volume",
            "position": np.arange(count) % 100,
            "label": np.arange(count) % 2,
            "has_label": 1,
            "has_mask": 1,
            "synthetic": 0,
        }
    )
    frame["path"] = "brats/train/" + frame["image_id"] + ".npz"
    frame = frame.reindex(columns=list(MANIFEST_COLUMNS)).astype(
        {k: MANIFEST_COLUMNS[k] for k in ("source", "split", "case_id", "kind")}
    )
    dataset = MultiSourceDataset("nowhere", manifest=frame)
    # What a spawned worker receives; forked ones share it.
    assert len(pickle.dumps(dataset)) < 60 * count
    columns = [v for v in vars(dataset).values() if hasattr(v, "__len__") and len(v) == count]
    assert len(columns) == 5  # source, label, mask or none, name, path
    assert all(isinstance(v, np.ndarray) and v.dtype != object for v in columns)
