"""The exported graphs by ONNX Runtime, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from brainmtl.errors import ConfigError
from brainmtl.inference.runtimes.graphs import IMAGE, require_graphs

if TYPE_CHECKING:
    import onnxruntime
    from torch import Tensor


class OnnxRuntime:
    """Sessions on as many threads as torch has; ``graphs`` are files of a model folder by name.

    Raises:
        ConfigError: onnxruntime is not installed, the graphs are missing, or the precision is bf16.
    """

    name = "onnx"
    device = "cpu"

    def __init__(self, graphs: Mapping[str, bytes], precision: str = "32") -> None:
        if precision == "bf16":
            raise ConfigError(
                "runtime=onnx cannot compute in bfloat16: use {precision}=32 or int8, or another runtime",
                precision="precision",
            )
        self.precision = precision
        encoder_head, decoder = require_graphs(graphs, self.name, precision)
        self._encoder_head, self._decoder = _session(encoder_head), _session(decoder)
        self._levels = [entry.name for entry in self._decoder.get_inputs()]

    def encode(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """As :meth:`.base.Runtime.encode`."""
        logits, *features = self._encoder_head.run(None, {IMAGE: images.numpy()})
        return [torch.from_numpy(level) for level in features], torch.from_numpy(logits)

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """As :meth:`.base.Runtime.decode`."""
        inputs = {name: level.numpy() for name, level in zip(self._levels, features, strict=True)}
        (mask,) = self._decoder.run(None, inputs)
        return torch.from_numpy(mask)


def _session(graph: bytes) -> onnxruntime.InferenceSession:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            "runtime=onnx needs onnxruntime: pip install 'brainmtl[export]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Idle threads would spin on the cores that preparation and the other session need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Without it, processors that lack VNNI instructions saturate sums of 8-bit weights and answer
    # otherwise; folders that were exported before weights had 7 bits hold such.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
