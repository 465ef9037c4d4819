"""The multi-task network: shared encoder, segmentation decoder, classification head."""

from brainmtl.models.decoder import UNetDecoder
from brainmtl.models.encoder import UNetEncoder
from brainmtl.models.factory import create_multi_task_model
from brainmtl.models.head import ClassificationHead
from brainmtl.models.multitask import PARTS, MultiTaskModel, MultiTaskOutput

__all__ = [
    "PARTS",
    "ClassificationHead",
    "MultiTaskModel",
    "MultiTaskOutput",
    "UNetDecoder",
    "UNetEncoder",
    "create_multi_task_model",
]
