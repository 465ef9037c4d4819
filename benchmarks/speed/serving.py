"""A request beside its bare network, masks only where they are due, and requests that come together."""

from __future__ import annotations

import asyncio
import importlib.util
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.environment import in_both_formats
from benchmarks.speed.service import MASK, NO_MASK, png, untrained_predictor
from benchmarks.speed.spans import NETWORK, median_stages, record
from benchmarks.speed.timing import Call, Row, Settings, compare, interleave, skipped_row
from brainmtl.inference.images import read_job
from brainmtl.inference.predictor import MultiTaskPredictor

AIM_MS = 5  # that a request may take beyond its network
PICTURES = 16
SHARES = (1.0, 0.5, 0.0)  # of pictures that get a mask
TOGETHER = 8  # requests
# Grouping has to serve so much more to be worth a queue that waits for company.
WORTH = 1.2


def rows(settings: Settings) -> list[Row]:
    """All rows of this module, for a service that computes in float32 and in bf16."""
    if importlib.util.find_spec("fastapi") is None:
        return [skipped_row("serving", "all rows", "pip install 'brainmtl[serve]'")]

    def measure(section: str, device: str, precision: str) -> list[Row]:
        predictor = untrained_predictor(device, precision)
        with tempfile.TemporaryDirectory() as folder:
            answer = Answers(predictor, Path(folder))
            rounds = settings.fewer(2)
            return [
                *_request_rows(section, predictor, answer, device, rounds),
                *_share_rows(section, predictor, device, rounds),
                *_together_rows(section, answer, device, rounds),
            ]

    return in_both_formats("serving", settings.devices, measure)


class Answers:
    """The service's own code around ``predictor``, without HTTP: from a file to a JSON body."""

    def __init__(self, predictor: MultiTaskPredictor, folder: Path) -> None:
        from brainmtl.serve.service import Service
        from brainmtl.serve.settings import Settings as ServiceSettings

        self.predictor = predictor
        self.service = Service(ServiceSettings(audit_log=folder / "audit.jsonl"))

    def one(self, file: bytes, **options: Any) -> bytes:
        """The answer to one request."""
        from brainmtl.serve import encoding, jobs

        return jobs.predict_picture(self._task(options), file, encoding.JSON)

    def queued(self, files: Sequence[bytes], **options: Any) -> None:
        """Requests that come at the same time, as the service's worker takes them: in turn."""
        self._run([lambda f=file: self.one(f, **options) for file in files])

    def grouped(self, files: Sequence[bytes], **options: Any) -> None:
        """The same as one job: a pass of the network over all of them, and an answer for each."""
        self._run([lambda: self._group(files, options)])

    def _group(self, files: Sequence[bytes], options: dict[str, Any]) -> list[bytes]:
        from brainmtl.serve import encoding
        from brainmtl.serve.schemas import MultitaskAnswer

        info, bodies = self.predictor.info, []
        for result in self.predictor.predict_batch(files, **options):
            task = self._task(options)
            self.service.audit.write([task.entry(result.input_sha256, {}, result.thresholds)])
            values = encoding.picture_values(result, info, task.timings_ms)
            bodies.append(MultitaskAnswer(request_id="0", **values).model_dump_json().encode())
        return bodies

    def _task(self, options: dict[str, Any]) -> Any:
        from brainmtl.serve.jobs import Task

        return Task(self.service, self.predictor, "0", "/predict_multitask", options, {})

    def _run(self, jobs: Sequence[Callable[[], object]]) -> None:
        async def all_of_them() -> None:
            await asyncio.gather(*(self.service.worker.run(job) for job in jobs))

        asyncio.run(all_of_them())


