"""The first request as fast as the tenth: everything that is made at first use is used at the start."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brainmtl.serve.encoding import overlay_png
from brainmtl.serve.settings import CHUNK

if TYPE_CHECKING:
    from brainmtl.inference.network import Network
    from brainmtl.inference.predictor import MultiTaskPredictor


def warm_up(predictor: MultiTaskPredictor, max_batch: int = 1) -> None:
    """Run the network on every batch size that requests cause, and the code around it once; up to
    ``max_batch`` requests are computed together.

    The network also by itself: a synthetic picture might be refused as unlike those of training, and
    would then leave decoder and the heat map cold.
    """
    from brainmtl.inference.images import MAX_BATCH

    # Pictures alone, those that wait together, and the chunks of a batch; volumes.
    sizes = (*range(1, max(CHUNK, max_batch) + 1), MAX_BATCH)
    _run(predictor.network, sizes, predictor.info.operating_point.tta)
    plane = _head()
    predictor.predict_image(_png(plane), include_gradcam=True)
    overlay_png(_png(plane), np.zeros(plane.shape, np.float32))
    with tempfile.TemporaryDirectory(prefix="brainmtl-") as folder:
        predictor.predict_volume(_volume(plane, Path(folder)))
    # What lives now lives on. Looking through all of it again took 0.07 s of some request's time.
    gc.collect()
    gc.freeze()


def _run(network: Network, sizes: Iterable[int], tta: str) -> None:
    from brainmtl.data.preprocessing.preprocess import IMAGE_SIZE

    rng = np.random.default_rng(0)
    for size in sizes:
        shape = (size, network.model.encoder.in_channels, IMAGE_SIZE, IMAGE_SIZE)
        encoded = network.encode(rng.standard_normal(shape, dtype=np.float32), tta)
        network.decode(encoded, range(size))
        network.gradcam(encoded, range(size))


def _head(size: int = 256) -> np.ndarray:
    """A textured disc on black, uint8."""
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    noise = np.random.default_rng(0).normal(120, 25, (size, size)).clip(30, 255)
    return ((np.hypot(rows, columns) < 0.8) * noise).astype(np.uint8)


def _png(plane: np.ndarray) -> bytes:
    from PIL import Image

    stream = BytesIO()
    Image.fromarray(plane).save(stream, "PNG")
    return stream.getvalue()


def _volume(plane: np.ndarray, folder: Path) -> Path:
    import nibabel as nib

    path = folder / "volume.nii"
    volume = np.repeat(plane[::2, ::2, None], 3, axis=2).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, np.diag([1.0, 1.0, 3.0, 1.0])), path)
    return path
