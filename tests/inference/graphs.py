"""ONNX graphs as an exported model folder holds them, and how far an answer by them may lie off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from brainmtl.inference.runtimes.choice import TOLERANCES

TOLERANCE = TOLERANCES["32"]
BY_GRAPHS = ("onnx", "openvino")
Graphs = Mapping[str, bytes]


def read_graphs(folder: Path) -> Graphs:
    return {path.name: path.read_bytes() for path in folder.glob("*.onnx")}
