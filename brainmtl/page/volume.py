"""A volume to look at: the slices of an upload and of its mask, oriented as the service orients them."""

from __future__ import annotations

import base64
import gzip
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from brainmtl.inference.overlay import contour_overlay


@dataclass(frozen=True, eq=False)
class ShownVolume:
    """``planes`` uint8 and ``masks`` bool, both (H, W, N) in display orientation; ``positions`` the
    index in the file of each; ``spacing_mm`` along rows, columns and slices; ``key`` of the upload."""

    planes: np.ndarray
    masks: np.ndarray
    positions: tuple[int, ...]
    spacing_mm: tuple[float, float, float] | None
    key: str

    @property
    def voxel_ml(self) -> float | None:
        """Volume of a voxel in ml, None where no spacing is known."""
        return None if self.spacing_mm is None else float(np.prod(self.spacing_mm)) / 1000

    def plane(self, index: int) -> np.ndarray:
        """uint8 (H, W, 3) of the slice with this index in the file, in its true proportions."""
        plane = self.planes[:, :, self.positions.index(index)]
        return self._in_proportion(np.repeat(plane[..., None], 3, axis=2))

    def outlined(self, index: int) -> np.ndarray:
        """As :meth:`plane`, with the outline of the mask."""
        k = self.positions.index(index)
        drawn = contour_overlay(self.planes[:, :, k].astype(np.float32), self.masks[:, :, k])
        return self._in_proportion(drawn)

    def _in_proportion(self, pixels: np.ndarray) -> np.ndarray:
        if self.spacing_mm is None or np.isclose(self.spacing_mm[0], self.spacing_mm[1]):
            return pixels
        row_mm, column_mm = self.spacing_mm[:2]
        fine = min(row_mm, column_mm)
        height, width = (
            round(side * mm / fine)
            for side, mm in zip(pixels.shape[:2], (row_mm, column_mm), strict=True)
        )
        return np.asarray(
            Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
        )


def read_volume(data: bytes, answer: Mapping[str, Any]) -> ShownVolume:
    """Slices of an upload that the service has answered with ``answer``, its mask among it.

    Raises:
        DataError: the file cannot be read.
    """
    from nibabel import Nifti1Image

    from brainmtl.data.sources.nifti import oriented_case, read_nifti
    from brainmtl.inference.inputs.volume_files import GZIP_MAGIC

    with tempfile.TemporaryDirectory(prefix="brainmtl-") as folder:
        # The service has checked what the header announces; the name tells the reader the packing.
        packed = data.startswith(GZIP_MAGIC)
        path = Path(folder) / ("volume.nii.gz" if packed else "volume.nii")
        path.write_bytes(data)
        case = oriented_case([read_nifti(path)], None)
    mask = Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(answer["mask_nifti_gz"])))
    return ShownVolume(
        planes=_windowed(case.image[0]),
        masks=case.volume.orient(np.asarray(mask.dataobj)) > 0,
        positions=case.positions,
        spacing_mm=case.spacing_mm,
        key=str(answer["request_id"]),
    )


def _windowed(volume: np.ndarray) -> np.ndarray:
    """uint8, one window for all slices, so that they can be compared."""
    low, high = np.percentile(volume[:: max(1, volume.shape[0] // 128)], (0.5, 99.8))
    return np.rint(np.clip((volume - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
