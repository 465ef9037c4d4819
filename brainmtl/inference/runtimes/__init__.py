"""Ways to run one network: eager PyTorch, compiled PyTorch, ONNX Runtime, OpenVINO.

All give the same float32 answers to within 1e-3 of a logit; :mod:`.choice` takes one of them.
"""

from __future__ import annotations

RUNTIMES = ("auto", "eager", "compile", "onnx", "openvino")
PRECISIONS = ("32", "bf16", "int8")
