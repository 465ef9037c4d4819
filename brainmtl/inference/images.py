"""Pictures through the whole chain: checks, preparation, network, decision, mask, heat map.

The order is that of :mod:`brainmtl.inference.decision`, and the functions are those of evaluation.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.data.geometry import pixel_area_mm2
from brainmtl.data.preprocess import PreparedSlice, preprocess_slice
from brainmtl.errors import DataError
from brainmtl.inference.bands import Band, band_of
from brainmtl.inference.decision import Decision, decide
from brainmtl.inference.gradcam import head_mask, heat_shares
from brainmtl.inference.input_check import ImageLike, Picture, read_picture, refuse
from brainmtl.inference.operating_point import OperatingPoint
from brainmtl.inference.postprocess import clean_slice
from brainmtl.inference.results import (
    NO_TUMOUR,
    TUMOUR,
    ImageResult,
    Reason,
    Segmentation,
)

if TYPE_CHECKING:
    from brainmtl.inference.network import Encoded, Network
    from brainmtl.inference.ood import OodDetector

# Images that lie in the network together; more only costs memory.
MAX_BATCH = 16
# Share of the heat outside the head beyond which a picture that is called tumour carries a warning. On
# real validation images that were called it was at most 0.07; an even map has 0.4 to 0.55 there.
HEAT_LIMIT = 0.3
# Share of the head's area that holds half of the heat within it, beyond which a map is called even: 0.5
# where it is entirely so, at most 0.11 on real validation images.
EVEN_LIMIT = 0.2
STEPS = ("decode", "preprocess", "encoder", "decoder", "postprocess", "gradcam")


@dataclass(frozen=True, eq=False)
class Served:
    """What answers: the network, the check for unlike images (None: none), the bands, and
    ``standing`` warnings that hold for every answer of this model."""

    network: Network
    ood: OodDetector | None
    bands: tuple[Band, ...]
    standing: tuple[str, ...]

    def unlike(self, score: float | None) -> bool:
        """Whether a distance lies beyond the limit of the training data."""
        return self.ood is not None and score is not None and score > self.ood.threshold

    def scores(self, encoded: Encoded) -> list[float | None]:
        """Distance of each encoded image from the training data; None without that check."""
        if self.ood is None:
            return [None] * len(encoded.probability)
        return [float(score) for score in self.ood.score(encoded.pooled)]


class Timer:
    """Milliseconds per step, added up."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = dict.fromkeys(STEPS, 0.0)

    @contextmanager
    def step(self, name: str, *sharers: Timer) -> Iterator[None]:
        """Time the block; with ``sharers`` in equal parts for each of them and not for this one."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = 1000 * (time.perf_counter() - start)
            for timer in sharers or (self,):
                timer.ms[name] += spent / max(len(sharers), 1)

    def total(self) -> dict[str, float]:
        """All steps, and their sum under ``total``."""
        return {**self.ms, "total": sum(self.ms.values())}


@dataclass(eq=False)
class Job:
    """One picture on its way; ``reason`` is set as soon as nothing more is to be said of it."""

    picture: Picture
    prepared: PreparedSlice | None = None
    reason: Reason | None = None
    decision: Decision | None = None
    raw: float | None = None
    score: float | None = None
    segmentation: Segmentation | None = None
    gradcam: np.ndarray | None = None
    heat_outside: float | None = None
    heat_half_area: float | None = None
    timer: Timer = field(default_factory=Timer)


def read_job(image: ImageLike) -> Job:
    """Decode, check and prepare one picture.

    Raises:
        InputError: it cannot be read as a picture.
    """
    timer = Timer()
    with timer.step("decode"):
        picture = read_picture(image)
    job = Job(picture, timer=timer)
    with timer.step("preprocess"):
        job.reason = refuse(picture)
        if job.reason is None:
            try:
                job.prepared = preprocess_slice(picture.luminance[None])
            except DataError as error:
                job.reason = Reason("no_head", f"No head can be found in the picture: {error}.")
    return job


def predict_jobs(
    served: Served, jobs: Sequence[Job], point: OperatingPoint, include_gradcam: bool
) -> list[ImageResult]:
    """Results of the jobs, at most MAX_BATCH pictures in the network together."""
    open_jobs = [job for job in jobs if job.reason is None]
    for start in range(0, len(open_jobs), MAX_BATCH):
        _run(served, open_jobs[start : start + MAX_BATCH], point, include_gradcam)
    return [_result(served, job, point) for job in jobs]


def _run(served: Served, jobs: Sequence[Job], point: OperatingPoint, include_gradcam: bool) -> None:
    """One encoder pass; the decoder for the pictures that reach the gate, heat maps where asked for."""
    timers = [job.timer for job in jobs]
    with timers[0].step("encoder", *timers):
        encoded = served.network.encode(np.stack([job.prepared.image for job in jobs]), point.tta)
        scores = served.scores(encoded)
    for job, raw, score in zip(jobs, encoded.probability, scores, strict=True):
        job.score = score
        if served.unlike(score):
            job.reason = Reason(
                "out_of_distribution",
                f"The picture is unlike those of training (distance {score:.1f}, limit "
                f"{served.ood.threshold:.1f}): it may be no head MRI, or one of another kind.",
            )
            continue
        job.raw = float(raw)
        job.decision = decide(job.raw, point)
    judged = [k for k, job in enumerate(jobs) if job.decision is not None]
    chosen = [k for k in judged if jobs[k].decision.segment]
    if chosen:
        timers = [jobs[k].timer for k in chosen]
        with timers[0].step("decoder", *timers):
            pixels = served.network.decode(encoded, chosen)
        for k, own in zip(chosen, pixels, strict=True):
            with jobs[k].timer.step("postprocess"):
                jobs[k].segmentation = _segmentation(jobs[k], own, point)
    if include_gradcam and judged:
        timers = [jobs[k].timer for k in judged]
        with timers[0].step("gradcam", *timers):
            for k, heat in zip(judged, served.network.gradcam(encoded, judged), strict=True):
                _explain(jobs[k], heat)


def _segmentation(job: Job, pixels: np.ndarray, point: OperatingPoint) -> Segmentation:
    geometry = job.prepared.geometry
    mask = clean_slice(pixels >= point.seg_threshold, point.postprocess)
    plane = geometry.mask_to_plane(mask).astype(np.uint8)
    area, pixel_mm2 = int(plane.sum()), pixel_area_mm2(geometry)
    return Segmentation(
        performed=True,
        reason=f"P = {job.decision.calibrated:.3f} reaches the gate {point.seg_gate:g}",
        mask=plane,
        area_px=area,
        area_mm2=None if pixel_mm2 is None else area * pixel_mm2,
    )


def _explain(job: Job, heat: np.ndarray) -> None:
    shares = heat_shares(heat, head_mask(job.prepared.image))
    job.heat_outside, job.heat_half_area = shares.outside_head, shares.half_area
    job.gradcam = job.prepared.geometry.to_plane(heat)


def thresholds(point: OperatingPoint) -> dict[str, float]:
    """What was applied, for a result."""
    return {
        "cls": point.threshold,
        "seg_gate": point.seg_gate,
        "seg_pixel": point.seg_threshold,
        "temperature": point.temperature,
    }


def _result(served: Served, job: Job, point: OperatingPoint) -> ImageResult:
    decision = job.decision or decide(None, point, job.reason.text)
    return ImageResult(
        probability=decision.calibrated,
        raw_probability=job.raw,
        label=None if decision.label is None else (NO_TUMOUR, TUMOUR)[decision.label],
        band=_band(served.bands, decision),
        abstained=decision.abstained,
        reason=decision.reason,
        reason_code=job.reason.code if job.reason else None,
        warnings=[*served.standing, *_warnings(job, decision, point)],
        segmentation=job.segmentation or _without_mask(decision, point),
        gradcam=job.gradcam,
        heat_outside_head=job.heat_outside,
        ood_score=job.score,
        ood_threshold=None if served.ood is None else served.ood.threshold,
        thresholds=thresholds(point),
        timings_ms=job.timer.total(),
        input_sha256=job.picture.sha256,
        original_size=job.picture.luminance.shape,
    )


def _band(bands: Sequence[Band], decision: Decision) -> Mapping[str, Any] | None:
    return None if decision.abstained else asdict(band_of(bands, decision.calibrated))


def _without_mask(decision: Decision, point: OperatingPoint) -> Segmentation:
    if decision.abstained:
        return Segmentation(False, "The picture was not judged, so no mask was made")
    return Segmentation(
        False, f"P = {decision.calibrated:.3f} lies below the gate {point.seg_gate:g}"
    )


def _warnings(job: Job, decision: Decision, point: OperatingPoint) -> list[str]:
    found = []
    if job.segmentation is not None and decision.label == 1 and not job.segmentation.area_px:
        found.append("The picture is called tumour, but the mask is empty.")
    if job.segmentation is not None and decision.label == 0 and job.segmentation.area_px:
        found.append(
            f"P lies between the gate {point.seg_gate:g} and the threshold {point.threshold:g}: there "
            "is a mask although the picture is not called tumour."
        )
    return found + _heat_warnings(job, decision)


def _heat_warnings(job: Job, decision: Decision) -> list[str]:
    found = []
    # where little speaks for tumour, the little may well lie anywhere
    if decision.label == 1 and job.heat_outside is not None and job.heat_outside > HEAT_LIMIT:
        found.append(
            f"{job.heat_outside:.0%} of the heat map lies outside the head: the classification may rest "
            "on something other than the brain."
        )
    if job.heat_half_area is not None and job.heat_half_area > EVEN_LIMIT:
        found.append(
            f"The heat map is almost even: half of its heat is spread over {job.heat_half_area:.0%} of "
            "the head. It does not show where the model looked."
        )
    return found