def _request_rows(
    section: str, predictor: MultiTaskPredictor, answer: Answers, device: str, rounds: int
) -> list[Row]:
    """What a request takes beyond its network, by stage."""
    file, network = png(0), predictor.network
    image = read_job(file).prepared.image[None]

    def bare(gradcam: bool) -> None:
        encoded = network.encode(image)
        network.decode(encoded, [0])
        if gradcam:
            network.gradcam(encoded, [0])

    found = []
    for gradcam, name in ((False, "mask"), (True, "mask and heat map")):
        options = {"include_gradcam": gradcam, **MASK}
        calls: dict[str, Call] = {
            "bare": lambda g=gradcam: bare(g),
            "request": lambda o=options: answer.one(file, **o),
        }
        seconds = interleave(calls, rounds, device)
        beyond = [a - b for a, b in zip(seconds["request"], seconds["bare"], strict=True)]
        found += [
            Row(section, f"network alone, {name}", _ms(seconds["bare"]), "ms"),
            Row(
                section,
                f"PNG to JSON, {name}",
                _ms(seconds["request"]),
                "ms",
                *compare(seconds["request"], seconds["bare"]),
                "times the time of the network alone",
            ),
            Row(
                section,
                f"... beyond the network, {name}",
                _ms(beyond),
                "ms",
                against=f"(aim: at most {AIM_MS} ms)",
            ),
        ]
    recordings = record(lambda: answer.one(file, include_gradcam=True, **MASK), rounds)
    stages = median_stages(recordings)
    rest = {name: value for name, value in stages.items() if name not in NETWORK}
    whole = sum(rest.values())
    return found + [
        Row(section, f"... of it {name}", 1000 * value, "ms", value / whole, None, "of the sum")
        for name, value in sorted(rest.items(), key=lambda item: -item[1])
    ]


def _share_rows(section: str, predictor: MultiTaskPredictor, device: str, rounds: int) -> list[Row]:
    """Pictures one by one, of which an exact share reaches the gate, against a mask for each."""
    files = [png(seed) for seed in range(PICTURES)]
    images = [read_job(file).prepared.image[None] for file in files]
    network = predictor.network

    def whole(gates: Sequence[dict[str, float]]) -> None:
        for file, gate in zip(files, gates, strict=True):
            made = predictor.predict_image(file, **gate).segmentation.performed
            if made != (gate is MASK):
                raise RuntimeError(f"gate {gate} of an untrained model: mask made is {made}")

    def alone(gates: Sequence[dict[str, float]]) -> None:
        for image, gate in zip(images, gates, strict=True):
            encoded = network.encode(image)
            if gate is MASK:
                network.decode(encoded, [0])

    found = []
    for name, run in (("network", alone), ("PNG to result", whole)):
        calls = {_percent(share): partial(run, _gates(share)) for share in SHARES}
        seconds = interleave(calls, rounds, device)
        always = seconds[_percent(1.0)]
        for share in SHARES:
            own = seconds[_percent(share)]
            title = f"{name}, {_percent(share)} of pictures with tumour"
            rate = PICTURES / statistics.median(own)
            if share == 1:
                found.append(Row(section, title, rate, "images/s", against="(a mask for each)"))
                continue
            against = "times the speed of a mask for each"
            found.append(Row(section, title, rate, "images/s", *compare(always, own), against))
    return found


def _gates(share: float) -> list[dict[str, float]]:
    """A gate per picture, so that the share of masks is exact, evenly spread."""
    steps = np.floor(np.arange(PICTURES + 1) * share)
    return [MASK if step else NO_MASK for step in np.diff(steps)]


def _together_rows(section: str, answer: Answers, device: str, rounds: int) -> list[Row]:
    """Requests that come at once: in turn, as the service does it, or as one batch."""
    files = [png(seed) for seed in range(TOGETHER)]
    seconds = interleave(
        {
            "queued": lambda: answer.queued(files, **MASK),
            "grouped": lambda: answer.grouped(files, **MASK),
        },
        rounds,
        device,
    )
    ratio, spread = compare(seconds["queued"], seconds["grouped"])
    # In turn the k-th of n answers is there after k parts of the time, in a batch all at its end.
    waits = (TOGETHER + 1) / 2 / TOGETHER
    mean_wait = [waits * value for value in seconds["queued"]]
    verdict = "pays" if ratio >= WORTH else "does not pay"
    title = f"{TOGETHER} requests at once"
    return [
        Row(
            section,
            f"{title}, in turn (as served)",
            TOGETHER / statistics.median(seconds["queued"]),
            "images/s",
        ),
        Row(
            section,
            f"{title}, as one batch",
            TOGETHER / statistics.median(seconds["grouped"]),
            "images/s",
            ratio,
            spread,
            f"times the speed in turn: grouping {verdict} here (from {WORTH:g} on it would)",
        ),
        Row(
            section,
            f"{title}, mean wait as one batch",
            _ms(seconds["grouped"]),
            "ms",
            *compare(seconds["grouped"], mean_wait),
            f"times the mean wait in turn, {_ms(mean_wait):.0f} ms",
        ),
    ]


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _ms(seconds: Sequence[float]) -> float:
    return 1000 * statistics.median(seconds)
