"""Parameters and multiply-adds of a model, measured."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from brainmtl.models.multitask import PARTS, MultiTaskModel


@dataclass(frozen=True)
class ModelSummary:
    """Sizes of a model; parts are "encoder", "decoder", "head" and "total"."""

    parameters: dict[str, int]
    macs: dict[str, int]  # multiply-adds of one image, convolutions and linear layers

    @property
    def cls_only_macs(self) -> int:
        """Multiply-adds of one image with do_seg=False."""
        return self.macs["encoder"] + self.macs["head"]


def summarize(model: MultiTaskModel, image_size: int = 256) -> ModelSummary:
    """Count the parameters, and the multiply-adds of one square image of `image_size` pixels.

    Counted by PyTorch's FlopCounterMode during a forward pass on the meta device, which computes
    nothing; it reports two operations per multiply-add. The model's mode is left as it was.
    """
    counts = model.parameter_counts()
    on_meta = torch.empty(1, model.encoder.in_channels, image_size, image_size, device="meta")
    state = {name: tensor.to("meta") for name, tensor in model.state_dict().items()}
    counter = FlopCounterMode(display=False)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    with counter, torch.no_grad():
        torch.func.functional_call(model, state, (on_meta,))
    for module, mode in modes.items():
        module.training = mode
    flops = counter.get_flop_counts()
    macs = {part: sum(flops[f"MultiTaskModel.{part}"].values()) // 2 for part in PARTS}
    return ModelSummary(
        parameters={part: counts[part] for part in (*PARTS, "total")},
        macs=macs | {"total": counter.get_total_flops() // 2},
    )
