"""The way from a file's grid to display slices and prepared masks, and back."""

from __future__ import annotations

import itertools
import json

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from brainmtl.data.preprocessing.geometry import (
    SliceGeometry,
    VolumeGeometry,
    assemble_volume,
    frame_geometry,
    pixel_area_mm2,
    resize,
    voxel_volume_ml,
)
from brainmtl.data.preprocessing.preprocess import prepare_mask
from brainmtl.errors import DataError

SHAPE = (7, 6, 5)
LPS = np.diag([-1.0, -2.0, 3.0, 1.0])
CODES = [
    "".join(axes)
    for order in itertools.permutations([("L", "R"), ("P", "A"), ("S", "I")])
    for axes in itertools.product(*order)
]


def marked() -> np.ndarray:
    """Every voxel its own value, so that any mix-up of axes shows."""
    return np.arange(np.prod(SHAPE)).reshape(SHAPE)


@pytest.mark.parametrize("codes", CODES)
def test_all_48_orientations_display_alike_and_go_back(codes: str) -> None:
    reference = nib.Nifti1Image(marked().astype(np.int16), LPS)
    image = reference.as_reoriented(ornt_transform(io_orientation(LPS), axcodes2ornt(codes)))
    assert "".join(nib.aff2axcodes(image.affine)) == codes
    array = np.asarray(image.dataobj)
    geometry = VolumeGeometry.from_affine(image.affine, array.shape)
    display = geometry.orient(array)
    np.testing.assert_array_equal(display, marked().transpose(1, 0, 2))
    np.testing.assert_array_equal(geometry.restore(display), array)
    assert geometry.display_spacing() == (2.0, 1.0, 3.0)  # rows run along y


def test_oblique_affine_takes_the_nearest_axes_and_keeps_the_spacing() -> None:
    angle = np.deg2rad(20)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn @ LPS[:3, :3]
    affine[:3, 3] = [12.5, -3.0, 40.0]
    geometry = VolumeGeometry.from_affine(affine, SHAPE)
    np.testing.assert_array_equal(geometry.orient(marked()), marked().transpose(1, 0, 2))
    np.testing.assert_array_equal(geometry.restore(geometry.orient(marked())), marked())
    np.testing.assert_allclose(geometry.display_spacing(), (2.0, 1.0, 3.0))


def test_stack_of_pictures_is_in_display_order_and_has_no_spacing() -> None:
    geometry = VolumeGeometry.stack((7, 6), 5)
    np.testing.assert_array_equal(geometry.orient(marked()), marked())
    np.testing.assert_array_equal(geometry.restore(marked()), marked())
    assert geometry.display_spacing() is None


def test_bad_affines_and_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="not a finite 4x4"):
        VolumeGeometry.from_affine(np.full((4, 4), np.nan), SHAPE)
    with pytest.raises(DataError, match="not a finite 4x4"):
        VolumeGeometry.from_affine(np.eye(3), SHAPE)
    with pytest.raises(DataError, match="singular"):
        VolumeGeometry.from_affine(np.diag([1.0, 1.0, 0.0, 1.0]), SHAPE)
    with pytest.raises(DataError, match="does not fit the grid"):
        VolumeGeometry.from_affine(LPS, SHAPE).orient(np.zeros((7, 6, 4)))
    frame = frame_geometry((40, 40), (0, 40, 0, 40))
    with pytest.raises(DataError, match="not 256x256"):
        frame.mask_to_plane(np.zeros((40, 40)))
    with pytest.raises(DataError, match="no volume"):
        assemble_volume([frame], [np.zeros((256, 256))])


@pytest.mark.parametrize("sizes", [(1, 1, 0.005), (150, 1, 1), (1e-3, 1e-3, 3e-3), (1, 5e4, 1)])
def test_impossible_voxel_sizes_are_refused(sizes: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match=r"voxels are .* mm, and 0\.01 to 100 mm are possible"):
        VolumeGeometry.from_affine(np.diag([*sizes, 1.0]), SHAPE)


