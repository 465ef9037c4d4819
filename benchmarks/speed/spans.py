"""What a request spends its time on: the functions of its stages, timed where they stand."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch.profiler import record_function

from brainmtl.data import image_io
from brainmtl.data.preprocessing import preprocess
from brainmtl.data.preprocessing.geometry import SliceGeometry
from brainmtl.inference import images, results
from brainmtl.inference.network import Network

REST = "everything else"
NETWORK = ("encoder", "decoder", "heat map")

# Where each stage happens: (holder of the function, its name, how the stage is called). A stage may
# be several functions, and one within another is a part of it.
PREDICTOR = (
    (images, "read_picture", "decode"),
    (image_io, "decode", "pixels of the PNG"),
    (images, "refuse", "checks"),
    (images, "preprocess_slice", "preprocess"),
    (preprocess, "find_foreground", "find the head"),
    (preprocess, "normalize_zscore", "z-score"),
    (Network, "encode", "encoder"),
    (images, "decide", "decision"),
    (Network, "decode", "decoder"),
    (images, "clean_slice", "clean-up"),
    (SliceGeometry, "mask_to_plane", "clean-up"),
    (Network, "gradcam", "heat map"),
    (images, "head_mask", "heat outside head"),
    (images, "heat_shares", "heat outside head"),
    (SliceGeometry, "to_plane", "to the picture's grid"),
)
ANSWER = (
    (results, "png_bytes", "PNG"),
    (results, "_base64", "base64"),
)


@dataclass
class Span:
    """Seconds since the recording began. A stage is its own ``stage``; a part names that of which
    it is one."""

    name: str
    stage: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


@dataclass
class Recording:
    """The spans of one request, in order of their beginning, and its seconds in all."""

    spans: list[Span] = field(default_factory=list)
    seconds: float = 0.0
    _stage: str | None = None
    _began: float = field(default_factory=time.perf_counter)

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Record the block."""
        now = time.perf_counter() - self._began
        outer = self._stage
        own = Span(name, outer or name, now, now)
        self.spans.append(own)
        self._stage = own.stage
        try:
            yield
        finally:
            self._stage = outer
            own.end = time.perf_counter() - self._began

    def stages(self) -> dict[str, float]:
        """Seconds per stage in order, and under REST what lies between them."""
        found: dict[str, float] = {}
        for span in self.spans:
            if span.name == span.stage:
                found[span.name] = found.get(span.name, 0.0) + span.seconds
        return found | {REST: self.seconds - sum(found.values())}


def points() -> tuple[tuple[Any, str, str], ...]:
    """The stages of a request, those of the service's answer where the service is installed."""
    import importlib.util

    if importlib.util.find_spec("fastapi") is None:
        return PREDICTOR + ANSWER
    from brainmtl.serve import encoding, schemas
    from brainmtl.serve.audit import AuditLog

    return (
        *PREDICTOR,
        (AuditLog, "finish", "audit log"),
        (encoding, "picture_values", "answer"),
        *ANSWER,
        (schemas.MultitaskAnswer, "model_dump_json", "answer"),
    )


def record(request: Callable[[], object], count: int) -> list[Recording]:
    """``count`` recordings of ``request()``, after three that are not kept."""
    found = []
    with _watched(points()) as current:
        for number in range(3 + count):
            recording = current[0] = Recording()
            request()
            recording.seconds = time.perf_counter() - recording._began
            if number >= 3:
                found.append(recording)
    return found


def median_stages(recordings: Sequence[Recording]) -> dict[str, float]:
    """Median seconds per stage, in order of the stages."""
    names = dict.fromkeys(name for one in recordings for name in one.stages())
    names = {**{name: None for name in names if name != REST}, REST: None}
    return {
        name: statistics.median(one.stages().get(name, 0.0) for one in recordings) for name in names
    }


def median_lines(recordings: Sequence[Recording]) -> dict[tuple[str, str], float]:
    """Median seconds per (stage, stage) and, after it, per (stage, part), in order of beginning."""
    found: dict[str, dict[str, None]] = {}
    for span in typical(recordings).spans:
        found.setdefault(span.stage, {span.stage: None})[span.name] = None

    def total(one: Recording, stage: str, name: str) -> float:
        return sum(s.seconds for s in one.spans if (s.stage, s.name) == (stage, name))

    return {
        (stage, name): statistics.median(total(one, stage, name) for one in recordings)
        for stage, names in found.items()
        for name in names
    }


def typical(recordings: Sequence[Recording]) -> Recording:
    """The recording of median duration."""
    return sorted(recordings, key=lambda one: one.seconds)[len(recordings) // 2]


@contextmanager
def _watched(points: Sequence[tuple[Any, str, str]]) -> Iterator[list[Recording]]:
    """Within the block each function records a span in element 0 of what is yielded."""
    current = [Recording()]
    with ExitStack() as undo:
        for holder, name, stage in points:
            inherited = name not in vars(holder)
            original = getattr(holder, name)
            setattr(holder, name, _timed(original, stage, current))
            undo.callback(delattr, holder, name) if inherited else undo.callback(
                setattr, holder, name, original
            )
        yield current


def _timed(
    function: Callable[..., Any], stage: str, current: list[Recording]
) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        with record_function(stage), current[0].span(stage):
            return function(*arguments, **options)

    return call
