"""One image through networks of two kinds: eager, by ONNX Runtime, and compiled."""

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

TWO_MODELS = "two models, float32 NCHW"
# An untrained network gives P near 0.5, so that the gate decides which of the two an image is.
IMAGES = {"image without tumour": 1.0, "image with tumour": 0.0}


def rows(settings: Settings) -> list[Row]:
    """Eager and ONNX Runtime, each against two separate models."""
    found = []
    for device in settings.devices:
        networks, absent = _eager(device), {}
        if device == "cpu":
            name = f"{default_name()}, float32, ONNX Runtime"
            try:
                networks[name] = onnx_runtime()
            except ConfigError as error:
                absent[name] = str(error)
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
            reason = bf16_missing(device) if precision == "bf16" else None
            try:
                if reason is None:
                    networks[name] = _compiled(device, precision)
            except Exception as error:  # what a missing or unfit compiler raises is torch's own
                reason = f"torch.compile failed ({type(error).__name__}): is a C++ compiler there?"
            if reason:
                absent[name] = reason
        found += compare_networks("compiled", networks, absent, device, settings.rounds)
    return found


def compare_networks(
    section: str, networks: dict[str, Gated], absent: dict[str, str], device: str, rounds: int
) -> list[Row]:
    """Rows of ``networks`` for both kinds of image, and of those that are ``absent``."""
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
        f"{own}, float32 channels_last": shared(channels_last(build(own)), device, "32"),
    }
    if bf16_missing(device) is None:
        networks |= {
            f"{FAST}, bf16 channels_last": shared(channels_last(build(FAST)), device, "bf16"),
            f"{own}, bf16 channels_last": shared(channels_last(build(own)), device, "bf16"),
            f"{own}, bf16 weights channels_last": shared(
                channels_last(build(own)), device, "bf16 weights"
            ),
        }
    return networks


def onnx_runtime() -> Gated:
    """The default model as the export writes it: two graphs, on torch's number of threads.

    Raises:
        ConfigError: onnx or onnxruntime is not installed.
    """
    from brainmtl.inference.onnx_export import DECODER, ENCODER_HEAD, export_onnx

    with tempfile.TemporaryDirectory() as folder:
        export_onnx(build(default_name()).eval(), Path(folder))
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Its idle threads would spin on the cores of the call that is measured next.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        sessions = [
            onnxruntime.InferenceSession(
                str(Path(folder) / name), options, ["CPUExecutionProvider"]
            )
            for name in (ENCODER_HEAD, DECODER)
        ]
    inputs = [entry.name for entry in sessions[1].get_inputs()]

    def encode(image: Tensor) -> tuple[Tensor, list[np.ndarray]]:
        logits, *features = sessions[0].run(None, {"image": image.numpy()})
        return torch.from_numpy(logits), features

    def decode(features: list[np.ndarray]) -> Tensor:
        (mask,) = sessions[1].run(None, dict(zip(inputs, features, strict=True)))
        return torch.from_numpy(mask)

    return Gated(encode, decode)


def _compiled(device: str, precision: str) -> Gated:
    network = shared(channels_last(build(default_name())), device, precision)
    fast = Gated(torch.compile(network.encode), torch.compile(network.decode))
    fast.answer(torch.randn(1, 1, SIDE, SIDE, device=device), 0.0)  # compiles both steps
    return fast


def _shown(precision: str) -> str:
    return "float32" if precision == "32" else precision