@pytest.mark.parametrize("sizes", [(0.02, 0.02, 0.02), (0.2, 0.2, 90), (1, 1, 10)])
def test_fine_and_coarse_voxels_are_read(sizes: tuple[float, ...]) -> None:
    geometry = VolumeGeometry.from_affine(np.diag([*sizes, 1.0]), SHAPE)
    assert geometry.display_spacing() == pytest.approx(sizes)


def test_axes_in_one_plane_are_refused() -> None:
    affine = np.diag([50.0, 50, 50, 1])
    affine[:3, 1] = affine[:3, 0] + [0, 1e-3, 0]
    with pytest.raises(DataError, match="singular"):
        VolumeGeometry.from_affine(affine, SHAPE)


def test_frame_is_centred_square_and_keeps_the_aspect() -> None:
    frame = frame_geometry((200, 240), (50, 150, 80, 140), margin=0.02)
    rows = frame.crop[1] - frame.crop[0] + frame.padding[0] + frame.padding[1]
    columns = frame.crop[3] - frame.crop[2] + frame.padding[2] + frame.padding[3]
    assert rows == columns == 104  # the longer side and 2 % on both ends
    assert frame.padding == (0, 0, 0, 0) and frame.scale[0] == frame.scale[1] == 256 / 104
    assert (frame.crop[0] + frame.crop[1]) / 2 == 100
    assert (frame.crop[2] + frame.crop[3]) / 2 == 110


def test_frame_at_the_border_is_padded() -> None:
    frame = frame_geometry((100, 60), (0, 100, 0, 60))
    r0, r1, c0, c1 = frame.crop
    assert (r0, r1, c0, c1) == (0, 100, 0, 60)
    assert min(frame.padding) >= 2 and frame.padding[2] + frame.padding[3] == 104 - 60


def test_anisotropic_pixels_become_square_in_millimetres() -> None:
    frame = frame_geometry((100, 100), (10, 90, 10, 90), spacing_mm=(0.5, 2.0))
    assert frame.scale[1] / frame.scale[0] == pytest.approx(4.0, rel=0.02)


@pytest.mark.parametrize(
    ("shape", "spacing", "message"),
    [
        ((240, 240), (0.05, 50.0), r"240 x 240 .* 249600 x 250: .* strip .* 0\.05 x 50 mm"),
        ((300, 240), (90.0, 0.2), r"300 x 240 .* 312 x 140400: .* strip .* 90 x 0\.2 mm"),
        ((300, 3000), None, r"300 x 3000 .* 3120 x 3120: .* strip"),
        ((4000, 17), None, r"4000 x 17 .* 4160 x 4160: .* strip"),
    ],
)
def test_a_strip_has_no_frame(
    shape: tuple[int, int], spacing: tuple[float, float] | None, message: str
) -> None:
    """The square round it would ask for memory without end."""
    with pytest.raises(DataError, match=message):
        frame_geometry(shape, (0, shape[0], 0, shape[1]), spacing)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((1000, 3000), None),
        ((6000, 2000), None),  # a scanned film
        ((1500, 150), None),
        ((320, 24), (0.75, 7.5)),  # a sagittal acquisition
        ((512, 40), (0.45, 6.0)),
        ((155, 240), (1.0, 1.0)),
    ],
)
def test_longish_planes_are_framed(
    shape: tuple[int, int], spacing: tuple[float, float] | None
) -> None:
    frame = frame_geometry(shape, (0, shape[0], 0, shape[1]), spacing)
    spacing = spacing or (1.0, 1.0)
    longer = max(np.multiply(shape, spacing))
    r0, r1, c0, c1 = frame.crop
    top, bottom, left, right = frame.padding
    assert (r1 - r0, c1 - c0) == shape
    framed = np.multiply((r1 - r0 + top + bottom, c1 - c0 + left + right), spacing)
    assert framed == pytest.approx([1.04 * longer] * 2, abs=max(spacing))


