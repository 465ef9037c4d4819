"""One training step: forward, loss, backward, AdamW, all data in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from benchmarks.speed.baselines import FAST, REFERENCE, build, default_name
from benchmarks.speed.environment import bf16_missing, in_both_formats
from benchmarks.speed.timing import Row, Settings, faster, interleave, skipped_row
from brainmtl.config import CONF_DIR
from brainmtl.inference.device import autocast
from brainmtl.models.multitask import PARTS

Batch = dict[str, Any]
Step = Callable[[Batch], None]
RATE = 1e-3


def rows(settings: Settings) -> list[Row]:
    """The default model and ``unet_2m_fast`` against the reference in float32, NCHW."""
    found = []
    for device in settings.devices:
        section = f"training, {device}, batch {settings.batch}"
        steps, absent = _steps(device)
        batch = to_device(make_batch(settings.batch, settings.side), device)
        calls = {name: lambda s=step, b=batch: s(b) for name, step in steps.items()}
        seconds = interleave(calls, settings.fewer(6), device)
        reference = next(iter(steps))
        found += faster(section, seconds, reference, per_call=settings.batch, rate=True)
        found += [skipped_row(section, name, reason) for name, reason in absent.items()]
    return found


def compiled_rows(settings: Settings) -> list[Row]:
    """A step of the default by torch.compile, which costs a minute beforehand, against one without."""

    def measure(section: str, device: str, precision: str) -> list[Row]:
        batch = to_device(make_batch(settings.batch, settings.side), device)
        layout = torch.channels_last
        calls = {}
        for name, compiled in (("eager", False), ("compiled", True)):
            step = make_step(default_name(), device, precision, layout, compiled=compiled)
            calls[name] = lambda s=step: s(batch)
        try:
            calls["compiled"]()
        except Exception as error:  # what a missing or unfit compiler raises is torch's own
            reason = f"torch.compile failed ({type(error).__name__}): it needs a C++ compiler"
            return [skipped_row(section, "compiled", reason)]
        seconds = interleave(calls, settings.fewer(6), device)
        return faster(section, seconds, "eager", per_call=settings.batch, rate=True)

    title = f"training of {default_name()}, batch {settings.batch}"
    return in_both_formats(title, settings.devices, measure)


def make_step(
    name: str, device: str, precision: str, layout: torch.memory_format, *, compiled: bool = False
) -> Step:
    """A function that trains ``name`` of ``conf/model`` by one batch, with the configured loss."""
    model = build(name).to(device, memory_format=layout).train()
    loss = instantiate(OmegaConf.load(CONF_DIR / "loss/default.yaml")).to(device)
    if loss.needs_class_weights:
        loss.set_class_weights(torch.ones(2, device=device))
    make_optimizer = instantiate(OmegaConf.load(CONF_DIR / "optimizer/adamw.yaml"))
    optimizer = make_optimizer(model, dict.fromkeys(PARTS, RATE), PARTS)
    forward = torch.compile(model) if compiled else model

    def step(batch: Batch) -> None:
        with autocast(device, precision):
            output = forward(batch["images"].contiguous(memory_format=layout))
            total = loss(output, batch).total
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

    return step


def make_batch(size: int, side: int) -> Batch:
    """Noise with masks for two rows of three and labels for all, as the mixed loader gives them."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(size, 1, side, side, generator=generator)
    rows = torch.arange(size)
    return {
        "images": images,
        "masks": (images[:, 0] > 1).to(torch.uint8),
        "has_masks": rows % 3 > 0,
        "cls_labels": rows % 2,
        "has_labels": torch.ones(size, dtype=torch.bool),
    }


def to_device(batch: Batch, device: str) -> Batch:
    """The batch with all its tensors on ``device``."""
    return {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}


def _steps(device: str) -> tuple[dict[str, Step], dict[str, str]]:
    nchw, nhwc = torch.contiguous_format, torch.channels_last
    steps = {f"{REFERENCE}, float32 NCHW": make_step(REFERENCE, device, "32", nchw)}
    absent: dict[str, str] = {}
    reason = bf16_missing(device)
    for name in dict.fromkeys((FAST, default_name())):
        steps[f"{name}, float32 channels_last"] = make_step(name, device, "32", nhwc)
        title = f"{name}, bf16 channels_last"
        if reason:
            absent[title] = reason
        else:
            steps[title] = make_step(name, device, "bf16", nhwc)
    return steps, absent
