"""The operating point: ranges, the file beside the checkpoint, options set by hand."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from brainmtl.config import CONF_DIR
from brainmtl.errors import BrainMTLError, ConfigError, DataError
from brainmtl.files import sha256
from brainmtl.inference.operating.operating_point import (
    OperatingPoint,
    operating_point_path,
    read_operating_point,
    write_operating_point,
)
from brainmtl.inference.operating.postprocess import PostprocessOptions


@pytest.fixture
def ckpt(tmp_path: Path) -> Path:
    path = tmp_path / "epoch=3-v1.best.ckpt"
    path.write_bytes(b"weights")
    return path


def fitted(ckpt: Path, **changes: Any) -> OperatingPoint:
    values = {
        "temperature": 1.7320508075688772,
        "threshold": 0.4142135623730951,
        "postprocess": PostprocessOptions(30, True, 0.25),
        "tta": "flip",
        "limit_ml": 0.5,
        "limit_voxels": 500.0,
        "checkpoint_sha256": sha256(ckpt),
        "manifest_sha256": "m" * 64,
        "counts": {"images": {"brats": {"tumour": 3, "no_tumour": 4}}},
        "remarks": ("one", "two"),
        "candidates": ({"tta": "flip", "dice": {"brats": 0.8}, "mean": 0.8, "chosen": True},),
        "fitted": True,
    }
    return OperatingPoint(**(values | changes))


def test_default_is_unfitted_and_says_so() -> None:
    point = OperatingPoint.default()
    assert (point.temperature, point.threshold, point.seg_gate) == (1.0, 0.5, 0.3)
    assert (point.seg_threshold, point.limit_ml, point.limit_voxels) == (0.5, 0.0, 0.0)
    assert point.postprocess == PostprocessOptions(0, False, 0.0) and point.tta == "none"
    assert not point.fitted and "not fitted" in point.remarks[0]
    assert OperatingPoint.default(threshold=0.7).threshold == 0.7
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.threshold = 0.1


@pytest.mark.parametrize(
    ("voxels", "voxel_ml", "call"),
    [(1000, 0.0005, False), (1001, 0.0005, True), (500, None, False), (501, None, True)],
)
def test_a_patient_is_called_above_the_limit(
    ckpt: Path, voxels: int, voxel_ml: float | None, call: bool
) -> None:
    """The limits are 0.5 ml and 500 voxels; those of an unfitted point are 0: one voxel exceeds them."""
    assert fitted(ckpt).patient_rule(voxels, voxel_ml).call == call
    assert OperatingPoint().patient_rule(1, voxel_ml).call
    assert not OperatingPoint().patient_rule(0, voxel_ml).call


def test_round_trip_beside_the_checkpoint(ckpt: Path) -> None:
    point = fitted(ckpt)
    path = write_operating_point(point, ckpt)
    assert path == operating_point_path(ckpt)
    assert path == ckpt.parent / "epoch=3-v1.best.ckpt.operating_point.json"
    assert read_operating_point(ckpt) == point
    assert ckpt.read_bytes() == b"weights"
    assert sorted(p.name for p in ckpt.parent.iterdir()) == [ckpt.name, path.name]
    assert OperatingPoint.from_dict(json.loads(json.dumps(point.to_dict()))) == point


def test_another_checkpoint_is_noticed(ckpt: Path) -> None:
    with pytest.raises(ValueError, match="another checkpoint"):
        write_operating_point(fitted(ckpt, checkpoint_sha256="0" * 64), ckpt)
    with pytest.raises(ValueError, match="another checkpoint"):
        write_operating_point(OperatingPoint.default(), ckpt)
    write_operating_point(fitted(ckpt), ckpt)
    ckpt.write_bytes(b"trained again")
    with pytest.raises(DataError, match=r"another checkpoint.*fit it again"):
        read_operating_point(ckpt)


def test_missing_file_is_named(ckpt: Path) -> None:
    with pytest.raises(DataError, match=r"operating_point\.json is missing: fit"):
        read_operating_point(ckpt)


@pytest.mark.parametrize("text", ["", "{", "\x00", "[1]", "null"])
def test_broken_file_is_named(ckpt: Path, text: str) -> None:
    operating_point_path(ckpt).write_text(text)
    with pytest.raises(DataError, match="delete it and fit it again"):
        read_operating_point(ckpt)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"version": 2}, DataError, "version 2, this code reads 1"),
        ({"version": None}, DataError, "version None"),
        ({"threshold": ...}, DataError, r"missing \(\['threshold'\]\)"),
        ({"cut": 0.4}, DataError, r"left over \(\['cut'\]\)"),
        ({"postprocess": {"fill_holes": True}}, DataError, "postprocess entry"),
        ({"postprocess": None}, DataError, "postprocess entry"),
        ({"counts": [1]}, DataError, "counts"),
        ({"remarks": "none"}, DataError, "remarks"),
        ({"candidates": {}}, DataError, "candidates"),
        ({"fitted": 1}, DataError, "fitted"),
        ({"split": "test"}, ConfigError, "val alone"),
        ({"temperature": "1"}, ConfigError, "temperature='1'"),
        ({"seg_gate": 0.9}, ConfigError, "could be labelled tumour without being segmented"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, dict) else None,
)
def test_edited_file_is_refused(
    ckpt: Path, changes: dict[str, Any], error: type[BrainMTLError], words: str
) -> None:
    values = fitted(ckpt).to_dict() | changes
    values = {key: value for key, value in values.items() if value is not ...}
    operating_point_path(ckpt).write_text(json.dumps(values))
    with pytest.raises(error, match=words) as caught:
        read_operating_point(ckpt)
    assert ckpt.name in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0.0},
        {"temperature": 21.0},
        {"temperature": math.nan},
        {"temperature": True},
        {"seg_gate": 0.0, "threshold": 0.0},
        {"threshold": 1.0},
        {"threshold": math.nan},
        {"threshold": None},
        {"seg_gate": -0.1},
        {"seg_gate": 0.51},
        {"seg_threshold": 1.0},
        {"limit_ml": -1.0},
        {"limit_voxels": math.inf},
        {"tta": "rotate"},
    ],
    ids=str,
)
def test_values_that_cannot_work_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(reversed(changes))):
        OperatingPoint(**changes)


def test_gate_at_the_threshold_and_gate_zero_are_allowed() -> None:
    assert OperatingPoint(threshold=0.3, seg_gate=0.3).seg_gate == 0.3
    assert OperatingPoint(seg_gate=0.0).seg_gate == 0.0


def test_options_set_by_hand_leave_a_remark(ckpt: Path) -> None:
    point = fitted(ckpt)
    assert point.with_options(None, tta=None, threshold=None) is point
    assert point.with_options({"fill_holes": True}, tta="flip") is point
    changed = point.with_options({"min_component_pixels": 0, "fill_holes": None}, threshold=0.6)
    assert changed.postprocess == PostprocessOptions(0, True, 0.25)
    assert changed.threshold == 0.6 and changed.tta == "flip"
    assert changed.remarks[:2] == ("one", "two")
    assert changed.remarks[2] == "Set by hand: min_component_pixels, threshold."
    with pytest.raises(ConfigError, match="seg_gate"):
        point.with_options(threshold=0.2)


def options(group: str, choice: str) -> dict[str, Any]:
    return OmegaConf.to_container(OmegaConf.load(CONF_DIR / group / f"{choice}.yaml"))


def test_option_files_say_what_their_names_say(ckpt: Path) -> None:
    point = fitted(ckpt)
    default = point.with_options(
        options("postprocess", "default"), tta=options("tta", "default")["mode"]
    )
    assert default is point
    none = point.with_options(options("postprocess", "none"), tta=options("tta", "none")["mode"])
    assert none.postprocess == PostprocessOptions() and none.tta == "none"
    flip = OperatingPoint.default().with_options(tta=options("tta", "flip")["mode"])
    assert flip.tta == "flip"
    names = {field.name for field in dataclasses.fields(PostprocessOptions)}
    assert all(set(options("postprocess", c)) == names for c in ("default", "none"))
