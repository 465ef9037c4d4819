"""Uploads that are refused whole: what the answer says, and a line of the audit log for every file."""

from __future__ import annotations

import gzip
import hashlib
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from fastapi.testclient import TestClient
from hostile import encode, nifti
from serving import audit_lines, upload

from brainmtl.serve.settings import Settings

CLASH = {"seg_threshold": 0.9, "cls_threshold": 0.2}


@pytest.mark.parametrize(
    ("shape", "count", "params", "status", "reason"),
    [
        ((5000, 5000), 2, {}, 413, "too_large"),
        ((96, 80), 9, CLASH, 422, "invalid_parameter"),  # more than go through the network together
    ],
)
def test_a_refused_batch_has_a_line_per_file(
    client: TestClient,
    settings: Settings,
    shape: tuple[int, int],
    count: int,
    params: dict[str, float],
    status: int,
    reason: str,
) -> None:
    files = [encode(np.full(shape, k, np.uint8)) for k in range(count)]
    sent = [("files", ("scan", data)) for data in files]
    answer = client.post("/predict_batch", files=sent, params=params)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    lines = audit_lines(settings.audit_log)
    assert [line["input_sha256"] for line in lines] == [
        hashlib.sha256(f).hexdigest() for f in files
    ]
    assert {line["request_id"] for line in lines} == {answer.json()["request_id"]}
    decisions = [line["decision"] for line in lines]
    assert decisions == [{"rejected": reason, "status": status}] * count


def of_voxels(*millimetres: float) -> bytes:
    planes = np.random.default_rng(0).integers(1, 900, (40, 40, 4)).astype(np.int16)
    return nib.Nifti1Image(planes, np.diag([*millimetres, 1.0])).to_bytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_volume_of_impossible_voxels(client: TestClient, settings: Settings, pack: Any) -> None:
    answer = client.post("/predict_volume", files=upload(pack(of_voxels(1e6, 1, 1))))
    values = answer.json()
    assert (answer.status_code, values["reason"]) == (422, "unreadable")
    assert "voxels are 1e+06 x 1 x 1 mm" in values["detail"] and "/tmp" not in values["detail"]
    (line,) = audit_lines(settings.audit_log)
    assert line["decision"] == {"rejected": "unreadable", "status": 422}
    assert client.post("/predict_volume", files=upload(of_voxels(1, 1, 4))).status_code == 200


def test_a_volume_with_too_many_slices(client: TestClient) -> None:
    levels = np.random.default_rng(0).integers(0, 2, (16, 16, 1100)).astype(np.uint8)
    answer = client.post("/predict_volume", files=upload(gzip.compress(nifti(levels))))
    assert (answer.status_code, answer.json()["reason"]) == (413, "too_large")
    assert "16 x 16 x 1100" in answer.json()["detail"]


def test_clashing_thresholds_are_told_by_the_names_and_digits_of_the_query(
    client: TestClient, settings: Settings
) -> None:
    picture = upload(encode(np.zeros((96, 80), np.uint8)))
    params = {"seg_threshold": 0.590094, "cls_threshold": 0.5900935655031387}
    detail = client.post("/predict_multitask", files=picture, params=params).json()["detail"]
    assert detail.startswith("seg_threshold=0.590094 lies above the threshold 0.5900935655031387:")
    assert detail.endswith("Choose seg_threshold <= 0.5900935655031387")
