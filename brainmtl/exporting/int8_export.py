"""The ONNX graphs in int8: static quantisation after training, and what it costs in quality.

Weights and activations of convolutions become integers of 7 and 8 bits with a scale each, activations
by the range that they have on training images (Jacob et al. 2018, "Quantization and Training of Neural
Networks for Efficient Integer-Arithmetic-Only Inference"); norms and the head stay float32.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmtl.exporting.training_rows import training_rows
from brainmtl.inference.runtimes.graphs import IMAGE, NAMES, level_names

if TYPE_CHECKING:
    from brainmtl.inference.ood import OodDetector
    from brainmtl.inference.operating.operating_point import OperatingPoint
    from brainmtl.inference.runtimes.onnx_runtime import OnnxRuntime
    from brainmtl.models.multitask import MultiTaskModel

# Of training, spread evenly over the sources. The ranges of activations hardly change beyond.
CALIBRATION_IMAGES = 120
QUANTISED = ("Conv", "ConvTranspose")


@dataclass(frozen=True, eq=False)
class Int8:
    """What int8 graphs need and cost; ``detector`` is None where the float32 ones have none.

    It is one of their own: rounding moves the features away from where those of float32 lie.
    """

    calibration_images: int
    detector: OodDetector | None
    price: dict[str, Any]


def add_int8(
    folder: Path,
    model: MultiTaskModel,
    data_dir: Path,
    meta: dict[str, Any],
    point: OperatingPoint,
    detector: OodDetector | None,
    *,
    batch_size: int = 16,
    progress: bool = False,
) -> Int8:
    """Write the int8 graphs beside the float32 ones in ``folder``, and measure what they cost.

    Args:
        data_dir: prepared folder that holds sources of training; its test split is not read.
        meta: the checkpoint's description.
        detector: the check for unlike images of the float32 graphs.

    Raises:
        DataError: the folder lacks training or validation images of the sources of training.
    """
    from brainmtl.exporting.int8_price import measure_price
    from brainmtl.exporting.ood_fit import fit_detector
    from brainmtl.inference.runtimes.onnx_runtime import OnnxRuntime

    options = {"batch_size": batch_size, "progress": progress}
    images = calibration_images(data_dir, meta)
    export_int8(folder, images)
    own = None
    if detector is not None:
        graphs = {name: (folder / name).read_bytes() for name in NAMES["int8"]}
        own = fit_detector(model, data_dir, meta, runtime=OnnxRuntime(graphs, "int8"), **options)
    checks = {"float32": detector, "int8": own}
    return Int8(len(images), own, measure_price(folder, data_dir, meta, point, checks, **options))


def calibration_images(data_dir: Path, meta: Mapping[str, Any]) -> list[np.ndarray]:
    """Prepared training images (C, 256, 256) by which activations get their ranges.

    Args:
        data_dir: prepared folder that holds sources of training.
        meta: the checkpoint's description.

    Raises:
        DataError: the folder holds no training images of the sources of training.
    """
    from brainmtl.data.samples import read_sample

    rows = training_rows(data_dir, meta, "train", CALIBRATION_IMAGES, option="int8")
    return [read_sample(data_dir / path).image for path in rows["path"]]


def export_int8(folder: Path, images: Sequence[np.ndarray]) -> None:
    """Write the int8 graphs beside the float32 ones in ``folder``, calibrated on ``images``."""
    from brainmtl.inference.runtimes.onnx_runtime import OnnxRuntime

    runtime = OnnxRuntime({name: (folder / name).read_bytes() for name in NAMES["32"]})
    feeds = zip(*(_encoded(runtime, image) for image in images), strict=True)
    for source, target, own in zip(NAMES["32"], NAMES["int8"], feeds, strict=True):
        _quantise(folder / source, folder / target, own)


def _encoded(
    runtime: OnnxRuntime, image: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What both graphs take for one prepared image (C, H, W)."""
    import torch

    batch = np.ascontiguousarray(image[None])
    features, _ = runtime.encode(torch.from_numpy(batch))
    named = zip(level_names(len(features)), features, strict=True)
    return {IMAGE: batch}, {name: level.numpy() for name, level in named}


def _quantise(source: Path, target: Path, feeds: Sequence[dict[str, np.ndarray]]) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._feeds = iter(feeds)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._feeds, None)

    with tempfile.TemporaryDirectory() as workspace, _quiet():
        fused = Path(workspace) / source.name  # batch norms in their convolutions
        quant_pre_process(str(source), str(fused), skip_symbolic_shape=True)
        quantize_static(
            str(fused),
            str(target),
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            per_channel=True,
            # Signed ones with a zero point come out wrong in OpenVINO 2026.4.1 behind a concatenation.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Of 7 bits: processors without VNNI instructions add two products of 8 bits by 8 in 16, and
            # those of 8-bit weights saturate there, so that OpenVINO would answer otherwise.
            reduce_range=True,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser gives advice on what was decided here, on the root logger."""
    before = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(before)
