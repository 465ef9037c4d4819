"""What the figures depend on besides the code."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence

import torch

from benchmarks.speed.timing import Row, skipped_row
from brainmtl.data.loading.datamodule import default_workers
from brainmtl.training.precision import has_bf16

FLAGS = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "bf16")


def bf16_missing(device: str) -> str | None:
    """Why bfloat16 is not measured on ``device``; None where its hardware multiplies it."""
    kind = "gpu" if device.startswith("cuda") else "cpu"
    return None if has_bf16(kind) else f"this {kind.upper()} only emulates bfloat16"


def in_both_formats(
    title: str, devices: Sequence[str], measure: Callable[[str, str, str], list[Row]]
) -> list[Row]:
    """``measure(section, device, precision)`` in float32 and bf16; a skipped row where that is emulated."""
    found = []
    for device in devices:
        for precision, name in (("32", "float32"), ("bf16", "bf16")):
            section = f"{title}, {device}, {name}"
            reason = bf16_missing(device) if precision == "bf16" else None
            if reason:
                found.append(skipped_row(section, "all rows", reason))
            else:
                found += measure(section, device, precision)
    return found


def describe(devices: tuple[str, ...]) -> list[str]:
    """Lines on processor, threads, versions and on what else the machine does."""
    capabilities = torch.cpu.get_capabilities()
    flags = ", ".join(
        f"{flag}={'yes' if capabilities.get(flag) else 'no'}"
        for flag in FLAGS
        if flag in capabilities
    )
    lines = [
        f"CPU: {capabilities.get('cpu_name') or platform.processor()}; torch uses {torch.backends.cpu.get_cpu_capability()}; {flags}",
        f"threads: {torch.get_num_threads()} of {os.cpu_count()} cores; workers of a loader: "
        f"{default_workers()}",
        f"torch {torch.__version__}, Python {platform.python_version()}, {platform.system()}",
    ]
    if hasattr(os, "getloadavg"):
        load = os.getloadavg()[0]
        busy = " (other work takes part of the cores)" if load > 0.5 else ""
        lines.append(f"load at the start: {load:.1f}{busy}")
    if "cuda" in devices:
        lines.append(f"GPU: {torch.cuda.get_device_name()}, CUDA {torch.version.cuda}")
    else:
        lines.append("GPU: none")
    return lines
