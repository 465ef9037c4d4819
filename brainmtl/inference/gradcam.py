"""Where the classification head looks: a heat map by LayerCAM, and what share of it is where.

Jiang et al. 2021, "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization", a
descendant of Grad-CAM: every feature of a layer counts at its own place by the positive part of the
gradient of the class's logit there, A * relu(dy/dA), summed over channels. Grad-CAM (Selvaraju et al.
2017) averages each channel's gradient over all places first. Where the head takes maxima, the gradient
belongs to few places, and its average says nothing of the others: on the validation slices of a trained
default network Grad-CAM never had its maximum in the tumour, this map in 67 to 81 % (docs/evaluation.md).

The layer is the one above the bottleneck, 16x16 or 32x32 for a 256x256 image, so that the map's outline
says nothing finer than that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from brainmtl.models.multitask import MultiTaskModel

TUMOUR = 1  # index of the logit


class HeatShares(NamedTuple):
    """Shares of the heat in [0, 1], and the pointing game; None where not defined.

    ``outside_head`` needs some heat, ``half_area`` some within the head, ``inside_tumour`` and
    ``pointing_hit`` some heat and a tumour. ``half_area`` is how even the map is: the smallest share
    of the head's area that holds half of the heat within the head, 0.5 where it is the same everywhere.
    """

    outside_head: float | None
    half_area: float | None
    inside_tumour: float | None
    pointing_hit: bool | None


def layercam(model: MultiTaskModel, images: Tensor) -> Tensor:
    """LayerCAM of the tumour logit for ``images`` (B, C, H, W): float32 (B, H, W) in [0, 1].

    Each map is divided by its own maximum, so that maps of two images do not compare in strength;
    where nothing speaks for tumour the map is 0 everywhere. The model may be frozen and shared by
    threads: no hook is set, and neither its weights nor their gradients are touched. The caller may
    be inside ``torch.no_grad()`` or ``torch.inference_mode()``, unless the model itself was made
    inside inference mode: no gradient passes through such weights (RuntimeError of torch).

    Raises:
        ConfigError: images of another number of axes or channels than the model takes.
        ValueError: the model is in training mode, where dropout and norms depend on the batch.
    """
    import torch

    from brainmtl.models.blocks import check_image_batch

    _require_eval(model)
    check_image_batch(images, model.encoder.in_channels)
    with torch.no_grad():
        features = model.encode(images)
    height, width = images.shape[-2:]
    return layercam_from_features(model, features[-2], (height, width))


def layercam_from_features(
    model: MultiTaskModel, features: Tensor, size: tuple[int, int]
) -> Tensor:
    """:func:`layercam` where the encoder has run already: its last block and the head run again.

    Args:
        features: (B, channels, h, w), the last but one of the encoder's feature maps, the level above
            the bottleneck, for images padded by :func:`brainmtl.models.multitask.pad_to_multiple`.
        size: (H, W) of the images before padding.

    Raises:
        ValueError: the model is in training mode, or images of ``size`` have no such feature map.
    """
    import torch
    from torch.nn import functional as F

    _require_eval(model)
    padded = [length * model.encoder.size_multiple // 2 for length in features.shape[-2:]]
    if any(not 0 < inner <= outer for inner, outer in zip(size, padded, strict=True)):
        raise ValueError(f"images of {tuple(size)} do not fit features for {tuple(padded)}")
    # Leaving inference mode, and a copy of what was made inside it, is what lets autograd record.
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(features.device.type, enabled=False),
    ):
        level = features.detach().float()
        if level.is_inference():
            level = level.clone()
        level.requires_grad_(True)
        bottleneck = model.encoder.blocks[-1](F.max_pool2d(level, kernel_size=2))
        # in eval mode an image's logit depends on its own features alone: one sum serves the batch
        logits = model.head(bottleneck)[:, TUMOUR]
        (gradients,) = torch.autograd.grad(logits.sum(), level)
    with torch.no_grad():
        coarse = (gradients.relu() * level).sum(dim=1, keepdim=True).relu()
        heat = F.interpolate(coarse, size=tuple(padded), mode="bilinear", align_corners=False)
        heat = heat[:, 0, : size[0], : size[1]]
        peak = heat.amax(dim=(1, 2), keepdim=True)
        return torch.where(peak > 0, heat / peak, torch.zeros_like(heat))


def head_mask(image: np.ndarray) -> np.ndarray:
    """The head or brain in a prepared image (C, H, W) or (H, W): bool (H, W).

    The convex hull of all that preparation did not set to its background value. The hull takes in
    what the search for the foreground lost of a dark skull or of a thin scalp, but also the
    background in the bays of an outline: some 4 % of a skull-stripped brain, more where a low slice
    shows two lobes apart. A picture whose corners are no background is all head here, so that
    nothing counts as outside of it.
    """
    from brainmtl.data.preprocessing.hull import convex_hull
    from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE

    planes = image if image.ndim == 3 else image[None]
    return convex_hull((planes != BACKGROUND_VALUE).any(axis=0))


def heat_shares(
    heat: np.ndarray, head_mask: np.ndarray, tumour_mask: np.ndarray | None = None
) -> HeatShares:
    """How much of a heat map (H, W), values >= 0, lies where; masks are bool (H, W).

    ``pointing_hit`` is the pointing game of Zhang et al. 2016 ("Top-down Neural Attention by
    Excitation Backprop") without its margin: the maximum lies inside the tumour; where several
    pixels share the maximum, all of them do.

    Raises:
        ValueError: shapes that differ, or heat that is negative or not finite.
    """
    for mask in (head_mask, tumour_mask):
        if mask is not None and mask.shape != heat.shape:
            raise ValueError(f"heat {heat.shape} and mask {mask.shape} differ in shape")
    given, heat = heat, np.asarray(heat, dtype=np.float64)
    if not (np.isfinite(heat).all() and (heat >= 0).all()):
        raise ValueError("heat must be finite and not negative")
    total = float(heat.sum())
    if total == 0:
        return HeatShares(None, None, None, None)
    head = head_mask.astype(bool)
    outside, half = float(heat[~head].sum()) / total, _half_area(given[head])
    if tumour_mask is None or not tumour_mask.any():
        return HeatShares(outside, half, None, None)
    tumour = tumour_mask.astype(bool)
    return HeatShares(
        outside, half, float(heat[tumour].sum()) / total, bool(tumour[heat == heat.max()].all())
    )


def _half_area(heat: np.ndarray) -> float | None:
    held = np.cumsum(np.sort(heat)[::-1], dtype=np.float64)
    if not len(held) or held[-1] == 0:
        return None
    return float(np.searchsorted(held, held[-1] / 2) + 1) / len(held)


def _require_eval(model: MultiTaskModel) -> None:
    if model.encoder.training or model.head.training:
        raise ValueError("LayerCAM needs the model in eval mode: call model.eval() first")
