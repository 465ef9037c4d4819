"""Durations of several calls side by side, and the rows they become."""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

Call = Callable[[], object]
WARM_UP = 3
# One reading lasts at least so long: shorter ones are moved by the timer and by one interruption.
SHORTEST_S = 0.02


@dataclass(frozen=True)
class Settings:
    """What all sections share: ``batch`` and ``side`` (pixels) are those of training."""

    rounds: int
    batch: int
    side: int
    devices: tuple[str, ...]
    data_dir: Path | None
    quick: bool
    raw_dir: Path | None = None

    @classmethod
    def asked(
        cls,
        options: argparse.Namespace,
        devices: tuple[str, ...],
        data_dir: Path | None = None,
        raw_dir: Path | None = None,
    ) -> Settings:
        """Those of a command line with ``rounds`` and ``quick``; the latter is tiny, for checks."""
        return cls(
            rounds=2 if options.quick else options.rounds,
            batch=2 if options.quick else 16,
            side=64 if options.quick else 256,
            devices=devices,
            data_dir=data_dir,
            quick=options.quick,
            raw_dir=raw_dir,
        )

    def fewer(self, divisor: int) -> int:
        """Rounds for calls that last seconds: a part of all, at least two."""
        return max(2, self.rounds // divisor)


@dataclass(frozen=True)
class Row:
    """One line of the table. ``ratio`` is to what ``against`` says, None where there is nothing to
    compare; ``spread`` are its quartiles over the rounds. A skipped row has only ``against``: why.
    """

    section: str
    name: str
    value: float | None
    unit: str
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    against: str = ""

    @property
    def skipped(self) -> bool:
        """Whether nothing was measured."""
        return self.value is None


def skipped_row(section: str, name: str, reason: str) -> Row:
    """The row of something that cannot run here."""
    return Row(section, name, None, "", against=f"skipped: {reason}")


def interleave(calls: Mapping[str, Call], rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds per call, one value per round: every round measures all ``calls`` once, in turn.

    What else the machine does meets all of them alike, so that ratios are formed within a round.
    Every other round goes backwards, since a call may suffer from what its forerunner left in the
    caches.
    """
    repeats = {name: _repeats(call, device) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for k in range(rounds):
        for name in list(calls)[:: -1 if k % 2 else 1]:
            seconds[name].append(measure(calls[name], repeats[name], device))
    return seconds


def measure(call: Call, repeats: int, device: str) -> float:
    """Mean seconds of ``repeats`` calls in a row, what they have queued on a GPU included."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    synchronize(device)
    return (time.perf_counter() - start) / repeats


def synchronize(device: str) -> None:
    """Wait for the GPU; nothing on a CPU."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def compare(reference: list[float], own: list[float]) -> tuple[float, tuple[float, float]]:
    """Median and quartiles of reference / own, formed round by round: how many times as fast."""
    ratios = [a / b for a, b in zip(reference, own, strict=True)]
    if len(ratios) == 1:
        return ratios[0], (ratios[0], ratios[0])
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return statistics.median(ratios), (low, high)


def faster(
    section: str,
    seconds: Mapping[str, list[float]],
    reference: str,
    *,
    per_call: float = 1.0,
    rate: bool = False,
) -> list[Row]:
    """One row per call: milliseconds, or images/s with ``rate``, and speed against ``reference``.

    ``per_call`` is the number of images of a call.
    """
    rows = []
    for name, own in seconds.items():
        each = statistics.median(own) / per_call
        value, unit = (1 / each, "images/s") if rate else (1000 * each, "ms")
        if name == reference:
            rows.append(
                Row(section, name, value, unit, against="(what the others are compared with)")
            )
            continue
        ratio, spread = compare(seconds[reference], own)
        rows.append(
            Row(section, name, value, unit, ratio, spread, f"times the speed of {reference}")
        )
    return rows


def _repeats(call: Call, device: str) -> int:
    for _ in range(WARM_UP):
        last = measure(call, 1, device)
        if last > 1:
            break
    return max(1, math.ceil(SHORTEST_S / last))
