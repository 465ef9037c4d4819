"""Both ONNX graphs say what PyTorch says, for any batch, and a difference stops the export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from brainmtl.errors import BrainMTLError
from brainmtl.exporting.onnx_export import DECODER, ENCODER_HEAD, TOLERANCE, export_onnx
from brainmtl.models import MultiTaskModel, create_multi_task_model


def small_model(**options: object) -> MultiTaskModel:
    torch.manual_seed(0)
    model = create_multi_task_model(**{"base_filters": 4, "depth": 2, "hidden_dim": 8, **options})
    with torch.no_grad():
        model(torch.randn(2, model.encoder.in_channels, 32, 32))  # norm statistics of their own
    return model.eval()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm": "group", "stem": "space_to_depth"},
        {"norm": "group", "stem": "space_to_depth_4", "block": "residual"},
        {"norm": "instance", "in_channels": 2},
    ],
    ids=["batch", "folded group", "residual", "instance, two channels"],
)
def test_graphs_equal_the_model(options: dict, tmp_path: Path) -> None:
    model = small_model(**options)
    stated = export_onnx(model, tmp_path)
    assert 0 < stated <= TOLERANCE
    assert not model.training and not model.head.training, "export must leave eval mode alone"
    images = torch.randn(4, model.encoder.in_channels, 256, 256)
    with torch.no_grad():
        expected = model(images)
    encoder_head, decoder = (
        onnxruntime.InferenceSession(tmp_path / name, providers=["CPUExecutionProvider"])
        for name in (ENCODER_HEAD, DECODER)
    )
    logits, *features = encoder_head.run(None, {"image": images.numpy()})
    names = [entry.name for entry in decoder.get_inputs()]
    # the decoder alone, on two of the four: that is what the two graphs are for
    (mask,) = decoder.run(
        None, dict(zip(names, (level[[1, 3]] for level in features), strict=True))
    )
    np.testing.assert_allclose(logits, expected.cls.numpy(), atol=TOLERANCE)
    np.testing.assert_allclose(mask, expected.seg[[1, 3]].numpy(), atol=TOLERANCE)


def test_a_difference_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brainmtl.exporting.onnx_export.TOLERANCE", -1.0)
    with pytest.raises(BrainMTLError, match="differ from PyTorch"):
        export_onnx(small_model(), tmp_path)
