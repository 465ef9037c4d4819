"""Volumes that are damaged, cut, of odd headers or of no use."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np

from hostile.building import ANY, BAD, Hostile, Rng, flipped, header, kind, nifti, pick, volume


@kind
def damaged_volume(rng: Rng) -> Hostile:
    data = gzip.compress(nifti(rng.normal(100, 20, (24, 24, 6)).astype(np.float32)))
    cut = data[: int(rng.uniform(0.1, 0.9) * len(data))]
    return volume((cut, flipped(rng, data, 0.01))[rng.integers(2)], {413, 415, 422})


@kind
def cut_volume(rng: Rng) -> Hostile:
    data = nifti(np.ones((16, 16, 16), np.float32))
    return volume(data[: int(rng.integers(100, len(data)))], {415, 422}, "scan.nii")


@kind
def odd_headers(rng: Rng) -> Hostile:
    data = bytearray(nifti(rng.normal(100, 20, (24, 24, 6)).astype(np.float32)))
    for _ in range(3):
        data[rng.integers(0, 348)] = rng.integers(0, 256)
    return volume(bytes(data), ANY, "scan.nii")


@kind
def fuzzed_dimensions(rng: Rng) -> Hostile:
    data = bytearray(header((8, 8, 8)) + bytes(2048))
    data[40:56] = rng.bytes(16)
    return volume(bytes(data), BAD, "scan.nii")


@kind
def unusable_volumes(rng: Rng) -> Hostile:
    plain = rng.normal(100, 20, (24, 24, 6)).astype(np.float32)
    broken = plain.copy()
    broken[3, 3, 3] = np.nan
    choices = (
        nifti(broken),
        nifti(plain)[:280] + bytes(48) + nifti(plain)[328:],  # an affine of zeros
        nifti(np.stack([plain, plain], 3)),
        nifti(plain[:, :, 0]),
        nib.Nifti1Image(plain, None).to_bytes(),
        nifti(np.zeros((24, 24, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])),
    )
    return volume(pick(rng, choices), {422}, "scan.nii")
