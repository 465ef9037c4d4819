"""What a training step spends its time on, by kind of operator, and how near it comes to a matrix product."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.baselines import default_name
from benchmarks.speed.efficiency import matrix_product
from benchmarks.speed.timing import Settings, interleave
from benchmarks.speed.training import make_batch, make_step
from brainmtl.files import atomic_path

PRODUCT_SIZE = 1024
CONVOLUTION = ("convolution, forward", "convolution, backward")
BETWEEN = "Python between operators"
OTHER = "loss and all else"
# Kind of operator -> parts of the names that aten gives it; the first that fits counts.
KINDS: dict[str, tuple[str, ...]] = {
    "optimiser": ("_foreach", "_fused_adam", "Optimizer."),
    CONVOLUTION[1]: ("convolution_backward", "ConvolutionBackward"),
    CONVOLUTION[0]: ("convolution", "conv2d", "aten::addmm", "aten::mm"),
    "normalisation": ("_norm",),
    "ReLU": ("relu", "threshold_backward", "clamp_min"),
    "pixel (un)shuffle, concatenation, pooling": (
        "shuffle",
        "aten::cat",
        "pool",
        "upsample",
        "replication_pad",
    ),
    "copies and changes of type or layout": (
        "copy_",
        "aten::to",
        "contiguous",
        "clone",
        "aten::fill_",
        "aten::zero_",
        "aten::empty",
        "resize_",
    ),
}
ORDER = (*CONVOLUTION, *(kind for kind in KINDS if kind not in CONVOLUTION), OTHER, BETWEEN)


@dataclass(frozen=True)
class StepProfile:
    """One number format: seconds per step by kind and by operator, all of the step without the
    profiler, operations of a step, and operations/s of step and of a matrix product of that type."""

    name: str
    seconds: float
    kinds: Mapping[str, float]
    operators: Mapping[str, float]
    flops: int
    rate: float
    product_rate: float

    def share(self, *kinds: str) -> float:
        """Of the step, in 0..1."""
        return sum(self.kinds[kind] for kind in kinds) / sum(self.kinds.values())

    @property
    def convolution_rate(self) -> float:
        """Operations/s while convolutions run: the step's are nearly all theirs."""
        return self.rate / self.share(*CONVOLUTION)


def profile_step(
    name: str, precision: str, settings: Settings, trace: Path | None = None
) -> StepProfile:
    """Profile the default model's step on the CPU; ``trace`` is where a chrome trace goes."""
    step = make_step(default_name(), "cpu", precision, torch.channels_last)
    batch = make_batch(settings.batch, settings.side)
    size = 256 if settings.quick else PRODUCT_SIZE
    calls = {"step": lambda: step(batch), "product": matrix_product(size, "cpu", precision)}
    seconds = interleave(calls, settings.fewer(6), "cpu")
    with FlopCounterMode(display=False) as counter:
        step(batch)
    flops = counter.get_total_flops()
    median = statistics.median(seconds["step"])
    steps = settings.fewer(6)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        start = time.perf_counter()
        for _ in range(steps):
            step(batch)
        profiled = time.perf_counter() - start
    if trace is not None:
        with atomic_path(trace) as temporary:
            profiler.export_chrome_trace(str(temporary))
    operators = {
        event.key: 1e-6 * event.self_cpu_time_total / profiled * median
        for event in profiler.key_averages()
    }
    return StepProfile(
        name,
        median,
        _by_kind(operators, median),
        operators,
        flops,
        flops / median,
        2 * size**3 / statistics.median(seconds["product"]),
    )


def kind_of(operator: str) -> str:
    """The kind of an operator, by its name."""
    for kind, parts in KINDS.items():
        if any(part in operator for part in parts):
            return kind
    return OTHER


def _by_kind(operators: Mapping[str, float], total: float) -> dict[str, float]:
    found = dict.fromkeys(ORDER, 0.0)
    for operator, seconds in operators.items():
        found[kind_of(operator)] += seconds
    found[BETWEEN] = max(total - sum(found.values()), 0.0)
    return found


def sentence(found: StepProfile) -> str:
    """What bounds the step, derived from its figures: the end of "a step is bound ..."."""
    convolution = found.share(*CONVOLUTION)
    reached = found.convolution_rate / found.product_rate
    others = sorted(
        (kind for kind in found.kinds if kind not in CONVOLUTION), key=found.kinds.get, reverse=True
    )
    rest = " and ".join(f"{found.share(kind):.0%} {kind}" for kind in others[:2])
    if convolution < 0.5:
        bound = "what surrounds the convolutions"
    elif reached < 0.5:
        bound = "its convolutions, which are far from the processor's arithmetic"
    else:
        bound = "the arithmetic of its convolutions"
    return (
        f"in {found.name} ({1000 * found.seconds:,.0f} ms) by {bound}: {convolution:.0%} is "
        f"convolution, {rest}; it reaches {1e-9 * found.rate:.0f} GFLOP/s "
        f"({1e-9 * found.convolution_rate:.0f} while it convolves) of the "
        f"{1e-9 * found.product_rate:.0f} of a matrix product of the same type"
    )