def test_json_round_trip() -> None:
    volume = VolumeGeometry.from_affine(LPS, SHAPE)
    frame = frame_geometry((6, 7), (1, 5, 2, 6), (2.0, 1.0))
    full = SliceGeometry(**{**vars(frame), "volume": volume, "slice_spacing_mm": 3.0}).at_slice(4)
    for geometry in (frame, full):
        assert SliceGeometry.from_dict(json.loads(json.dumps(geometry.to_dict()))) == geometry
    assert full.slice_index == 4


def test_areas_and_volumes_are_of_the_original_grid_or_unknown() -> None:
    frame = frame_geometry((100, 100), (10, 90, 10, 90), (2.0, 1.5))
    assert pixel_area_mm2(frame) == 3.0 and voxel_volume_ml(frame) is None
    known = SliceGeometry(**{**vars(frame), "slice_spacing_mm": 4.0})
    assert voxel_volume_ml(known) == pytest.approx(0.012)
    unknown = frame_geometry((100, 100), (10, 90, 10, 90))
    assert pixel_area_mm2(unknown) is None and voxel_volume_ml(unknown) is None


def test_resize_averages_when_shrinking_and_copies_at_the_same_size() -> None:
    fine = np.zeros((256, 256), dtype=np.float32)
    fine[::2] = 1  # single-pixel stripes would alias to 0 or 1
    assert np.abs(resize(fine, (64, 64))[2:-2] - 0.5).max() < 0.1
    same = resize(fine, (256, 256))
    np.testing.assert_array_equal(same, fine)
    assert same is not fine


def test_a_pixel_that_is_half_tumour_is_tumour() -> None:
    """Of two rows of the file each row is made; the mask begins and ends in the middle of one."""
    mask = np.zeros((512, 512), bool)
    mask[101:201] = True
    whole = SliceGeometry((512, 512), (0, 512, 0, 512), (0, 0, 0, 0), (0.5, 0.5))
    expected = np.zeros((256, 256), np.uint8)
    expected[50:101] = 1
    np.testing.assert_array_equal(prepare_mask(mask, whole), expected)
    assert whole.mask_to_plane(np.full((256, 256), 0.5)).all()


def blob(shape: tuple[int, int, int], radius: float) -> np.ndarray:
    """An irregular lesion in the middle third, bool, of ``radius`` voxels."""
    rng = np.random.default_rng(3)
    grid = np.indices(shape).reshape(3, -1).T
    centre = np.array(shape) * 0.45
    mask = np.linalg.norm(grid - centre, axis=1) < radius
    for _ in range(4):
        mask |= np.linalg.norm(grid - centre - rng.normal(0, radius / 2, 3), axis=1) < radius / 2
    return mask.reshape(shape)


@pytest.mark.parametrize("shape", [(240, 240, 12), (96, 120, 10), (512, 400, 6)])
@pytest.mark.parametrize("codes", ["LPS", "RAS", "PSR", "SAL"])
def test_mask_survives_prepared_and_back(shape: tuple[int, int, int], codes: str) -> None:
    mask = nib.Nifti1Image(blob(shape, shape[0] / 6).astype(np.uint8), LPS)
    image = mask.as_reoriented(ornt_transform(io_orientation(LPS), axcodes2ornt(codes)))
    array = np.asarray(image.dataobj).astype(bool)
    volume = VolumeGeometry.from_affine(image.affine, array.shape)
    display, spacing = volume.orient(array), volume.display_spacing()
    height, width = display.shape[:2]
    box = (height // 10, height - height // 10, width // 8, width - width // 8)
    frame = frame_geometry((height, width), box, spacing[:2])
    frame = SliceGeometry(**{**vars(frame), "volume": volume})
    slices = [k for k in range(display.shape[2]) if display[:, :, k].any()]
    prepared = [prepare_mask(display[:, :, k], frame) for k in slices]
    back = assemble_volume([frame.at_slice(k) for k in slices], prepared)
    assert back.shape == array.shape and back.dtype == np.uint8
    assert 2 * (back & array).sum() / (back.sum() + array.sum()) >= 0.98
