"""The operating point: every number between a network's output and what is told, in one file.

It is fitted on the validation split alone and lies beside its checkpoint, which stays as it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from brainmtl.errors import BrainMTLError, ConfigError, DataError
from brainmtl.files import sha256, write_json
from brainmtl.inference.operating.calibration import TEMPERATURE_RANGE
from brainmtl.inference.operating.postprocess import PostprocessOptions
from brainmtl.inference.operating.tta import check_mode

VERSION = 1
SUFFIX = ".operating_point.json"
DEFAULT_SEG_GATE = 0.3
SPLIT = "val"


class PatientRule(NamedTuple):
    """``volume`` outlined on slices called tumour, its ``unit`` (ml, or voxels where no spacing is
    known), and the ``limit`` above which the patient is called."""

    volume: float
    unit: str
    limit: float

    @property
    def call(self) -> bool:
        """Whether the patient is called to have tumour."""
        return self.volume > self.limit


@dataclass(frozen=True)
class OperatingPoint:
    """How outputs become statements; see :func:`brainmtl.inference.operating.decision.decide` for the order.

    ``temperature`` calibrates P(tumour). ``threshold`` is the calibrated P from which an image is
    called tumour, ``seg_gate`` the one from which it is segmented at all, ``seg_threshold`` the
    probability from which a pixel is. ``postprocess`` and ``tta`` ("none" or "flip") shape the mask.
    A patient is called when the predicted volume on the slices called tumour exceeds ``limit_ml``
    (ml) or, where no spacing is known, ``limit_voxels`` (voxels).

    ``checkpoint_sha256`` and ``manifest_sha256`` name what it was fitted on, ``counts`` how much
    that was, ``remarks`` what limits it, ``candidates`` the options of the mask that were compared,
    with their Dice on validation; ``fitted`` is False for :meth:`default`.

    Raises:
        ConfigError: a value outside its range, or a gate above the threshold.
    """

    temperature: float = 1.0
    threshold: float = 0.5
    seg_gate: float = DEFAULT_SEG_GATE
    seg_threshold: float = 0.5
    postprocess: PostprocessOptions = field(default_factory=PostprocessOptions)
    tta: str = "none"
    limit_ml: float = 0.0
    limit_voxels: float = 0.0
    checkpoint_sha256: str | None = None
    manifest_sha256: str | None = None
    split: str = SPLIT
    counts: Mapping[str, Any] = field(default_factory=dict, hash=False)
    remarks: tuple[str, ...] = ()
    candidates: Sequence[Mapping[str, Any]] = field(default=(), hash=False)
    fitted: bool = False

    def __post_init__(self) -> None:
        _check_range("temperature", self.temperature, *TEMPERATURE_RANGE)
        for name in ("threshold", "seg_threshold"):
            value = getattr(self, name)
            _check_range(name, value, 0.0, 1.0)
            if value in (0, 1):
                rule = "must lie between 0 and 1 (both excluded)"
                raise ConfigError(f"{{{name}}}={value} {rule}", **{name: name})
        _check_range("seg_gate", self.seg_gate, 0.0, 1.0)
        for name in ("limit_ml", "limit_voxels"):
            _check_range(name, getattr(self, name), 0.0, math.inf)
        check_mode(self.tta)
        if self.split != SPLIT:
            raise ConfigError(
                f"split={self.split!r}: an operating point is fitted on {SPLIT} alone"
            )
        if self.seg_gate > self.threshold:
            raise ConfigError(
                f"{{seg_gate}}={self.seg_gate} lies above the threshold {self.threshold}: a picture "
                f"of P between {self.threshold} and {self.seg_gate} could be labelled tumour "
                f"without being segmented. Choose {{seg_gate}} <= {self.threshold}",
                seg_gate="seg_gate",
            )

    @classmethod
    def default(cls, **changes: Any) -> OperatingPoint:
        """The unfitted point (T = 1, t = 0.5, gate 0.3, masks as they are), with ``changes``."""
        return cls(**({"remarks": ("The operating point is not fitted.",)} | changes))

    def with_options(
        self, postprocess: Mapping[str, Any] | None = None, **changes: Any
    ) -> OperatingPoint:
        """The same point with what an option file or the user sets; None leaves a value alone.

        ``postprocess`` maps names of PostprocessOptions; ``changes`` are fields of this class. A
        remark names what differs from the point before.

        Raises:
            ConfigError: as the class, with the threshold called cls_threshold, as all options call it.
        """
        options = {k: v for k, v in (postprocess or {}).items() if v is not None}
        new = {k: v for k, v in changes.items() if v is not None}
        new["postprocess"] = replace(self.postprocess, **options)
        differing = [
            *(k for k, v in options.items() if v != getattr(self.postprocess, k)),
            *(k for k, v in new.items() if k != "postprocess" and v != getattr(self, k)),
        ]
        if not differing:
            return self
        remark = f"Set by hand: {', '.join(differing)}."
        try:
            return replace(self, **new, remarks=(*self.remarks, remark))
        except ConfigError as error:
            raise error.renamed(threshold="cls_threshold") from error

    def patient_rule(self, voxels: int, voxel_ml: float | None) -> PatientRule:
        """The rule on a volume that outlines ``voxels`` on the slices called tumour."""
        if voxel_ml is None:
            return PatientRule(voxels, "voxels", self.limit_voxels)
        return PatientRule(voxels * voxel_ml, "ml", self.limit_ml)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers for JSON, with the version of the format."""
        values = asdict(self)
        lists = {name: list(values[name]) for name in ("remarks", "candidates")}
        return {"version": VERSION, **values, **lists}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OperatingPoint:
        """The inverse of :meth:`to_dict`.

        Raises:
            DataError: another version, or keys missing or left over.
            ConfigError: as the class.
        """
        values = dict(values)
        if (version := values.pop("version", None)) != VERSION:
            raise DataError(
                f"the operating point has version {version}, this code reads {VERSION}: fit it again"
            )
        _check_keys("the operating point", values, cls)
        _check_keys("its postprocess entry", values["postprocess"], PostprocessOptions)
        kinds = {"counts": dict, "remarks": list, "candidates": list, "fitted": bool}
        for name, kind in kinds.items():
            if not isinstance(values[name], kind):
                raise DataError(f"{name}={values[name]!r} is no {kind.__name__}: fit it again")
        changes = {
            "postprocess": PostprocessOptions(**values["postprocess"]),
            "remarks": tuple(values["remarks"]),
            "candidates": tuple(values["candidates"]),
        }
        return cls(**(values | changes))


