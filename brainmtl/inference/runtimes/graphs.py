"""The ONNX graphs of a model folder, for the runtimes that read them."""

from __future__ import annotations

from collections.abc import Mapping

from brainmtl.errors import ConfigError

ENCODER_HEAD, DECODER = "encoder_head.onnx", "decoder.onnx"
INT8_ENCODER_HEAD, INT8_DECODER = "encoder_head_int8.onnx", "decoder_int8.onnx"
NAMES = {
    "32": (ENCODER_HEAD, DECODER),
    "bf16": (ENCODER_HEAD, DECODER),
    "int8": (INT8_ENCODER_HEAD, INT8_DECODER),
}
IMAGE, LOGITS, MASK_LOGITS = "image", "logits", "mask_logits"


def level_names(count: int) -> list[str]:
    """Names of the feature maps of ``count`` levels, which join both graphs."""
    return [f"features_{level}" for level in range(count)]


def has_graphs(graphs: Mapping[str, bytes], precision: str) -> bool:
    """Whether both graphs for ``precision`` are there."""
    return all(name in graphs for name in NAMES[precision])


def require_graphs(
    graphs: Mapping[str, bytes], runtime: str, precision: str
) -> tuple[bytes, bytes]:
    """(encoder and head, decoder) for ``precision``.

    Raises:
        ConfigError: the folder has none; names the command that makes them.
    """
    if not has_graphs(graphs, precision):
        options = "onnx=true int8=true data_dir=DIR" if precision == "int8" else "onnx=true"
        raise ConfigError(
            f"runtime={runtime} {{precision}}={precision} needs {' and '.join(NAMES[precision])} in the "
            f"model folder: export it again with `python -m brainmtl.export ckpt=PATH {options}`, or "
            "use runtime=eager {precision}=32",
            precision="precision",
        )
    first, second = NAMES[precision]
    return graphs[first], graphs[second]
