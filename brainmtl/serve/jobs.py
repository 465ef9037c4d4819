"""What the worker's thread does for a request: predict, encode, write the audit lines."""

from __future__ import annotations

import hashlib
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmtl.errors import ConfigError
from brainmtl.inference.predictor import Request
from brainmtl.inference.results import Failure, ImageResult, InputError, VolumeResult
from brainmtl.serve import encoding
from brainmtl.serve.errors import ApiError, error_body
from brainmtl.serve.schemas import BatchAnswer, BatchItem, MultitaskAnswer
from brainmtl.serve.settings import CHUNK
from brainmtl.serve.volumes import write_volume

if TYPE_CHECKING:
    from brainmtl.inference.predictor import MultiTaskPredictor
    from brainmtl.serve.service import Service

MAX_FILES = 32  # of a batch
# Of pictures that are answered together: sixteen of 512x512, or four of 1024x1024.
MAX_PIXELS_TOGETHER = 1 << 22
# 422 for the others: a picture of a kind that is read here, but damaged, too small or animated.
STATUS_OF = {"too_large": 413, "not_an_image": 415, "format_not_allowed": 415}


@dataclass(frozen=True)
class Task:
    """One request: its keyword arguments of the predictor, ``timings_ms`` of the steps so far, and
    when it was handed over (perf_counter)."""

    service: Service
    predictor: MultiTaskPredictor
    request_id: str
    endpoint: str
    options: Mapping[str, Any]
    timings_ms: dict[str, float]
    submitted: float = field(default_factory=time.perf_counter)

    def begin(self) -> None:
        """To be called in the worker's thread: notes how long the task waited."""
        self.timings_ms["queue"] = 1000 * (time.perf_counter() - self.submitted)

    def entry(
        self, sha256: str, decision: Mapping[str, Any], thresholds: Mapping[str, float] | None
    ) -> dict[str, Any]:
        """One entry of the audit log."""
        info = self.predictor.info
        return {
            "request_id": self.request_id,
            "endpoint": self.endpoint,
            "input_sha256": sha256,
            "model": info.name,
            "model_weights_sha256": info.weights_sha256,
            "runtime": {name: info.runtime[name] for name in ("name", "precision", "device")},
            "decision": dict(decision),
            "thresholds": None if thresholds is None else dict(thresholds),
            "duration_ms": round(1000 * (time.perf_counter() - self.submitted), 1),
        }


@dataclass(frozen=True)
class PictureTask:
    """A request of one picture: the file, and the type of the answer, JSON or PNG."""

    task: Task
    data: bytes
    media_type: str


def predict_pictures(asked: Sequence[PictureTask]) -> Iterator[bytes | Exception]:
    """Bodies of the answers to requests that wait together, in order, or an ApiError of their own.

    They go through the network together as long as they have no more than MAX_PIXELS_TOGETHER: the
    preparation of a large picture would keep the others waiting.
    """
    group: list[PictureTask] = []
    pixels = 0
    for one in asked:
        own = _pixels(one.data) if len(asked) > 1 else 0
        if group and pixels + own > MAX_PIXELS_TOGETHER:
            yield from _answers(group)
            group, pixels = [], 0
        group.append(one)
        pixels += own
    yield from _answers(group)


def _answers(group: Sequence[PictureTask]) -> Iterator[bytes | Exception]:
    for one in group:
        one.task.begin()
    requests = [Request(image=one.data, **one.task.options) for one in group]
    results = group[0].task.predictor.predict_requests(requests)
    for one, result in zip(group, results, strict=True):
        try:
            yield _answer(one, result)
        except Exception as error:  # of this request alone
            yield error


def _answer(one: PictureTask, result: ImageResult | Failure) -> bytes:
    task = one.task
    if isinstance(result, Failure):
        raise _rejected(task, one.data, result.error) from result.error
    recorded = _begin_record(task, [_picture_entry(task, result)])
    try:
        return _body(one, result)
    finally:
        recorded()  # no answer, and no refusal either, before the line is on the disk


def _body(one: PictureTask, result: ImageResult) -> bytes:
    if one.media_type == encoding.PNG:
        return encoding.picture_png(one.data, result)
    values = encoding.picture_values(result, one.task.predictor.info, one.task.timings_ms)
    return MultitaskAnswer(request_id=one.task.request_id, **values).model_dump_json().encode()


def predict_batch(task: Task, files: Sequence[bytes]) -> bytes:
    """Body of the answer on several pictures; those that cannot be read are errors of their own.

    Raises:
        ApiError: options that cannot work, or more pixels in all than one picture may have.
    """
    task.begin()
    if (refusal := _too_many_pixels(files)) is not None:
        raise _all_rejected(task, files, refusal)
    start = time.perf_counter()
    items, entries = [], []
    for first in range(0, len(files), CHUNK):
        chunk = files[first : first + CHUNK]
        try:
            results = task.predictor.predict_batch(chunk, **task.options)
        except ConfigError as error:
            raise _all_rejected(task, files, _refusal(error)) from error
        for index, (data, result) in enumerate(zip(chunk, results, strict=True), first):
            item, entry = _batch_item(task, index, data, result)
            items.append(item)
            entries.append(entry)
    _record(task, entries)
    task.timings_ms["total"] = 1000 * (time.perf_counter() - start)
    timings = encoding.rounded(task.timings_ms)
    answer = BatchAnswer(request_id=task.request_id, results=items, timings_ms=timings)
    return answer.model_dump_json().encode()


