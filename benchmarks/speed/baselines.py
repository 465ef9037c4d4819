"""Networks to compare: the project's, and two separate ones as they are usually run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from brainmtl.config import CONF_DIR
from brainmtl.inference.device import autocast
from brainmtl.models import MultiTaskModel

REFERENCE = "unet_2m"  # the plain U-Net of the same size: base 32, depth 3, 256x256 throughout
FAST = "unet_2m_fast"
SIDE = 256  # of the network's input


def default_name() -> str:
    """The choice of ``conf/model`` that ``train.py`` takes unless told otherwise."""
    defaults = OmegaConf.load(CONF_DIR / "train.yaml").defaults
    return next(entry["model"] for entry in defaults if "model" in entry)


def build(name: str) -> MultiTaskModel:
    """An untrained model of ``conf/model``, in training mode; cost does not depend on weights."""
    torch.manual_seed(0)
    return instantiate(OmegaConf.load(CONF_DIR / "model" / f"{name}.yaml"))


@dataclass(frozen=True)
class Gated:
    """A network of two steps: ``encode`` gives class logits (B, 2) and what ``decode`` takes to give
    mask logits (B, 1, H, W)."""

    encode: Callable[[Tensor], tuple[Tensor, object]]
    decode: Callable[[object], Tensor]

    @torch.inference_mode()
    def answer(self, image: Tensor, gate: float) -> tuple[float, Tensor | None]:
        """P(tumour) of one image and, where it reaches ``gate``, the probability of each pixel."""
        logits, state = self.encode(image)
        probability = float(logits.float().softmax(dim=1)[0, 1])
        if probability < gate:
            return probability, None
        return probability, self.decode(state).float().sigmoid().cpu()


def shared(model: MultiTaskModel, device: str, precision: str) -> Gated:
    """One encoder for both tasks.

    ``precision`` is "32", "bf16" (autocast) or "bf16 weights" (no copies, and norms in bfloat16 too).
    """
    model = model.to(device).eval().requires_grad_(False)
    dtype = torch.bfloat16 if precision == "bf16 weights" else torch.float32
    model = model.to(dtype)

    def encode(image: Tensor) -> tuple[Tensor, list[Tensor]]:
        with autocast(device, precision):
            features = model.encode(image.to(dtype))
            return model.head(features[-1]), features

    def decode(features: list[Tensor]) -> Tensor:
        with autocast(device, precision):
            return model.decoder(features)

    return Gated(encode, decode)


def channels_last(model: MultiTaskModel) -> MultiTaskModel:
    """The layout that convolutions are fastest in; the images' one channel has either layout."""
    return model.to(memory_format=torch.channels_last)


def two_models(device: str) -> Gated:
    """A classifier and a U-Net that know nothing of each other: float32, NCHW, eager.

    Both have the width of ``unet_2m``. The U-Net runs only where the classifier's P reaches the gate,
    so that an image without tumour costs the reference no second pass either.
    """
    classifier = build(REFERENCE).to(device).eval().requires_grad_(False)
    segmenter = build(REFERENCE).to(device).eval().requires_grad_(False)

    def encode(image: Tensor) -> tuple[Tensor, Tensor]:
        return classifier(image, do_seg=False).cls, image

    def decode(image: Tensor) -> Tensor:
        return segmenter(image, do_cls=False).seg

    return Gated(encode, decode)