def operating_point_path(ckpt: str | Path) -> Path:
    """Where the operating point of a checkpoint lies: ``best.ckpt.operating_point.json`` beside it."""
    ckpt = Path(ckpt)
    return ckpt.with_name(ckpt.name + SUFFIX)


def write_operating_point(point: OperatingPoint, ckpt: str | Path) -> Path:
    """Write ``point`` beside its checkpoint, in one step; returns the file.

    Raises:
        ValueError: ``point.checkpoint_sha256`` is not that of ``ckpt``.
    """
    if point.checkpoint_sha256 != sha256(ckpt):
        raise ValueError(f"the operating point was fitted on another checkpoint than {ckpt}")
    path = operating_point_path(ckpt)
    write_json(path, point.to_dict())
    return path


def read_operating_point(ckpt: str | Path) -> OperatingPoint:
    """The operating point beside a checkpoint.

    Raises:
        DataError: no such file, not readable, of another version, or fitted on another checkpoint.
        ConfigError: a value that cannot work, such as a gate above the threshold.
    """
    path = operating_point_path(ckpt)
    if not path.is_file():
        raise DataError(f"{path} is missing: fit an operating point on the validation split first")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): delete it and fit it again") from error
    if not isinstance(values, dict):
        raise DataError(f"{path} is no operating point: delete it and fit it again")
    try:
        point = OperatingPoint.from_dict(values)
    except BrainMTLError as error:
        raise type(error)(f"{path}: {error}") from error
    if point.checkpoint_sha256 != sha256(ckpt):
        raise DataError(
            f"{path} was fitted on another checkpoint than {Path(ckpt).name} (its SHA-256 differs): "
            "fit it again"
        )
    return point


def _check_range(name: str, value: Any, low: float, high: float) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not low <= value <= high:
        rule = f"must be a number from {low:g} to {high:g}"
        raise ConfigError(f"{{{name}}}={{value!r}} {rule}", **{name: name, "value": value})


def _check_keys(what: str, values: Any, cls: type) -> None:
    expected = {f.name for f in fields(cls)}
    found = set(values) if isinstance(values, Mapping) else set()
    if found != expected:
        raise DataError(
            f"{what} has keys missing ({sorted(expected - found)}) or left over "
            f"({sorted(found - expected)}): fit it again"
        )
