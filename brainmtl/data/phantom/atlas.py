"""MNI152 tissue maps, read from the files that the nilearn wheel ships (see NOTICE)."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage as ndi

from brainmtl.errors import DataError

FloatArray = np.ndarray
SDF_STEP = 2  # mm between the points of the two distance maps
# Box (voxels = mm) of the lateral and third ventricles in the 1 mm MNI grid of the maps. The fourth
# ventricle and the cisterns lie outside it: caps and lesions of small vessels sit on the former.
VENTRICLE_BOX = (slice(54, 143), slice(58, 178), slice(58, 108))


@dataclass(frozen=True)
class Atlas:
    """Maps in the MNI grid: 1 mm, axes left->right, posterior->anterior, inferior->superior.

    ``gm``, ``wm`` are probabilities in [0, 1]; ``detail`` is the T1 map less its local mean, which
    brings back the nuclei and folds that probabilities blur. ``brain_sdf`` and ``ventricle_sdf``
    are signed distances in mm (positive inside) at every ``SDF_STEP``-th voxel.
    """

    gm: FloatArray
    wm: FloatArray
    detail: FloatArray
    brain_sdf: FloatArray
    ventricle_sdf: FloatArray


def _map_path(name: str) -> Path:
    spec = importlib.util.find_spec("nilearn")
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        path = (
            Path(place)
            / "datasets"
            / "data"
            / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
        )
        if path.is_file():
            return path
    raise DataError(
        f"the MNI152 map '{name}' that the nilearn wheel ships was not found: "
        "install the project's dependencies (make setup), nilearn >= 0.11"
    )


def _read(name: str) -> FloatArray:
    image = nib.load(_map_path(name))
    return np.asarray(image.dataobj).astype(np.float32) / np.float32(255)


def signed_distance(mask: np.ndarray, spacing: float) -> FloatArray:
    """Signed distance in mm to the border of a boolean ``mask``, positive inside."""
    inside = ndi.distance_transform_edt(mask, sampling=spacing)
    outside = ndi.distance_transform_edt(~mask, sampling=spacing)
    return (inside - outside).astype(np.float32)


@lru_cache(maxsize=1)
def load_atlas() -> Atlas:
    """Read the three maps and derive the distance maps (about a second, once per process).

    Raises:
        DataError: the files are not where the nilearn wheel puts them.
    """
    t1, gm, wm = _read("t1"), _read("gm"), _read("wm")
    coarse = (slice(None, None, SDF_STEP),) * 3
    brain = ndi.binary_fill_holes(ndi.binary_opening(t1[coarse] > 0.15, iterations=1))
    brain_sdf = ndi.gaussian_filter(signed_distance(brain, SDF_STEP), 0.8)
    fluid = np.zeros_like(t1)
    fluid[VENTRICLE_BOX] = np.clip(1 - gm - wm, 0, 1)[VENTRICLE_BOX]
    ventricles = (fluid[coarse] > 0.6) & (brain_sdf > 16)
    ventricle_sdf = ndi.gaussian_filter(signed_distance(ventricles, SDF_STEP), 0.6)
    detail = t1 - ndi.uniform_filter(ndi.uniform_filter(t1, 5), 5)
    return Atlas(gm=gm, wm=wm, detail=detail, brain_sdf=brain_sdf, ventricle_sdf=ventricle_sdf)
