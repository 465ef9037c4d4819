"""The exported graphs by OpenVINO, on the CPU."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from brainmtl.errors import ConfigError
from brainmtl.inference.runtimes.graphs import require_graphs

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class OpenVino:
    """Compiled graphs on as many threads as torch has; ``graphs`` are files of a model folder.

    Raises:
        ConfigError: openvino is not installed, or the graphs are missing.
    """

    name = "openvino"
    device = "cpu"

    def __init__(self, graphs: Mapping[str, bytes], precision: str = "32") -> None:
        self.precision = precision
        both = require_graphs(graphs, self.name, precision)
        try:
            core = _core()
        except ImportError as error:
            raise ConfigError(
                "runtime=openvino needs openvino: pip install 'brainmtl[openvino]'"
            ) from error
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            # Left alone it takes bfloat16 wherever the processor has it.
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        }
        self._encoder_head, self._decoder = (
            core.compile_model(core.read_model(graph), "CPU", options) for graph in both
        )

    def encode(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """As :meth:`.base.Runtime.encode`."""
        logits, *features = _infer(self._encoder_head, [images.numpy()])
        return [torch.from_numpy(level) for level in features], torch.from_numpy(logits)

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """As :meth:`.base.Runtime.decode`."""
        (mask,) = _infer(self._decoder, [level.numpy() for level in features])
        return torch.from_numpy(mask)


@functools.cache
def _core() -> Any:
    """One for the process, never let go. Each lends this thread a stack for its signal handlers, and
    gives back at its end the one that it has found: where several end in the order of their making,
    that one is unmapped already, and the next signal a segmentation fault (openvino 2026.4.1)."""
    import openvino

    return openvino.Core()


def _infer(graph: Any, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """By a request of this call alone, so that no other thread writes into what is returned."""
    request = graph.create_infer_request()
    request.infer(inputs, share_inputs=True)
    return [tensor.data for tensor in request.output_tensors]
