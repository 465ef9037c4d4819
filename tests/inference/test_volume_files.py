"""Files that are no volume, and volumes that are no head: refused or abstained from, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from volume_inputs import announce, cut, flat, save

from brainmtl.inference.inputs.volume_files import MAX_VOXELS
from brainmtl.inference.predictor import MultiTaskPredictor
from brainmtl.inference.results import InputError


def abstention(predictor: MultiTaskPredictor, path: Path) -> str:
    found = predictor.predict_volume(path)
    assert found.abstained and found.reason and found.mask is None and found.slices == []
    assert found.label is None and found.probability is None and found.volume_ml is None
    return found.reason_code


def test_volumes_that_are_no_head(built_in: MultiTaskPredictor, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y, _ = np.indices((64, 64, 12))
    noise = rng.uniform(0, 255, (64, 64, 12)).astype(np.float32)
    assert abstention(built_in, save(tmp_path / "a.nii.gz", noise)) == "out_of_distribution"
    board = ((x // 8 + y // 8) % 2 * 200).astype(np.int16)
    assert abstention(built_in, save(tmp_path / "b.nii.gz", board)) == "out_of_distribution"
    assert (
        abstention(built_in, save(tmp_path / "c.nii", np.zeros((64, 64, 12), np.int16)))
        == "no_head"
    )
    disc = (np.hypot(x - 32, y - 32) < 20).astype(np.int16) * 100
    assert abstention(built_in, save(tmp_path / "d.nii", disc)) == "no_head"


HARM: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda f: f / "none.nii", "not_found"),
    "folder": (lambda f: f, "not_found"),
    "a picture": (
        lambda f: (f / "a.png", (f / "a.png").write_bytes(b"x"))[0],
        "format_not_allowed",
    ),
    "empty": (lambda f: (f / "a.nii", (f / "a.nii").touch())[0], "unreadable"),
    "empty gz": (lambda f: (f / "a.nii.gz", (f / "a.nii.gz").touch())[0], "unreadable"),
    "noise": (lambda f: (f / "a.nii", (f / "a.nii").write_bytes(b"q" * 999))[0], "unreadable"),
    "gz named nii": (lambda f: flat(f / "a.nii.gz").rename(f / "a.nii"), "unreadable"),
    "nii named gz": (lambda f: flat(f / "a.nii").rename(f / "a.nii.gz"), "unreadable"),
    "four axes": (lambda f: save(f / "a.nii", np.zeros((9, 9, 9, 2), np.int16)), "not_a_volume"),
    "one plane": (lambda f: save(f / "a.nii", np.zeros((64, 64), np.int16)), "not_a_volume"),
    "complex": (lambda f: save(f / "a.nii", np.zeros((9, 9, 9), np.complex64)), "not_a_volume"),
    "colour": (
        lambda f: announce(f / "a.nii", (9, 9, 9), b"\x00" * 2187, datatype=128, bitpix=24),
        "not_a_volume",
    ),
    "cut": (lambda f: cut(f / "a.nii"), "truncated"),
    "cut gz": (lambda f: cut(f / "a.nii.gz"), "unreadable"),
    "cut gz header": (lambda f: cut(f / "a.nii.gz", 0.002), "truncated"),
    "bomb": (
        lambda f: announce(f / "a.nii.gz", (500, 500, 500), b"\x00" * 500**2 * 40),
        "too_large",
    ),
    "huge": (lambda f: announce(f / "a.nii", (32000, 32000, 32000), b""), "too_large"),
    "negative": (
        lambda f: announce(f / "a.nii", (9, 9, 9), b"", dim=[3, -9, 9, 9, 1, 1, 1, 1]),
        "not_a_volume",
    ),
    "unknown type": (lambda f: announce(f / "a.nii", (9, 9, 9), b"", datatype=3), "unreadable"),
    "no orientation": (
        lambda f: announce(f / "a.nii", (64, 64, 4), bytes(range(256)) * 64, sform_code=0),
        "unreadable",
    ),
    "singular": (
        lambda f: announce(f / "a.nii", (64, 64, 4), bytes(range(256)) * 64, srow_x=[0, 0, 0, 0]),
        "unreadable",
    ),
    "not finite": (
        lambda f: save(f / "a.nii", np.full((64, 64, 4), np.nan, np.float32)),
        "unreadable",
    ),
}


@pytest.mark.parametrize("name", HARM)
def test_files_that_are_no_volume(predictor: MultiTaskPredictor, tmp_path: Path, name: str) -> None:
    make, reason = HARM[name]
    path = make(tmp_path)
    with pytest.raises(InputError) as caught:
        predictor.predict_volume(path)
    assert caught.value.reason == reason, str(caught.value)


def test_nothing_is_unpacked_before_the_header_was_checked(
    predictor: MultiTaskPredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*args: object, **options: object) -> None:
        raise AssertionError("the voxels were read")

    monkeypatch.setattr("brainmtl.inference.inputs.volume_files.read_nifti", read)
    side = int(np.ceil(MAX_VOXELS ** (1 / 3))) + 1
    for path in (
        announce(tmp_path / "a.nii.gz", (side, side, side), b""),
        announce(tmp_path / "b.nii.gz", (400, 400, 400), b"\x00" * 10_000),
    ):
        with pytest.raises(InputError) as caught:
            predictor.predict_volume(path)
        assert caught.value.reason == "too_large"
