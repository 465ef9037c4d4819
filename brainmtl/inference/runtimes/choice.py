"""Which runtime answers: the one that is named, or the fastest of those that are there."""

from __future__ import annotations

import importlib.util
import logging
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brainmtl.errors import ConfigError
from brainmtl.inference.runtimes import PRECISIONS, RUNTIMES
from brainmtl.inference.runtimes.base import Runtime
from brainmtl.inference.runtimes.graphs import has_graphs, require_graphs

if TYPE_CHECKING:
    from torch import Tensor

    from brainmtl.models.multitask import MultiTaskModel

# Largest difference of a logit, of classes and of pixels, to the first candidate. In float32 all
# runtimes add the same numbers in another order; the coarser formats round at other places too, and
# their limit catches kernels that are broken.
TOLERANCES = {"32": 1e-3, "bf16": 0.5, "int8": 0.5}
# Of the first candidate's time: for less, answers need not differ in the last digits between machines.
WORTH_A_CHANGE = 0.9
# A machine that does much else gets two rounds, whatever they take.
ROUNDS, LIMIT_S = 9, 0.5
LOG = logging.getLogger(__name__)
EXTRAS = {"onnx": "onnxruntime", "openvino": "openvino"}


@dataclass(frozen=True, eq=False)
class Choice:
    """The ``runtime`` that answers, and by name what "auto" has found where it had a choice.

    ``measured_ms`` are milliseconds of one image with its mask, for those that agree; ``differences``
    the largest of a logit to the first candidate, for all others (None in JSON for NaN). Both are
    empty without a choice.
    """

    runtime: Runtime
    measured_ms: Mapping[str, float] = field(default_factory=dict)
    differences: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **{name: getattr(self.runtime, name) for name in ("name", "precision", "device")},
            "told": str(self),
            "measured_ms": {name: round(value, 2) for name, value in self.measured_ms.items()},
            "differences": {
                name: None if math.isnan(value) else value
                for name, value in self.differences.items()
            },
        }

    def __str__(self) -> str:
        own = self.runtime
        told = f"{own.name}, precision {own.precision}, on {own.device}"
        if not self.measured_ms:
            return told
        times = ", ".join(f"{name} {ms:.1f} ms" for name, ms in self.measured_ms.items())
        apart = ", ".join(f"{name} {value:.0e}" for name, value in self.differences.items())
        return f"{told} (one image: {times}; largest difference of a logit: {apart})"


def choose_runtime(
    model: MultiTaskModel,
    graphs: Mapping[str, bytes],
    *,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "32",
) -> Choice:
    """The runtime that ``runtime`` names, or with "auto" the fastest here.

    "auto" takes eager PyTorch on a GPU. On a CPU it times eager PyTorch, ONNX Runtime and OpenVINO,
    as far as they are installed, ``graphs`` has what they need, and they can do ``precision``: one
    image through encoder and decoder, some times, within a second or two. The fastest is taken, but
    the first of this order unless another needs less than 0.9 of its time, and none whose logits
    differ from the first's by more than :data:`TOLERANCES`. Compiling takes minutes, so that "auto"
    never does it.

    Args:
        graphs: ONNX files of the model folder by name; empty where it has none.

    Raises:
        ConfigError: a name that is unknown, a combination that cannot work, a package or graph or
            compiler that is missing. The message names the remedy.
    """
    device = check_choice(runtime, device, precision)
    if runtime != "auto":
        return Choice(_make(runtime, model, graphs, device, precision))
    candidates = []
    for name in _candidates(graphs, device, precision):
        try:
            candidates.append(_make(name, model, graphs, device, precision))
        except ConfigError as error:  # a package that is there and cannot be imported
            LOG.warning("left out: %s", error)
    if not candidates:
        raise _nothing_for(precision)
    if len(candidates) == 1:
        return Choice(candidates[0])
    return fastest(candidates, model.encoder.in_channels)


