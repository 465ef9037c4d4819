"""Pictures through the whole chain: checks, preparation, network, decision, mask, heat map.

The order is that of :mod:`brainmtl.inference.operating.decision`, and the functions are those of evaluation.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.data.preprocessing.geometry import pixel_area_mm2
from brainmtl.data.preprocessing.preprocess import PreparedSlice, preprocess_slice
from brainmtl.errors import DataError
from brainmtl.inference.gradcam import HeatShares, head_mask, heat_shares
from brainmtl.inference.inputs.input_check import ImageLike, read_picture, refuse
from brainmtl.inference.operating.bands import Band, band_of
from brainmtl.inference.operating.decision import Decision, decide
from brainmtl.inference.operating.operating_point import OperatingPoint
from brainmtl.inference.operating.postprocess import clean_slice
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
    """One picture on its way, of ``size`` (H, W), and what is asked of it.

    ``reason`` is set as soon as nothing more is to be said of it; ``pixels`` and ``heat`` are the
    network's, float32 on the prepared grid (256, 256). The picture itself is not kept.
    """

    size: tuple[int, int]
    sha256: str
    point: OperatingPoint
    include_gradcam: bool
    prepared: PreparedSlice | None = None
    reason: Reason | None = None
    decision: Decision | None = None
    raw: float | None = None
    score: float | None = None
    pixels: np.ndarray | None = None
    heat: np.ndarray | None = None
    timer: Timer = field(default_factory=Timer)


def read_job(image: ImageLike, point: OperatingPoint, include_gradcam: bool = False) -> Job:
    """Decode, check and prepare one picture, to be judged by ``point``.

    Raises:
        InputError: it cannot be read as a picture.
    """
    timer = Timer()
    with timer.step("decode"):
        picture = read_picture(image)
    job = Job(picture.luminance.shape, picture.sha256, point, include_gradcam, timer=timer)
    with timer.step("preprocess"):
        job.reason = refuse(picture)
        if job.reason is None:
            try:
                job.prepared = preprocess_slice(picture.luminance[None])
            except DataError as error:
                job.reason = Reason("no_head", f"No head can be found in the picture: {error}.")
    return job


def predict_jobs(served: Served, jobs: Sequence[Job]) -> Iterator[ImageResult]:
    """Results of the jobs in their order, at most MAX_BATCH pictures in the network together.

    The planes of a result, which may be large, are made when its turn has come.
    """
    open_jobs = [job for job in jobs if job.reason is None]
    for start in range(0, len(open_jobs), MAX_BATCH):
        _run(served, open_jobs[start : start + MAX_BATCH])
    for job in jobs:
        yield _result(served, job)


def _run(served: Served, jobs: Sequence[Job]) -> None:
    """One encoder pass; the decoder for the pictures that reach the gate, heat maps where asked for."""
    timers = [job.timer for job in jobs]
    with timers[0].step("encoder", *timers):
        images = np.stack([job.prepared.image for job in jobs])
        encoded = served.network.encode(images, jobs[0].point.tta)  # of the model: the same for all
        scores = served.scores(encoded)
    for job, raw, score in zip(jobs, encoded.probability, scores, strict=True):
        _judge(served, job, float(raw), score)
    judged = [k for k, job in enumerate(jobs) if job.decision is not None]
    if chosen := [k for k in judged if jobs[k].decision.segment]:
        timers = [jobs[k].timer for k in chosen]
        with timers[0].step("decoder", *timers):
            for k, own in zip(chosen, served.network.decode(encoded, chosen), strict=True):
                jobs[k].pixels = own
    if chosen := [k for k in judged if jobs[k].include_gradcam]:
        timers = [jobs[k].timer for k in chosen]
        with timers[0].step("gradcam", *timers):
            for k, own in zip(chosen, served.network.gradcam(encoded, chosen), strict=True):
                jobs[k].heat = own


def _judge(served: Served, job: Job, raw: float, score: float | None) -> None:
    job.score = score
    if served.unlike(score):
        job.reason = Reason(
            "out_of_distribution",
            f"The picture is unlike those of training (distance {score:.1f}, limit "
            f"{served.ood.threshold:.1f}): it may be no head MRI, or one of another kind.",
        )
        return
    job.raw = raw
    job.decision = decide(raw, job.point)


def _segmentation(job: Job) -> Segmentation | None:
    if job.pixels is None:
        return None
    geometry, point = job.prepared.geometry, job.point
    mask = clean_slice(job.pixels >= point.seg_threshold, point.postprocess)
    plane = geometry.mask_to_plane(mask).view(np.uint8)
    area, pixel_mm2 = int(np.count_nonzero(plane)), pixel_area_mm2(geometry)
    return Segmentation(
        performed=True,
        reason=f"P = {job.decision.calibrated:.3f} reaches the gate {point.seg_gate:g}",
        mask=plane,
        area_px=area,
        area_mm2=None if pixel_mm2 is None else area * pixel_mm2,
    )


def thresholds(point: OperatingPoint) -> dict[str, float]:
    """What was applied, for a result."""
    return {
        "cls": point.threshold,
        "seg_gate": point.seg_gate,
        "seg_pixel": point.seg_threshold,
        "temperature": point.temperature,
    }


def _result(served: Served, job: Job) -> ImageResult:
    point = job.point
    decision = job.decision or decide(None, point, job.reason.text)
    with job.timer.step("postprocess"):
        made = _segmentation(job)
    shares, plane = None, None
    if job.heat is not None:
        with job.timer.step("gradcam"):
            shares = heat_shares(job.heat, head_mask(job.prepared.image))
            plane = job.prepared.geometry.to_plane(job.heat)
    return ImageResult(
        probability=decision.calibrated,
        raw_probability=job.raw,
        label=None if decision.label is None else (NO_TUMOUR, TUMOUR)[decision.label],
        band=_band(served.bands, decision),
        abstained=decision.abstained,
        reason=decision.reason,
        reason_code=job.reason.code if job.reason else None,
        warnings=[
            *served.standing,
            *_mask_warnings(made, decision, point),
            *_heat_warnings(shares, decision),
        ],
        segmentation=made or _without_mask(decision, point),
        gradcam=plane,
        heat_outside_head=shares.outside_head if shares else None,
        ood_score=job.score,
        ood_threshold=None if served.ood is None else served.ood.threshold,
        thresholds=thresholds(point),
        timings_ms=job.timer.total(),
        input_sha256=job.sha256,
        original_size=job.size,
    )


def _band(bands: Sequence[Band], decision: Decision) -> Mapping[str, Any] | None:
    return None if decision.abstained else asdict(band_of(bands, decision.calibrated))


def _without_mask(decision: Decision, point: OperatingPoint) -> Segmentation:
    if decision.abstained:
        return Segmentation(False, "The picture was not judged, so no mask was made")
    return Segmentation(
        False, f"P = {decision.calibrated:.3f} lies below the gate {point.seg_gate:g}"
    )


def _mask_warnings(
    made: Segmentation | None, decision: Decision, point: OperatingPoint
) -> list[str]:
    if made is None:
        return []
    if decision.label == 1 and not made.area_px:
        return ["The picture is called tumour, but the mask is empty."]
    if decision.label == 0 and made.area_px:
        return [
            f"P lies between the gate {point.seg_gate:g} and the threshold {point.threshold:g}: there "
            "is a mask although the picture is not called tumour."
        ]
    return []


def _heat_warnings(shares: HeatShares | None, decision: Decision) -> list[str]:
    if shares is None:
        return []
    found, outside, half = [], shares.outside_head, shares.half_area
    # where little speaks for tumour, the little may well lie anywhere
    if decision.label == 1 and outside is not None and outside > HEAT_LIMIT:
        found.append(
            f"{outside:.0%} of the heat map lies outside the head: the classification may rest "
            "on something other than the brain."
        )
    if half is not None and half > EVEN_LIMIT:
        found.append(
            f"The heat map is almost even: half of its heat is spread over {half:.0%} of "
            "the head. It does not show where the model looked."
        )
    return found
