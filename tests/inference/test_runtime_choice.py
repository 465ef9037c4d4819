"""What runtime "auto" takes; what cannot work, and why."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import pytest
import torch
from graphs import BY_GRAPHS, TOLERANCE, Graphs
from torch import Tensor

from brainmtl.errors import ConfigError
from brainmtl.inference.runtimes import openvino_runtime
from brainmtl.inference.runtimes.base import Runtime
from brainmtl.inference.runtimes.choice import best_of, choose_runtime, fastest
from brainmtl.inference.runtimes.eager import Eager
from brainmtl.models import MultiTaskModel


class Delayed(Eager):
    """A runtime that is slower than another by a known time, or says something else."""

    def __init__(self, model: MultiTaskModel, name: str, seconds: float, shift: float = 0) -> None:
        super().__init__(model)
        self.name, self._seconds, self._shift = name, seconds, shift

    def encode(self, batch: Tensor) -> tuple[list[Tensor], Tensor]:
        time.sleep(self._seconds)
        features, logits = super().encode(batch)
        return features, logits + self._shift


@pytest.mark.parametrize(
    ("seconds", "shifts", "expected"),
    [
        ((0.5, 0, 0.5), (0, 0, 0), "second"),
        ((0.5, 0.5, 0), (0, 0, 0), "third"),
        ((0, 0.5, 0.5), (0, 0, 0), "first"),
        ((0.5, 0, 0.1), (0, 10 * TOLERANCE, 0), "third"),
        ((0.1, 0, 0.8), (0, float("nan"), 0), "first"),
    ],
)
def test_auto_takes_the_fastest_that_agrees(
    tiny: tuple[MultiTaskModel, Graphs],
    seconds: Sequence[float],
    shifts: Sequence[float],
    expected: str,
) -> None:
    names = ("first", "second", "third")
    candidates: list[Runtime] = [
        Delayed(tiny[0], *own) for own in zip(names, seconds, shifts, strict=True)
    ]
    choice = fastest(candidates, channels=1)
    assert choice.runtime.name == expected
    for name, own, shift in zip(names, seconds, shifts, strict=True):
        assert (name in choice.measured_ms) is (shift == 0)
        assert shift != 0 or choice.measured_ms[name] >= 1000 * own
    told = str(choice)
    assert told.startswith(expected) and f"first {choice.measured_ms['first']:.1f} ms" in told


@pytest.mark.parametrize(
    ("second", "expected"), [(8.9, "second"), (9.1, "first"), (10.0, "first"), (11.0, "first")]
)
def test_a_small_gain_is_not_worth_other_digits(second: float, expected: str) -> None:
    assert best_of({"first": 10.0, "second": second, "third": 12.0}) == expected


def test_auto_without_graphs_is_eager_and_measures_nothing(
    tiny: tuple[MultiTaskModel, Graphs],
) -> None:
    choice = choose_runtime(tiny[0], {}, device="cpu")
    assert choice.runtime.name == "eager" and not choice.measured_ms


def test_auto_measures_what_is_there(
    tiny: tuple[MultiTaskModel, Graphs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "onnxruntime")
    choice = choose_runtime(*tiny, device="cpu")
    assert set(choice.measured_ms) == {"eager", "onnx"}
    assert 0 <= choice.differences["onnx"] <= TOLERANCE
    assert choice.to_json()["name"] in ("eager", "onnx")
    assert choose_runtime(*tiny, device="cpu", precision="bf16").runtime.name == "eager"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "tensorrt"}, "runtime=tensorrt is unknown: choose auto, eager"),
        ({"precision": "16"}, "precision=16 is unknown: choose 32, bf16, int8"),
        ({"runtime": "eager", "precision": "int8"}, "use runtime=onnx, openvino or auto"),
        ({"runtime": "compile", "precision": "int8"}, "use runtime=onnx, openvino or auto"),
        ({"runtime": "onnx", "precision": "bf16"}, "cannot compute in bfloat16"),
        ({"runtime": "onnx", "precision": "int8"}, "onnx=true int8=true data_dir=DIR"),
        ({"runtime": "auto", "precision": "int8"}, "onnx=true int8=true data_dir=DIR"),
    ],
)
def test_what_cannot_work_is_refused(
    options: dict[str, str], message: str, tiny: tuple[MultiTaskModel, Graphs]
) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_runtime(*tiny, **options)


@pytest.mark.parametrize("runtime", BY_GRAPHS)
def test_a_folder_without_graphs_names_the_export(
    runtime: str, tiny: tuple[MultiTaskModel, Graphs]
) -> None:
    with pytest.raises(ConfigError, match=r"encoder_head\.onnx .* brainmtl\.export .* onnx=true"):
        choose_runtime(tiny[0], {}, runtime=runtime)


@pytest.mark.parametrize(
    ("runtime", "package", "extra"),
    [("onnx", "onnxruntime", "export"), ("openvino", "openvino", "openvino")],
)
def test_a_missing_package_names_the_extra(
    runtime: str,
    package: str,
    extra: str,
    tiny: tuple[MultiTaskModel, Graphs],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(openvino_runtime, "_core", openvino_runtime._core.__wrapped__)
    with pytest.raises(ConfigError, match=rf"{package}: pip install 'brainmtl\[{extra}\]'"):
        choose_runtime(*tiny, runtime=runtime)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is for machines without CUDA")
def test_cuda_without_cuda(tiny: tuple[MultiTaskModel, Graphs]) -> None:
    for runtime in ("auto", "eager", "onnx"):
        with pytest.raises(ConfigError, match="no CUDA device"):
            choose_runtime(*tiny, runtime=runtime, device="cuda")
