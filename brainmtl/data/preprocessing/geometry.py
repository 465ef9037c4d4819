"""The invertible chain from a file's voxel grid to the prepared 256x256 slice and back.

file grid --orient--> display plane (H, W) --crop, pad--> square --resize--> (256, 256)

Display orientation: rows run anterior to posterior, columns from the patient's right to left, slices
from inferior to superior (the radiological view; the array of a published BraTS file, which is LPS,
with its two in-plane axes swapped).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from brainmtl.errors import DataError

Quad = tuple[int, int, int, int]

VOXEL_MM = (0.01, 100.0)  # far beyond any scan of a head on either side
# A frame may have this many times the pixels of its plane (a square round a strip of 7:1), or 2048 x 2048:
# a damaged voxel size would otherwise ask for memory without end.
MAX_FRAME_SHARE = 8
SMALL_FRAME = 2**22


def check_affine(affine: np.ndarray) -> None:
    """Raise DataError unless ``affine`` (4, 4) maps voxels of a possible size to mm."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise DataError(f"affine {affine.tolist()} is not a finite 4x4 matrix")
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    # Directions of length 1: the determinant is 1 where they stand at right angles.
    if not sizes.all() or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-3:
        raise DataError(
            "the affine is singular (not invertible): no orientation can be read from it. Set it from the "
            "original file"
        )
    low, high = VOXEL_MM
    if sizes.min() < low or sizes.max() > high:
        found = " x ".join(f"{size:g}" for size in sizes)
        raise DataError(
            f"the affine says that voxels are {found} mm, and {low:g} to {high:g} mm are possible. Set it "
            "from the original file"
        )


@dataclass(frozen=True)
class VolumeGeometry:
    """How a file's 3-D grid lies in the patient, and how to turn it into display slices.

    ``axes`` is nibabel's orientation array against LPS, one ``(axis, flip)`` per file axis; None for
    a stack of pictures, which is in display order already and has no affine.
    """

    file_shape: tuple[int, int, int]
    axes: tuple[tuple[int, int], ...] | None = None
    affine: tuple[tuple[float, ...], ...] | None = None

    @classmethod
    def from_affine(cls, affine: np.ndarray, shape: tuple[int, ...]) -> VolumeGeometry:
        """Orientation as the (4, 4) ``affine`` says, for a grid of ``shape`` (X, Y, Z)."""
        import nibabel as nib

        affine = np.asarray(affine, dtype=float)
        check_affine(affine)
        found = nib.orientations.io_orientation(affine)
        axes = nib.orientations.ornt_transform(
            found, nib.orientations.axcodes2ornt(("L", "P", "S"))
        )
        x, y, z = (int(size) for size in shape[:3])
        return cls(
            (x, y, z),
            tuple((int(axis), int(flip)) for axis, flip in axes),
            tuple(tuple(float(v) for v in row) for row in affine),
        )

    @classmethod
    def stack(cls, plane_shape: tuple[int, int], n_slices: int) -> VolumeGeometry:
        """A stack of pictures (H, W, N) in display order whose place in the patient is unknown."""
        return cls((int(plane_shape[0]), int(plane_shape[1]), int(n_slices)))

    def orient(self, array: np.ndarray) -> np.ndarray:
        """File grid (X, Y, Z) -> display slices (H, W, N)."""
        if array.shape != self.file_shape:
            raise DataError(f"array of shape {array.shape} does not fit the grid {self.file_shape}")
        if self.axes is None:
            return array
        import nibabel as nib

        lps = nib.orientations.apply_orientation(array, np.array(self.axes))
        return np.swapaxes(lps, 0, 1)

    def restore(self, array: np.ndarray) -> np.ndarray:
        """Display slices (H, W, N) -> file grid (X, Y, Z); the inverse of :meth:`orient`."""
        if self.axes is None:
            return array
        import nibabel as nib

        inverse = np.zeros((3, 2))
        for file_axis, (lps_axis, flip) in enumerate(self.axes):
            inverse[lps_axis] = (file_axis, flip)
        return nib.orientations.apply_orientation(np.swapaxes(array, 0, 1), inverse)

    def display_spacing(self) -> tuple[float, float, float] | None:
        """Spacing in mm along (rows, columns, slices), from the affine; None without one."""
        if self.affine is None or self.axes is None:
            return None
        sizes = np.linalg.norm(np.array(self.affine)[:3, :3], axis=0)  # mm along each file axis
        lps = [0.0, 0.0, 0.0]
        for file_axis, (lps_axis, _) in enumerate(self.axes):
            lps[lps_axis] = float(sizes[file_axis])
        return lps[1], lps[0], lps[2]


