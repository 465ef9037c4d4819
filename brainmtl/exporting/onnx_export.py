"""The network as two ONNX graphs, so that the decoder still runs only where it is needed.

``encoder_head.onnx``: image (B, C, 256, 256) -> logits (B, 2) and the feature maps of every level.
``decoder.onnx``: those maps -> mask_logits (B, 1, 256, 256). Both take any batch size.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from brainmtl.data.preprocessing.preprocess import IMAGE_SIZE
from brainmtl.errors import BrainMTLError, ConfigError
from brainmtl.inference.runtimes.choice import TOLERANCES
from brainmtl.inference.runtimes.graphs import (
    DECODER,
    ENCODER_HEAD,
    IMAGE,
    LOGITS,
    MASK_LOGITS,
    NAMES,
    level_names,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from brainmtl.models.multitask import MultiTaskModel

OPSET = 17
TOLERANCE = TOLERANCES["32"]
CHECKED_BATCHES = (1, 3)


def export_onnx(model: MultiTaskModel, folder: Path) -> float:
    """Write both graphs into ``folder`` and run them beside PyTorch.

    Returns:
        The largest absolute difference of a logit, of classes and of pixels, to PyTorch.

    Raises:
        ConfigError: onnx or onnxruntime is not installed.
        BrainMTLError: the difference is larger than 1e-3.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"onnx=true needs {error.name}: pip install 'brainmtl[export]'"
        ) from error
    import torch

    image = _example(model, 2)
    with torch.no_grad():
        features = model.encoder(image)
    levels = level_names(len(features))
    encoder_head, decoder = _split(model)
    _write(encoder_head, (image,), folder / ENCODER_HEAD, [IMAGE], [LOGITS, *levels])
    _write(decoder, tuple(features), folder / DECODER, levels, [MASK_LOGITS])
    difference = max(_difference(model, folder, batch) for batch in CHECKED_BATCHES)
    if not difference <= TOLERANCE:
        raise BrainMTLError(
            f"the ONNX graphs differ from PyTorch by {difference:.2g} in a logit, more than "
            f"{TOLERANCE:g}: export without onnx=true, or with other versions of torch and onnxruntime"
        )
    return difference


def _split(model: MultiTaskModel) -> tuple[nn.Module, nn.Module]:
    from torch import nn

    class EncoderHead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = model.encoder, model.head

        def forward(self, image: Tensor) -> tuple[Tensor, ...]:
            features = self.encoder(image)
            return (self.head(features[-1]), *features)

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decoder = model.decoder

        def forward(self, *features: Tensor) -> Tensor:
            return self.decoder(list(features))

    # A fresh module is in training mode, which the exporter would restore in its parts as well.
    return EncoderHead().eval(), Decoder().eval()


def _write(
    module: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    inputs: list[str],
    outputs: list[str],
) -> None:
    import onnx
    import torch

    with warnings.catch_warnings():
        # The TorchScript exporter announces its age; torch.export's needs onnxscript as well. Checks
        # of shapes in Python are constants of the trace: the shapes are fixed but for the batch.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            example,
            str(path),
            dynamo=False,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in (*inputs, *outputs)},
            opset_version=OPSET,
        )
    onnx.checker.check_model(str(path), full_check=True)


def _difference(model: MultiTaskModel, folder: Path, batch: int) -> float:
    """Both graphs, one fed by the other, against the model on images of another seed and batch."""
    import torch

    from brainmtl.inference.runtimes.onnx_runtime import OnnxRuntime

    image = _example(model, batch)
    with torch.no_grad():
        expected = model(image)
    runtime = OnnxRuntime({name: (folder / name).read_bytes() for name in NAMES["32"]})
    features, logits = runtime.encode(image)
    pairs = ((logits, expected.cls), (runtime.decode(features), expected.seg))
    return max(float((found - wanted).abs().max()) for found, wanted in pairs)


def _example(model: MultiTaskModel, batch: int) -> Tensor:
    import torch

    shape = (batch, model.encoder.in_channels, IMAGE_SIZE, IMAGE_SIZE)
    return torch.randn(shape, generator=torch.Generator().manual_seed(batch))
