"""Examples to try: synthetic heads drawn when they are first asked for, and one picture of no head."""

from __future__ import annotations

import gzip

import numpy as np
import streamlit as st
from PIL import Image

from brainmtl.inference.png import png_bytes

# Heads of their own: training and evaluation on the phantom use other seeds.
SEED = 20_260
TUMOUR, HEALTHY = 4, 1  # streams of two heads; the first has its lesion in many slices
SLICE_TUMOUR = "Slice with tumour (synthetic)"
SLICE_HEALTHY = "Slice without tumour (synthetic)"
PHOTO = "Photo style, with tumour (synthetic)"
NO_MRI = "No MRI: colour gradient"
PICTURES = (SLICE_TUMOUR, SLICE_HEALTHY, PHOTO, NO_MRI)
VOLUME = "Volume with tumour (synthetic)"


@st.cache_data(show_spinner="Drawing a synthetic head (some seconds, once) ...")
def picture(name: str) -> bytes:
    """PNG file of one of PICTURES: slices in 16 bit grey, the photograph in 8 bit."""
    if name == NO_MRI:
        return png_bytes(_gradient())
    if name == PHOTO:
        return png_bytes(np.asarray(_photo()))
    return png_bytes(_slice(TUMOUR if name == SLICE_TUMOUR else HEALTHY))


@st.cache_data(show_spinner="Drawing a synthetic head (some seconds, once) ...")
def volume() -> bytes:
    """A NIfTI file (.nii.gz) of a FLAIR-like volume with tumour, skull-stripped."""
    import nibabel as nib

    from brainmtl.data.phantom.writer import AFFINE

    flair, _ = _head(TUMOUR)
    image = nib.Nifti1Image(np.ascontiguousarray(flair), AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    return gzip.compress(image.to_bytes(), mtime=0)


@st.cache_data(show_spinner=False)
def _head(index: int) -> tuple[np.ndarray, np.ndarray]:
    from brainmtl.data.phantom.atlas import load_atlas
    from brainmtl.data.phantom.render import render_volume
    from brainmtl.data.phantom.writer import VOLUME_STREAM, subject_rng

    return render_volume(load_atlas(), subject_rng(SEED, VOLUME_STREAM, index), index == TUMOUR)


def _slice(index: int) -> np.ndarray:
    """The slice with most tumour, or the middle one, rows from anterior to posterior, uint16."""
    from brainmtl.data.phantom.picture import widest_slice

    flair, labels = _head(index)
    return np.ascontiguousarray(flair[:, :, widest_slice(labels)].T.astype(np.uint16))


def _photo() -> Image.Image:
    from brainmtl.data.phantom.atlas import load_atlas
    from brainmtl.data.phantom.photo import render_photo
    from brainmtl.data.phantom.writer import PHOTO_STREAM, subject_rng

    return render_photo(load_atlas(), subject_rng(SEED, PHOTO_STREAM, 0), tumour=True)


def _gradient(size: int = 256) -> np.ndarray:
    rows, columns = np.mgrid[0 : 255 : size * 1j, 0 : 255 : size * 1j]
    return np.stack([rows, columns, 255 - rows], axis=2).astype(np.uint8)