@dataclass(frozen=True)
class SliceGeometry:
    """Where a prepared slice lies in its plane.

    ``crop`` is (first row, end row, first column, end column) inside the plane, ``padding`` the
    rows and columns added around it (top, bottom, left, right), ``scale`` prepared pixels per
    plane pixel along (rows, columns), ``slice_index`` the place in the display stack (H, W, N).
    Spacings are in mm of the ORIGINAL grid, None when unknown.
    """

    plane_shape: tuple[int, int]
    crop: Quad
    padding: Quad
    scale: tuple[float, float]
    size: int = 256
    spacing_mm: tuple[float, float] | None = None
    slice_spacing_mm: float | None = None
    slice_index: int | None = None
    volume: VolumeGeometry | None = None

    def mask_to_plane(self, mask: np.ndarray) -> np.ndarray:
        """Prepared mask (size, size), bool or probability in [0, 1] -> bool plane (H, W)."""
        return self.to_plane(mask) >= 0.5

    def to_plane(self, values: np.ndarray, outside: float = 0.0) -> np.ndarray:
        """Values on the prepared grid (size, size) -> float32 plane (H, W); ``outside`` beyond the
        frame. Interpolated values stay within the range of the given ones."""
        if values.shape != (self.size, self.size):
            raise DataError(f"mask of shape {values.shape} is not {self.size}x{self.size}")
        r0, r1, c0, c1 = self.crop
        top, bottom, left, right = self.padding
        rows, columns = r1 - r0 + top + bottom, c1 - c0 + left + right
        square = resize(values.astype(np.float32), (rows, columns))
        plane = np.full(self.plane_shape, outside, dtype=np.float32)
        plane[r0:r1, c0:c1] = square[top : top + r1 - r0, left : left + c1 - c0]
        return plane

    def at_slice(self, slice_index: int) -> SliceGeometry:
        """The same frame on another slice of the volume."""
        return replace(self, slice_index=slice_index)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers for JSON."""
        # dataclasses.asdict copies every number of the affine, which takes longer than writing it.
        return vars(self) | {"volume": None if self.volume is None else dict(vars(self.volume))}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SliceGeometry:
        """The inverse of :meth:`to_dict`, also after a round trip through JSON."""
        values = {key: _tuples(value) for key, value in values.items() if key != "volume"} | {
            "volume": VolumeGeometry(**{k: _tuples(v) for k, v in values["volume"].items()})
            if values.get("volume")
            else None
        }
        return cls(**values)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


def resize(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize a float32 plane to ``shape`` (rows, columns): linear, area-weighted when shrinking.

    Pillow's resampling widens the kernel when it shrinks, so that nothing aliases.
    """
    if image.shape == tuple(shape):
        return image.astype(np.float32, copy=True)
    picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def frame_geometry(
    plane_shape: tuple[int, int],
    box: Quad,
    spacing_mm: tuple[float, float] | None = None,
    size: int = 256,
    margin: float = 0.02,
) -> SliceGeometry:
    """Frame that shows ``box`` (first row, end row, first column, end column) in a square.

    The box grows by ``margin`` of its longer side on every side and is padded to a square: in
    millimetres where ``spacing_mm`` (rows, columns) is known, so that anisotropic pixels do not
    distort the aspect, in pixels otherwise.

    Raises:
        DataError: the square would be far larger than the plane, as round a strip.
    """
    row_mm, column_mm = spacing_mm or (1.0, 1.0)
    r0, r1, c0, c1 = box
    longer = max((r1 - r0) * row_mm, (c1 - c0) * column_mm)
    side = longer * (1 + 2 * margin)
    rows = max(math.ceil(side / row_mm), r1 - r0)
    columns = max(math.ceil(side / column_mm), c1 - c0)
    if rows * columns > max(SMALL_FRAME, MAX_FRAME_SHARE * math.prod(plane_shape)):
        voxels = (
            "" if spacing_mm is None else f", or {row_mm:g} x {column_mm:g} mm is no pixel's size"
        )
        raise DataError(
            f"a square round what is seen in {plane_shape[0]} x {plane_shape[1]} pixels would have {rows} x "
            f"{columns}: this is a strip and no head{voxels}. Cut it to the head"
        )
    top, left = r0 - (rows - (r1 - r0)) // 2, c0 - (columns - (c1 - c0)) // 2
    crop = (
        max(top, 0),
        min(top + rows, plane_shape[0]),
        max(left, 0),
        min(left + columns, plane_shape[1]),
    )
    padding = (crop[0] - top, top + rows - crop[1], crop[2] - left, left + columns - crop[3])
    return SliceGeometry(
        plane_shape=(int(plane_shape[0]), int(plane_shape[1])),
        crop=crop,
        padding=padding,
        scale=(size / rows, size / columns),
        size=size,
        spacing_mm=spacing_mm,
    )


def assemble_volume(geometries: list[SliceGeometry], masks: list[np.ndarray]) -> np.ndarray:
    """Put prepared masks (256, 256) of one volume back on its file grid.

    Returns uint8 {0, 1} of the file's shape; slices that are not given stay empty.
    """
    volume = geometries[0].volume
    if volume is None:
        raise DataError("these slices belong to single images: there is no volume to assemble")
    display = volume.orient(np.zeros(volume.file_shape, dtype=np.uint8)).copy()
    for geometry, mask in zip(geometries, masks, strict=True):
        display[:, :, geometry.slice_index] = geometry.mask_to_plane(mask)
    return np.ascontiguousarray(volume.restore(display))


def pixel_area_mm2(geometry: SliceGeometry) -> float | None:
    """Area of one ORIGINAL pixel in mm2, None where no spacing is known."""
    return None if geometry.spacing_mm is None else geometry.spacing_mm[0] * geometry.spacing_mm[1]


def voxel_volume_ml(geometry: SliceGeometry) -> float | None:
    """Volume of one ORIGINAL voxel in ml, None where the spacing or the slice distance is unknown."""
    area = pixel_area_mm2(geometry)
    if area is None or geometry.slice_spacing_mm is None:
        return None
    return area * geometry.slice_spacing_mm / 1000.0
