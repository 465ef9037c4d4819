"""Number formats by accelerator: never a silent fallback."""

from __future__ import annotations

import logging

import torch

from brainmtl.errors import ConfigError

log = logging.getLogger(__name__)
CHOICES = ("auto", "32-true", "bf16-mixed", "16-mixed")


def has_bf16(accelerator: str) -> bool:
    """Whether the hardware multiplies bfloat16 itself (emulation is slower than float32)."""
    if accelerator == "gpu":
        return torch.cuda.get_device_capability()[0] >= 8
    capabilities = torch.cpu.get_capabilities()
    return bool(
        capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16")
    )


def resolve_accelerator(accelerator: str) -> str:
    """ "auto" -> "gpu" where there is one, else "cpu"; ConfigError when a GPU is asked for in vain."""
    if accelerator == "auto":
        return "gpu" if torch.cuda.is_available() else "cpu"
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError(
            "trainer.accelerator=gpu: no GPU is visible to torch; use trainer=cpu or trainer=auto"
        )
    return accelerator


def resolve_precision(value: str, accelerator: str) -> str:
    """The Trainer's ``precision`` for ``value`` on ``accelerator`` ("cpu" or "gpu").

    Raises:
        ConfigError: an unknown value, or one that this hardware would silently replace or emulate.
    """
    if value not in CHOICES:
        raise ConfigError(f"precision.value={value} must be one of {', '.join(CHOICES)}")
    if value == "auto":
        chosen = (
            "bf16-mixed"
            if has_bf16(accelerator)
            else "16-mixed"
            if accelerator == "gpu"
            else "32-true"
        )
        log.info("precision: %s (chosen for this %s)", chosen, accelerator)
        return chosen
    if value == "16-mixed" and accelerator == "cpu":
        raise ConfigError("precision=fp16 needs a GPU: on a CPU use precision=bf16, fp32 or auto")
    if value == "bf16-mixed" and not has_bf16(accelerator):
        raise ConfigError(
            f"precision=bf16: this {accelerator} only emulates bfloat16; use precision=fp32 or auto"
        )
    return value