def check_choice(runtime: str, device: str, precision: str) -> str:
    """Refuse what can never work; the device, "auto" resolved.

    Raises:
        ConfigError: as :func:`choose_runtime`.
    """
    from brainmtl.inference.device import choose_device

    for name, value, known in (
        ("runtime", runtime, RUNTIMES),
        ("precision", precision, PRECISIONS),
    ):
        if value not in known:
            rule = f"is unknown: choose {', '.join(known)}"
            raise ConfigError(f"{{{name}}}={{value}} {rule}", **{name: name, "value": value})
    if precision == "int8" and runtime in ("eager", "compile"):
        raise ConfigError(
            f"{{precision}}=int8 is not for runtime={runtime}: use runtime=onnx, openvino or auto",
            precision="precision",
        )
    on_cpu = runtime in EXTRAS or precision == "int8"
    if on_cpu and device == "auto":
        return "cpu"
    device = choose_device(device)
    if on_cpu and device != "cpu":
        raise ConfigError(
            f"runtime={runtime} {{precision}}={precision} runs on the CPU alone: use device=cpu, or "
            f"runtime=eager with device={device}",
            precision="precision",
        )
    return device


def fastest(candidates: Sequence[Runtime], channels: int) -> Choice:
    """:func:`choose_runtime` among runtimes that are made already; the first is the yardstick."""
    first, *others = candidates
    image = _image(channels)
    yardstick = _logits(first, image)
    apart = {own.name: _largest_difference(_logits(own, image), yardstick) for own in others}
    fit = [own for own in others if apart[own.name] <= TOLERANCES[first.precision]]
    measured = _time([first, *fit], image)
    best = best_of(measured)
    return Choice(next(own for own in candidates if own.name == best), measured, apart)


def best_of(measured_ms: Mapping[str, float]) -> str:
    """The name with the least time; the first name unless that is less than 0.9 of its time."""
    first = next(iter(measured_ms))
    best = min(measured_ms, key=measured_ms.__getitem__)
    return best if measured_ms[best] < WORTH_A_CHANGE * measured_ms[first] else first


def _candidates(graphs: Mapping[str, bytes], device: str, precision: str) -> list[str]:
    names = [] if precision == "int8" else ["eager"]
    if device != "cpu":
        return names
    if has_graphs(graphs, precision):
        able = ("onnx", "openvino") if precision != "bf16" else ("openvino",)
        names += [name for name in able if importlib.util.find_spec(EXTRAS[name])]
    if not names:
        require_graphs(graphs, "auto", precision)
        raise _nothing_for(precision)
    return names


def _nothing_for(precision: str) -> ConfigError:
    return ConfigError(
        f"{{precision}}={precision} needs onnxruntime or openvino: pip install 'brainmtl[export]'",
        precision="precision",
    )


def _make(
    name: str, model: MultiTaskModel, graphs: Mapping[str, bytes], device: str, precision: str
) -> Runtime:
    if name == "eager":
        from brainmtl.inference.runtimes.eager import Eager

        return Eager(model, device, precision)
    if name == "compile":
        from brainmtl.inference.runtimes.compiled import Compiled

        return Compiled(model, device, precision)
    if name == "onnx":
        from brainmtl.inference.runtimes.onnx_runtime import OnnxRuntime

        return OnnxRuntime(graphs, precision)
    from brainmtl.inference.runtimes.openvino_runtime import OpenVino

    return OpenVino(graphs, precision)


def _image(channels: int) -> Tensor:
    import torch

    from brainmtl.data.preprocessing.preprocess import IMAGE_SIZE

    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, channels, IMAGE_SIZE, IMAGE_SIZE, generator=generator)


def _logits(runtime: Runtime, images: Tensor) -> tuple[Tensor, Tensor]:
    features, logits = runtime.encode(images)
    return logits.float(), runtime.decode(features).float()


def _largest_difference(own: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> float:
    """NaN where one holds NaN, which no limit lets pass."""
    import torch

    return float(
        torch.cat([(a - b).abs().flatten() for a, b in zip(own, other, strict=True)]).max()
    )


def _time(runtimes: Sequence[Runtime], image: Tensor) -> dict[str, float]:
    """Median milliseconds by name, of runtimes that have run before. They take turns, so that other
    work on the machine meets all of them alike."""
    seconds: dict[str, list[float]] = {own.name: [] for own in runtimes}
    begin = time.perf_counter()
    for done in range(ROUNDS):
        for own in runtimes:
            start = time.perf_counter()
            _logits(own, image)
            seconds[own.name].append(time.perf_counter() - start)
        if done and time.perf_counter() - begin > LIMIT_S:
            break
    return {name: 1000 * statistics.median(own) for name, own in seconds.items()}
