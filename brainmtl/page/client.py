"""The service as the page sees it: questions, answers, and one kind of error that carries a remedy."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from brainmtl.errors import BrainMTLError

DEFAULT_URL = "http://127.0.0.1:8000"
UP, LOADING, NO_MODEL, DOWN = "up", "loading", "no model", "down"
STATUS_S = 5.0  # to answer what costs nothing
ANSWER_S = 600.0  # a volume on a slow processor
PATIENCE_S = 120.0  # that a busy service is asked again, for one request
BATCH_FILES, BATCH_BYTES = (
    8,
    32 << 20,
)  # of one request: below the service's limits, above its chunks

Files = list[tuple[str, tuple[str, bytes]]]
OnWait = Callable[[int], None]


class ServiceError(BrainMTLError):
    """No answer: ``status`` (HTTP, None where nothing answered), ``reason`` (one word) and a sentence
    with the remedy, of the service itself wherever it said one."""

    def __init__(
        self, status: int | None, reason: str, detail: str, request_id: str | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.request_id = request_id


@dataclass(frozen=True)
class Options:
    """What is asked for; None leaves a threshold to the model's operating point."""

    seg_threshold: float | None = None
    cls_threshold: float | None = None
    gradcam: bool = False

    def query(self) -> dict[str, float]:
        """The thresholds that are set, as query parameters."""
        found = {"seg_threshold": self.seg_threshold, "cls_threshold": self.cls_threshold}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class Status:
    """``state`` is UP, LOADING, NO_MODEL or DOWN, ``detail`` says why it is not UP."""

    state: str
    detail: str = ""
    version: str | None = None


def start_command(url: str) -> str:
    """The command that starts the service where ``url`` looks for it."""
    return f"uvicorn brainmtl.serve.app:app --port {urlsplit(url).port or 8000}"


