"""The device that computes, and the number format that it computes in."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

from brainmtl.errors import ConfigError


def choose_device(device: str = "auto") -> str:
    """``auto`` -> ``cuda`` where there is one, else ``cpu``; any other name of torch's is passed through.

    Raises:
        ConfigError: there is no such device here.
    """
    import torch

    device = str(device)  # Hydra reads 0 as a number
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device={device}: this torch sees no CUDA device, use device=cpu")
    try:
        torch.empty(0, device=device)
    except RuntimeError as error:
        raise ConfigError(
            f"device={device}: this torch has no such device, use device=cpu or cuda"
        ) from error
    return device


def autocast(device: str, precision: str) -> AbstractContextManager:
    """bfloat16 autocast where ``precision`` is "bf16" on ``device`` (such as cuda:0), else nothing."""
    import torch

    if precision == "bf16":
        return torch.autocast(device.partition(":")[0], dtype=torch.bfloat16)
    return contextlib.nullcontext()
