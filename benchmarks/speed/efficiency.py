"""How much of the processor the default model's convolutions use."""

from __future__ import annotations

import statistics

import torch

from benchmarks.speed.baselines import SIDE, build, channels_last, default_name
from benchmarks.speed.environment import in_both_formats
from benchmarks.speed.timing import Call, Row, Settings, compare, interleave
from brainmtl.inference.device import autocast
from brainmtl.models.summary import summarize

BATCHES = (1, 16)


def rows(settings: Settings) -> list[Row]:
    """GFLOP/s of the forward pass, and what a matrix product of the same type reaches."""

    def measure(section: str, device: str, precision: str) -> list[Row]:
        return _one(section, device, precision, settings)

    return in_both_formats("efficiency", settings.devices, measure)


def _one(section: str, device: str, precision: str, settings: Settings) -> list[Row]:
    if device == "cuda":
        # cuDNN uses TF32 unless told otherwise, the matrix product only when told to.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    size = 256 if settings.quick else 8192 if device == "cuda" else 1024
    product = f"matrix product of {size}x{size}"
    model = channels_last(build(default_name()).to(device).eval().requires_grad_(False))
    operations = {product: 2 * size**3}  # a multiplication and an addition each
    calls: dict[str, Call] = {product: matrix_product(size, device, precision)}
    for batch in BATCHES:
        name = f"{default_name()} with mask, batch {batch}"
        operations[name] = 2 * batch * summarize(model, SIDE).macs["total"]
        calls[name] = _forward(model, batch, device, precision)
    seconds = interleave(calls, settings.rounds, device)
    per_operation = {name: [s / operations[name] for s in own] for name, own in seconds.items()}
    found = []
    for name, own in per_operation.items():
        rate = 1e-9 / statistics.median(own)
        if name == product:
            found.append(Row(section, name, rate, "GFLOP/s"))
        else:
            found.append(
                Row(
                    section,
                    name,
                    rate,
                    "GFLOP/s",
                    *compare(per_operation[product], own),
                    "of the matrix product's",
                )
            )
    return found


def matrix_product(size: int, device: str, precision: str) -> Call:
    """A call that multiplies two square matrices of ``size``: 2 size^3 operations."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b, c = (torch.randn(size, size, device=device).to(dtype) for _ in range(3))
    return lambda: torch.mm(a, b, out=c)


def _forward(model: torch.nn.Module, batch: int, device: str, precision: str) -> Call:
    images = torch.randn(batch, 1, SIDE, SIDE, device=device)

    def run() -> None:
        with torch.inference_mode(), autocast(device, precision):
            model(images)

    return run