def predict_volume(task: Task, data: bytes, include_mask: bool) -> bytes:
    """Body of the answer on one NIfTI volume.

    Raises:
        ApiError: the volume cannot be read.
    """
    task.begin()
    start = time.perf_counter()
    # The predictor reads volumes from a path; the name says nothing of the client's.
    with tempfile.TemporaryDirectory(prefix="brainmtl-") as folder:
        try:
            path = write_volume(data, Path(folder))
            task.timings_ms["unpack"] = 1000 * (time.perf_counter() - start)
            result = task.predictor.predict_volume(path, **task.options)
        except (InputError, ConfigError, ApiError) as error:
            raise _rejected(task, data, error, folder) from error
    digest = hashlib.sha256(data).hexdigest()  # of what was sent, which may be packed
    decision = _decision(result) | {"volume_ml": result.volume_ml}
    _record(task, [task.entry(digest, decision, result.thresholds)])
    info = task.predictor.info
    answer = encoding.volume_answer(result, info, task.request_id, include_mask, task.timings_ms)
    return answer.model_dump_json().encode()


def _batch_item(
    task: Task, index: int, data: bytes, result: ImageResult | Failure
) -> tuple[BatchItem, dict[str, Any]]:
    if isinstance(result, Failure):
        refusal = _refusal(result.error)
        body = error_body(task.request_id, refusal.status, refusal.reason, refusal.detail)
        return BatchItem(index=index, ok=False, error=body), _rejection(task, data, refusal)
    values = encoding.picture_values(result, task.predictor.info, {})
    return BatchItem(index=index, ok=True, result=values), _picture_entry(task, result)


def _too_many_pixels(files: Sequence[bytes]) -> ApiError | None:
    """A batch may hold as many pixels as one picture: that bounds its memory and its time."""
    from brainmtl.data.image_io import MAX_PIXELS

    pixels = sum(map(_pixels, files))
    if len(files) == 1 or pixels <= MAX_PIXELS:
        return None
    detail = f"The batch has {pixels:,} pixels, more than {MAX_PIXELS:,}: send fewer pictures."
    return ApiError(413, "too_large", detail)


def _pixels(data: bytes) -> int:
    """As the header says; 0 where none can be read."""
    from PIL import Image

    from brainmtl.inference.inputs.input_check import FORMATS

    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            return image.width * image.height
    except Exception:  # the predictor says what is wrong with it
        return 0


def _picture_entry(task: Task, result: ImageResult) -> dict[str, Any]:
    shown = result.segmentation
    decision = _decision(result) | {"segmented": shown.performed, "area_px": shown.area_px}
    return task.entry(result.input_sha256, decision, result.thresholds)


def _decision(result: ImageResult | VolumeResult) -> dict[str, Any]:
    return {
        "label": result.label,
        "probability": result.probability,
        "abstained": result.abstained,
        "reason": result.reason_code,
    }


def _begin_record(task: Task, entries: list[dict[str, Any]]) -> Callable[[], None]:
    """Begin to write audit lines; what is returned waits until they are on the disk."""
    written = task.service.audit.begin(entries)

    def wait() -> None:
        task.service.audit.finish(written)
        abstained = sum(bool(entry["decision"].get("abstained")) for entry in entries)
        task.service.metrics.abstentions.inc(abstained)

    return wait


def _record(task: Task, entries: list[dict[str, Any]]) -> None:
    _begin_record(task, entries)()


def _rejection(task: Task, data: bytes, refusal: ApiError) -> dict[str, Any]:
    decision = {"rejected": refusal.reason, "status": refusal.status}
    return task.entry(hashlib.sha256(data).hexdigest(), decision, None)


def _rejected(
    task: Task, data: bytes, error: InputError | ConfigError | ApiError, folder: str | None = None
) -> ApiError:
    """The answer to a file that cannot be read, with its line in the audit log."""
    refusal = error if isinstance(error, ApiError) else _refusal(error, folder)
    _record(task, [_rejection(task, data, refusal)])
    return refusal


def _all_rejected(task: Task, files: Sequence[bytes], refusal: ApiError) -> ApiError:
    """The answer to a batch that is refused as a whole, with a line for each of its files."""
    _record(task, [_rejection(task, data, refusal) for data in files])
    return refusal


def _refusal(error: InputError | ConfigError, folder: str | None = None) -> ApiError:
    if not isinstance(error, InputError):
        detail = str(error.renamed(seg_gate="seg_threshold"))  # as the query calls it
        return ApiError(422, "invalid_parameter", detail)
    # Neither places on this server nor addresses of objects are a client's business.
    detail = re.sub(r"<_io\.\w+ object[^>]*>", "the file", str(error))
    if folder is not None:
        detail = re.sub(re.escape(folder) + r"/?[\w.]*", "the volume", detail)
    return ApiError(STATUS_OF.get(error.reason, 422), error.reason, detail[:1].upper() + detail[1:])
