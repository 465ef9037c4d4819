"""Which cleaning of masks and which test-time augmentation: overlap of every candidate in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from brainmtl.data.preprocessing.geometry import SliceGeometry, voxel_volume_ml
from brainmtl.evaluation.metrics import dice_from_counts, mean_sd
from brainmtl.inference.operating import calibration
from brainmtl.inference.operating.postprocess import fill_holes, label_components
from brainmtl.inference.operating.tta import TTA_MODES, check_mode

# Below 100 pixels of the prepared grid a slice carries no label of its own either.
MIN_COMPONENT_PIXELS = (0, 10, 30, 100)
# Options are kept only where they gain more Dice than this: less is noise on a few patients.
DICE_MARGIN = 0.002


class Candidate(NamedTuple):
    """One choice of options of the mask."""

    tta: str
    min_component_pixels: int
    fill_holes: bool

    @property
    def cost(self) -> tuple[bool, int, int]:
        """Order from the simplest: flipping doubles the time, each cleaning step is one more."""
        return (
            self.tta != "none",
            self.fill_holes + (self.min_component_pixels > 0),
            self.min_component_pixels,
        )


class _Slice(NamedTuple):
    key: tuple[str, str, str]  # source, group, case
    probabilities: dict[str, float]
    predicted: np.ndarray  # pixels per candidate
    unit: str | None  # ml, voxels; None for a picture
    per_pixel: float


class CandidateTally:
    """Overlap of every candidate with the reference, slice by slice; maps are not kept.

    All prepared slices of a volume must be added, else its Dice and volume are those of a part.

    Args:
        modes: modes of test-time augmentation that :meth:`add` gets maps of; "none" among them.
        seg_threshold: probability from which a pixel is tumour.
    """

    def __init__(self, modes: tuple[str, ...] = TTA_MODES, seg_threshold: float = 0.5) -> None:
        for mode in modes:
            check_mode(mode)
        if "none" not in modes:
            raise ValueError("the plain image must be among the modes: it is what others must beat")
        self.modes = modes
        self.seg_threshold = seg_threshold
        self.candidates = [
            Candidate(*values) for values in product(modes, MIN_COMPONENT_PIXELS, (False, True))
        ]
        self._cases: dict[tuple[str, str, str], np.ndarray] = {}
        self._slices: list[_Slice] = []

    def add(
        self,
        *,
        source: str,
        group: str,
        case_id: str,
        geometry: SliceGeometry,
        probabilities: Mapping[str, float],
        maps: Mapping[str, np.ndarray],
        reference: np.ndarray,
    ) -> None:
        """Count one slice or picture that has a reference mask.

        ``probabilities`` holds raw P(tumour) and ``maps`` the pixels' probabilities (256, 256) per
        mode, after averaging; ``reference`` is bool (256, 256), ``geometry`` the slice's way back.
        """
        counts = np.zeros((len(self.candidates), 3), dtype=np.int64)
        found = {
            (mode, fill): self._sizes(maps[mode], reference, fill)
            for mode, fill in product(self.modes, (False, True))
        }
        for index, (mode, minimum, fill) in enumerate(self.candidates):
            sizes, hits = found[mode, fill]
            keep = sizes >= max(minimum, 1)
            counts[index] = hits[keep].sum(), sizes[keep].sum(), np.count_nonzero(reference)
        key = (source, group, case_id)
        self._cases[key] = self._cases.get(key, 0) + counts
        unit, per_pixel = _volume_of_pixel(geometry)
        self._slices.append(_Slice(key, dict(probabilities), counts[:, 1], unit, per_pixel))

    def _sizes(
        self, pixels: np.ndarray, reference: np.ndarray, fill: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pixels of each component, and those of them that the reference holds."""
        mask = pixels.astype(np.float32) >= self.seg_threshold
        labels, sizes = label_components(fill_holes(mask) if fill else mask)
        return sizes, np.bincount(labels[reference.astype(bool)], minlength=len(sizes))

    def table(self) -> list[dict[str, Any]]:
        """A line per candidate: its options, ``dice`` (by source, the mean Dice per patient; None
        without tumour), ``n`` (patients by source) and ``mean`` (of ``dice`` over the sources).

        Dice is that of the whole volume on the prepared grid; volumes without tumour do not enter.
        """
        lines = []
        for index, candidate in enumerate(self.candidates):
            patients: dict[str, dict[str, list[float | None]]] = {}
            for (source, group, _), counts in self._cases.items():
                dice = dice_from_counts(*(int(c) for c in counts[index]))
                patients.setdefault(source, {}).setdefault(group, []).append(dice)
            means = {
                source: mean_sd([mean_sd(dices)["mean"] for dices in groups.values()])
                for source, groups in sorted(patients.items())
            }
            lines.append(
                candidate._asdict()
                | {"dice": {source: m["mean"] for source, m in means.items()}}
                | {"n": {source: m["n"] for source, m in means.items()}}
                | {"mean": mean_sd([m["mean"] for m in means.values()])["mean"]}
            )
        return lines

    def patient_volumes(
        self, candidate: Candidate, temperature: float, threshold: float, unit: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Per patient with volumes measured in ``unit`` ("ml" or "voxels"): (volume, has tumour).

        The volume is the predicted one on slices of calibrated P >= ``threshold``, the largest of
        the patient's volumes. Pixels of the prepared grid stand for their share of voxels, which
        is exact up to the rounding of the mask's outline.
        """
        index = self.candidates.index(candidate)
        volumes: dict[tuple[str, str, str], float] = {}
        for item in (s for s in self._slices if s.unit == unit):
            called = calibration.apply(item.probabilities[candidate.tta], temperature) >= threshold
            volume = item.predicted[index] * item.per_pixel if called else 0.0
            volumes[item.key] = volumes.get(item.key, 0.0) + volume
        patients: dict[tuple[str, str], tuple[float, bool]] = {}
        for key, volume in volumes.items():
            before, tumour = patients.get(key[:2], (0.0, False))
            tumour = tumour or bool(self._cases[key][0, 2])
            patients[key[:2]] = max(before, volume), tumour
        return (
            np.array([volume for volume, _ in patients.values()], dtype=np.float64),
            np.array([tumour for _, tumour in patients.values()], dtype=bool),
        )


def _volume_of_pixel(geometry: SliceGeometry) -> tuple[str | None, float]:
    """Unit, and what one pixel of the prepared grid is worth in it."""
    if geometry.volume is None:
        return None, 0.0
    voxels = 1.0 / (geometry.scale[0] * geometry.scale[1])
    voxel_ml = voxel_volume_ml(geometry)
    return ("voxels", voxels) if voxel_ml is None else ("ml", voxels * voxel_ml)


def choose_candidate(
    table: list[dict[str, Any]], margin: float = DICE_MARGIN
) -> tuple[Candidate, str | None]:
    """The simplest candidate that no other beats by more than ``margin`` of Dice, and a remark.

    Simplest first: no change, fewer cleaning steps, smaller components, and flipping last. So
    "none" stays unless something gains more than the margin.
    """
    lines = {Candidate(*(line[name] for name in Candidate._fields)): line for line in table}
    simplest = min(lines, key=lambda candidate: candidate.cost)
    defined = {c: line["mean"] for c, line in lines.items() if line["mean"] is not None}
    if not defined:
        return simplest, "No validation patient has a tumour mask: masks stay as they are."
    enough = [c for c, dice in defined.items() if dice >= max(defined.values()) - margin]
    return min(enough, key=lambda candidate: candidate.cost), None
