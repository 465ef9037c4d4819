from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from prepared import both_sources, brats_slices, kaggle_images, write_prepared

from brainmtl.data.loading.datasets import MultiSourceDataset
from brainmtl.data.manifest import read_manifest
from brainmtl.data.statistics import dataset_statistics, inverse_frequency


def test_counts_and_ratios_by_hand(tmp_path: Path) -> None:
    both_sources(tmp_path)
    result = dataset_statistics(read_manifest(tmp_path))
    # BraTS: 36 slices, per 6: 3 tumour, 2 without, 1 unlabelled. Kaggle: 15, 5 without tumour.
    assert result["total_samples"] == 51
    assert result["brats_samples"] == 36 and result["kaggle_samples"] == 15
    assert result["brats_ratio"] == pytest.approx(36 / 51)
    assert result["kaggle_ratio"] == pytest.approx(15 / 51)
    assert result["labelled_samples"] == 30 + 15
    assert result["tumor_ratio"] == pytest.approx((18 + 10) / 45)
    assert result["tumor_ratio_per_source"] == pytest.approx({"brats": 18 / 30, "kaggle": 10 / 15})
    assert result["samples_per_source"] == {"brats": 36, "kaggle": 15}


def test_dataset_and_frame_agree(tmp_path: Path) -> None:
    both_sources(tmp_path)
    frame = read_manifest(tmp_path)
    expected = dataset_statistics(frame[frame["split"] == "train"])
    assert MultiSourceDataset(tmp_path, "train").get_statistics() == expected
    assert expected["total_samples"] == 33


def test_ratio_over_nothing_is_none(tmp_path: Path) -> None:
    unlabelled = [{**s, "label": -1} for s in brats_slices("b", "train", 3)]
    write_prepared(tmp_path, [*unlabelled, *kaggle_images("train", 2)])
    result = dataset_statistics(read_manifest(tmp_path))
    assert result["tumor_ratio_per_source"] == {"brats": None, "kaggle": 0.5}
    assert dataset_statistics(read_manifest(tmp_path).iloc[:0])["brats_ratio"] is None


def test_inverse_frequency() -> None:
    labels = np.array([0, 1, 1, 1, -1, -1])
    weights = inverse_frequency(labels)
    assert weights.tolist() == pytest.approx([2.0, 2 / 3])
    assert weights[labels[labels >= 0]].mean() == pytest.approx(1.0)
    assert inverse_frequency(np.array([1, 1, -1])).tolist() == [1.0, 1.0]
