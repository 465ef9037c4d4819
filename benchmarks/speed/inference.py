"""One image through networks of two kinds, by the runtimes that serve them and by others."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.speed.baselines import (
    FAST,
    REFERENCE,
    SIDE,
    Gated,
    build,
    channels_last,
    default_name,
    shared,
    two_models,
)
from benchmarks.speed.environment import bf16_missing
from benchmarks.speed.timing import Call, Row, Settings, faster, interleave, skipped_row
from brainmtl.errors import ConfigError
from brainmtl.exporting.int8_export import export_int8
from brainmtl.exporting.onnx_export import export_onnx
from brainmtl.inference.runtimes.base import Runtime
from brainmtl.inference.runtimes.compiled import Compiled
from brainmtl.inference.runtimes.eager import Eager
from brainmtl.inference.runtimes.onnx_runtime import OnnxRuntime
from brainmtl.inference.runtimes.openvino_runtime import OpenVino
from brainmtl.models import MultiTaskModel

TWO_MODELS = "two models, float32 NCHW"
# An untrained network gives P near 0.5, so that the gate decides which of the two an image is.
IMAGES = {"image without tumour": 1.0, "image with tumour": 0.0}


def rows(settings: Settings) -> list[Row]:
    """Eager and by the exported graphs, each against two separate models."""
    found = []
    for device in settings.devices:
        networks, absent = _eager(device), {}
        if device == "cpu":
            own, missing = exported()
            networks |= own
            absent |= missing
        if reason := bf16_missing(device):
            absent[f"{default_name()}, bf16 channels_last"] = reason
        found += compare_networks("inference", networks, absent, device, settings.rounds)
    return found


def compiled_rows(settings: Settings) -> list[Row]:
    """torch.compile, which costs a minute or more beforehand, against two separate models."""
    found = []
    for device in settings.devices:
        networks, absent = {TWO_MODELS: two_models(device)}, {}
        for precision in ("32", "bf16"):
            name = f"{default_name()}, {_shown(precision)} channels_last, compiled"
            if reason := bf16_missing(device) if precision == "bf16" else None:
                absent[name] = reason
                continue
            try:
                networks[name] = gated(Compiled(_build(), device, precision))
            except ConfigError as error:
                absent[name] = str(error)
        found += compare_networks("compiled", networks, absent, device, settings.rounds)
    return found


def compare_networks(
    section: str, networks: dict[str, Gated], absent: dict[str, str], device: str, rounds: int
) -> list[Row]:
    """Rows of ``networks`` for both kinds of image, and of those that are ``absent``."""
    with torch.inference_mode():  # as served: torch.compile takes other tensors for other types
        image = torch.randn(1, 1, SIDE, SIDE, device=device)
    found = []
    for kind, gate in IMAGES.items():
        calls: dict[str, Call] = {
            name: lambda n=network, g=gate: n.answer(image, g) for name, network in networks.items()
        }
        if section == "inference":
            calls |= _ungated(networks, image, gate)
        title = f"{section}, {device}, {kind}"
        found += faster(title, interleave(calls, rounds, device), TWO_MODELS)
        found += [skipped_row(title, name, reason) for name, reason in absent.items()]
    return found


def _ungated(networks: dict[str, Gated], image: Tensor, gate: float) -> dict[str, Call]:
    """What two models cost without a gate, where the image would not reach it."""
    if gate == 0:
        return {}
    network = networks[TWO_MODELS]
    return {f"{TWO_MODELS}, mask always": lambda: network.answer(image, 0.0)}


def _eager(device: str) -> dict[str, Gated]:
    own = default_name()
    networks = {
        TWO_MODELS: two_models(device),
        f"{REFERENCE}, float32 NCHW": shared(build(REFERENCE), device, "32"),
        f"{FAST}, float32 channels_last": shared(channels_last(build(FAST)), device, "32"),
        f"{own}, float32 NCHW": shared(build(own), device, "32"),
        f"{own}, float32 channels_last": gated(Eager(_build(), device, "32")),
    }
    if bf16_missing(device) is None:
        networks |= {
            f"{FAST}, bf16 channels_last": shared(channels_last(build(FAST)), device, "bf16"),
            f"{own}, bf16 channels_last": gated(Eager(_build(), device, "bf16")),
            f"{own}, bf16 weights channels_last": shared(
                channels_last(build(own)), device, "bf16 weights"
            ),
        }
    return networks


def exported() -> tuple[dict[str, Gated], dict[str, str]]:
    """The default model by the runtimes that read its graphs, and why some are absent."""
    try:
        graphs = _graphs()
    except ConfigError as error:
        return {}, {f"{default_name()}, exported": str(error)}
    found: dict[str, Gated] = {}
    absent: dict[str, str] = {}
    for runtime, shown, precisions in (
        (OnnxRuntime, "ONNX Runtime", ("32", "int8")),
        (OpenVino, "OpenVINO", ("32", "bf16", "int8")),
    ):
        for precision in precisions:
            name = f"{default_name()}, {_shown(precision)}, {shown}"
            reason = bf16_missing("cpu") if precision == "bf16" else None
            try:
                if reason is None:
                    found[name] = gated(runtime(graphs, precision))
            except ConfigError as error:
                reason = str(error)
            if reason:
                absent[name] = reason
    return found, absent


def gated(runtime: Runtime) -> Gated:
    """What serves a model, as one of the networks to compare."""

    def encode(image: Tensor) -> tuple[Tensor, list[Tensor]]:
        features, logits = runtime.encode(image)
        return logits, features

    return Gated(encode, runtime.decode)


def _graphs() -> dict[str, bytes]:
    """As an export writes them. Which images calibrate int8 does not matter to its speed."""
    images = np.random.default_rng(0).standard_normal((4, 1, SIDE, SIDE), dtype=np.float32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_onnx(_build(), folder)
        export_int8(folder, list(images))
        return {path.name: path.read_bytes() for path in folder.glob("*.onnx")}


def _build() -> MultiTaskModel:
    return build(default_name()).eval().requires_grad_(False)


def _shown(precision: str) -> str:
    return "float32" if precision == "32" else precision