class Client:
    """Asks one service; any number of threads may share it."""

    def __init__(self, http: httpx.Client, sleep: Callable[[float], None] = time.sleep) -> None:
        self._http = http
        self._sleep = sleep

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Client:
        """Of BRAINMTL_API_URL (default: this machine, port 8000) and BRAINMTL_API_KEY."""
        url = environ.get("BRAINMTL_API_URL", "").strip() or DEFAULT_URL
        key = environ.get("BRAINMTL_API_KEY", "").strip()
        headers = {"X-API-Key": key} if key else {}
        # Not through a proxy of the environment: the service is on this machine or beside it.
        return cls(httpx.Client(base_url=url, headers=headers, timeout=ANSWER_S, trust_env=False))

    @property
    def url(self) -> str:
        """Where the service is looked for."""
        return str(self._http.base_url).rstrip("/")

    def status(self) -> Status:
        """Whether the service can predict; never raises."""
        try:
            health = self._get("/health")
            ready = self._http.get("/ready", timeout=STATUS_S)
        except ServiceError as error:
            return Status(DOWN, error.detail)
        except httpx.HTTPError as error:
            return Status(DOWN, self._unreachable(error).detail)
        version = health.get("version")
        if ready.status_code == 200:
            return Status(UP, version=version)
        problem = _error(ready)
        state = LOADING if problem.reason == "model_loading" else NO_MODEL
        return Status(state, problem.detail, version)

    def model(self) -> dict[str, Any]:
        """GET /model: identity, operating point and card.

        Raises:
            ServiceError: no model, or the key is refused.
        """
        return self._get("/model")

    def picture(
        self, data: bytes, options: Options, on_wait: OnWait | None = None
    ) -> dict[str, Any]:
        """POST /predict_multitask.

        Args:
            on_wait: called with the seconds before a busy service is asked again.

        Raises:
            ServiceError: the picture cannot be used, or there is no answer.
        """
        query = options.query() | {"include_gradcam": options.gradcam}
        return self._post("/predict_multitask", _files("file", [data]), query, on_wait)

    def volume(
        self, data: bytes, options: Options, on_wait: OnWait | None = None
    ) -> dict[str, Any]:
        """POST /predict_volume with the mask; arguments and errors as :meth:`picture`."""
        query = options.query() | {"include_mask": True}
        return self._post("/predict_volume", _files("file", [data]), query, on_wait)

    def batch(
        self, pictures: Sequence[bytes], options: Options, on_wait: OnWait | None = None
    ) -> Iterator[dict[str, Any]]:
        """POST /predict_batch, in as many requests as needed; yields one item per picture, in order.

        An item is the service's: ``index``, ``ok``, and ``result`` or ``error``. Where the service
        stops to answer, the pictures that are left are items with that error.
        """
        done = 0
        try:
            for first, last in _chunks([len(data) for data in pictures]):
                for item in self._chunk(pictures[first:last], options, on_wait):
                    yield item | {"index": done}
                    done += 1
        except ServiceError as error:
            for index in range(done, len(pictures)):
                yield {"index": index, "ok": False, "result": None, "error": _body(error)}

    def _chunk(
        self, pictures: Sequence[bytes], options: Options, on_wait: OnWait | None
    ) -> list[dict[str, Any]]:
        query = options.query() | {"include_gradcam": options.gradcam}
        try:
            answer = self._post("/predict_batch", _files("files", pictures), query, on_wait)
        except ServiceError as error:
            if error.status != 413:
                raise
            if len(pictures) == 1:
                return [{"index": 0, "ok": False, "result": None, "error": _body(error)}]
            # Too many bytes or pixels for this service in one request: each half by itself.
            middle = len(pictures) // 2
            halves = (pictures[:middle], pictures[middle:])
            return [item for half in halves for item in self._chunk(half, options, on_wait)]
        return answer["results"]

    def _get(self, path: str) -> dict[str, Any]:
        try:
            answer = self._http.get(path, timeout=STATUS_S)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        return _values(answer)

    def _post(
        self, path: str, files: Files, query: Mapping[str, Any], on_wait: OnWait | None
    ) -> dict[str, Any]:
        waited = 0
        while True:
            try:
                answer = self._http.post(path, files=files, params=dict(query))
            except httpx.HTTPError as error:
                raise self._unreachable(error) from error
            seconds = _retry_after(answer)
            if seconds is None or waited + seconds > PATIENCE_S:
                return _values(answer)
            if on_wait is not None:
                on_wait(seconds)
            self._sleep(seconds)
            waited += seconds

    def _unreachable(self, error: httpx.HTTPError) -> ServiceError:
        if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
            detail = f"The service at {self.url} did not answer in time: try again later."
            return ServiceError(None, "timeout", detail)
        return ServiceError(None, "unreachable", f"No service answers at {self.url}.")


def _files(field: str, pictures: Sequence[bytes]) -> Files:
    """Form fields under a neutral name: names of files may be names of patients."""
    return [(field, ("file", data)) for data in pictures]


def _chunks(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(first, end) of requests of at most BATCH_FILES files and, above one file, BATCH_BYTES."""
    first, held = 0, 0
    for index, size in enumerate(sizes):
        if index > first and (index - first == BATCH_FILES or held + size > BATCH_BYTES):
            yield first, index
            first, held = index, 0
        held += size
    if sizes:
        yield first, len(sizes)


def _retry_after(answer: httpx.Response) -> int | None:
    """Seconds after which a service that is busy wants to be asked again."""
    text = answer.headers.get("retry-after", "")
    return max(int(text), 1) if answer.status_code == 503 and text.isdecimal() else None


def _values(answer: httpx.Response) -> dict[str, Any]:
    if answer.status_code != 200:
        raise _error(answer)
    try:
        values = answer.json()
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise _foreign(answer)
    return values


def _error(answer: httpx.Response) -> ServiceError:
    try:
        body = answer.json()
        reason, detail = str(body["reason"]), str(body["detail"])
        return ServiceError(answer.status_code, reason, detail, body.get("request_id"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return _foreign(answer)


def _foreign(answer: httpx.Response) -> ServiceError:
    return ServiceError(
        answer.status_code,
        "not_brainmtl",
        f"What answers at {answer.request.url.copy_with(path='/', query=None)} (status "
        f"{answer.status_code}) is not brainmtl: set BRAINMTL_API_URL to the service's address.",
    )


def _body(error: ServiceError) -> dict[str, Any]:
    return {"reason": error.reason, "detail": error.detail, "request_id": error.request_id}
