"""A request beside its bare network, masks only where they are due, and requests that come together."""

from __future__ import annotations

import asyncio
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.environment import in_both_formats
from benchmarks.speed.service import MASK, NO_MASK, png, pretrained_predictor
from benchmarks.speed.spans import NETWORK, median_stages, record
from benchmarks.speed.timing import Call, Row, Settings, compare, interleave, skipped_row
from brainmtl.data.preprocessing.preprocess import preprocess_slice
from brainmtl.inference.inputs.input_check import read_picture
from brainmtl.inference.predictor import MultiTaskPredictor

AIM_MS = 5  # that a request may take beyond its network
PICTURES = 16
SHARES = (1.0, 0.5, 0.0)  # of pictures that get a mask
TOGETHER = 8  # requests


def rows(settings: Settings) -> list[Row]:
    """All rows of this module, for a service that computes in float32 and in bf16."""
    if importlib.util.find_spec("fastapi") is None:
        return [skipped_row("serving", "all rows", "pip install 'brainmtl[serve]'")]

    def measure(section: str, device: str, precision: str) -> list[Row]:
        predictor = pretrained_predictor(device, precision)
        with tempfile.TemporaryDirectory() as folder:
            answer = Answers(predictor, Path(folder))
            batched = Answers(predictor, Path(folder), TOGETHER)
            rounds = settings.fewer(2)
            return [
                *_request_rows(section, predictor, answer, device, rounds),
                *_share_rows(section, predictor, device, rounds),
                *_together_rows(section, answer, batched, device, rounds),
            ]

    return in_both_formats("serving", settings.devices, measure)


class Answers:
    """The service's own code around ``predictor``, without HTTP: from a file to a JSON body.

    Up to ``max_batch`` requests that wait are computed together.
    """

    def __init__(self, predictor: MultiTaskPredictor, folder: Path, max_batch: int = 1) -> None:
        from brainmtl.serve.service import Service
        from brainmtl.serve.settings import Settings as ServiceSettings

        self.predictor = predictor
        settings = ServiceSettings(audit_log=folder / "audit.jsonl", max_batch=max_batch)
        self.service = Service(settings)

    def one(self, file: bytes, **options: Any) -> bytes:
        """The answer to one request."""
        from brainmtl.serve import jobs

        (body,) = jobs.predict_pictures([self._asked(file, options)])
        if isinstance(body, Exception):
            raise body
        return body

    def together(self, files: Sequence[bytes], **options: Any) -> list[float]:
        """Seconds until each of requests that come at the same time is answered."""
        return asyncio.run(self._together(files, options))

    async def _together(self, files: Sequence[bytes], options: dict[str, Any]) -> list[float]:
        from brainmtl.serve import jobs

        start = time.perf_counter()

        async def answered(file: bytes) -> float:
            asked = self._asked(file, options)
            await self.service.worker.run_together(jobs.predict_pictures, asked)
            return time.perf_counter() - start

        return await asyncio.gather(*map(answered, files))

    def _asked(self, file: bytes, options: dict[str, Any]) -> Any:
        from brainmtl.serve import encoding, jobs

        task = jobs.Task(self.service, self.predictor, "0", "/predict_multitask", options, {})
        return jobs.PictureTask(task, file, encoding.JSON)


def _request_rows(
    section: str, predictor: MultiTaskPredictor, answer: Answers, device: str, rounds: int
) -> list[Row]:
    """What a request takes beyond its network, by stage."""
    file, network = png(0), predictor.network
    image = _prepared(file)

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
    images = [_prepared(file) for file in files]
    network = predictor.network

    def whole(gates: Sequence[dict[str, float]]) -> None:
        for file, gate in zip(files, gates, strict=True):
            made = predictor.predict_image(file, **gate).segmentation.performed
            if made != (gate is MASK):
                raise RuntimeError(f"gate {gate} was asked for: mask made is {made}")

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


def _together_rows(
    section: str, alone: Answers, batched: Answers, device: str, rounds: int
) -> list[Row]:
    """Requests that come at once: one after another, and those together that wait for the first."""
    files = [png(seed) for seed in range(TOGETHER)]
    waits: dict[str, list[float]] = {"in turn": [], "together": []}

    def ask(name: str, answers: Answers) -> None:
        waits[name].append(statistics.mean(answers.together(files, **MASK)))

    seconds = interleave(
        {"in turn": lambda: ask("in turn", alone), "together": lambda: ask("together", batched)},
        rounds,
        device,
    )
    means = {name: own[-rounds:] for name, own in waits.items()}  # without those of the warm-up
    title = f"{TOGETHER} requests at once"
    in_turn, together = f"{title}, one after another", f"{title}, together as served"
    return [
        Row(section, in_turn, TOGETHER / statistics.median(seconds["in turn"]), "images/s"),
        Row(
            section,
            together,
            TOGETHER / statistics.median(seconds["together"]),
            "images/s",
            *compare(seconds["in turn"], seconds["together"]),
            "times the speed one after another",
        ),
        Row(
            section,
            f"{together}, mean wait",
            _ms(means["together"]),
            "ms",
            *compare(means["together"], means["in turn"]),
            f"times the mean wait one after another, {_ms(means['in turn']):.0f} ms",
        ),
    ]


def _prepared(file: bytes) -> np.ndarray:
    """What the network takes, (1, 1, 256, 256)."""
    return preprocess_slice(read_picture(file).luminance[None]).image[None]


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _ms(seconds: Sequence[float]) -> float:
    return 1000 * statistics.median(seconds)
