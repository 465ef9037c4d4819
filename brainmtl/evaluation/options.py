"""What an evaluation is asked for; ``conf/evaluate.yaml`` explains every option."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from brainmtl.data.selection import name_list
from brainmtl.errors import ConfigError, check_count
from brainmtl.inference.operating.operating_point import OperatingPoint

SECTIONS = ("shortcuts", "robustness")
RECORDED = (
    *("operating_point", "seg_gate", "cls_threshold", "seg_threshold", "tta", "postprocess"),
    *("min_false_positive_pixels", "resamples", "sections", "section_limit", "seed"),
    *("batch_size", "bf16", "save_masks", "figures"),
)


@dataclass(frozen=True)
class EvaluationOptions:
    """Everything beside checkpoint, data, split and output folder.

    ``tta`` ({"mode"}), ``postprocess`` (fields of PostprocessOptions), ``seg_gate``, ``cls_threshold``
    and ``seg_threshold`` override the operating point where they are not None.
    ``bands`` are the report's confidence bands (None: conf/bands/default.yaml), ``section_limit``
    images per source under corruptions, ``resamples`` of the bootstrap, ``seed`` of both.

    Raises:
        ConfigError: a value that cannot work.
    """

    batch_size: int = 16
    device: str = "auto"
    bf16: bool = False
    operating_point: str = "auto"
    seg_gate: float | None = None
    cls_threshold: float | None = None
    seg_threshold: float | None = None
    tta: Mapping[str, Any] = field(default_factory=dict)
    postprocess: Mapping[str, Any] = field(default_factory=dict)
    bands: Sequence[Mapping[str, Any]] | None = None
    min_false_positive_pixels: int = 1
    resamples: int = 2000
    sections: Sequence[str] = SECTIONS
    section_limit: int = 60
    seed: int = 0
    save_masks: bool = False
    figures: bool = True
    progress: bool = True

    def __post_init__(self) -> None:
        from brainmtl.inference.operating.bands import check_bands

        # A single name stands for a list of it, as in all options that take names.
        object.__setattr__(self, "sections", tuple(name_list(self.sections)))
        for name, least in (
            ("seed", 0),
            ("batch_size", 1),
            ("min_false_positive_pixels", 1),
            ("resamples", 100),
            ("section_limit", 12),
        ):
            check_count(name, getattr(self, name), least)
        if self.bands is not None:
            check_bands(self.bands)
        unknown = sorted(set(self.sections) - set(SECTIONS))
        if unknown:
            raise ConfigError(f"sections={unknown} are unknown: choose from {list(SECTIONS)}")
        # A gate above a threshold is refused before any file is read, where both are set by hand.
        free = {} if self.cls_threshold is None else {"seg_gate": 0.0}
        self.apply(OperatingPoint.default(**free))

    @property
    def precision(self) -> str:
        """The number format of the network passes: ``32`` or ``bf16``."""
        return "bf16" if self.bf16 else "32"

    def network(self) -> dict[str, Any]:
        """Options of every pass through the network."""
        from brainmtl.inference.device import choose_device

        return {
            "batch_size": self.batch_size,
            "device": choose_device(self.device),
            "precision": self.precision,
            "progress": self.progress,
        }

    def record(self) -> dict[str, Any]:
        """Plain values of all that decides figures or files, for ``run.json``; the device does not, and the
        wording of the bands is the report's alone."""
        values = {name: getattr(self, name) for name in RECORDED}
        for name in ("tta", "postprocess"):
            values[name] = {k: v for k, v in values[name].items() if v is not None}
        return values | {"sections": list(self.sections)}

    def apply(self, point: OperatingPoint) -> OperatingPoint:
        """``point`` with what these options set by hand."""
        return point.with_options(
            self.postprocess,
            tta=self.tta.get("mode"),
            seg_gate=self.seg_gate,
            threshold=self.cls_threshold,
            seg_threshold=self.seg_threshold,
        )
