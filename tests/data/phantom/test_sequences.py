"""Sequences of the synthetic pictures: which tissue is brighter than which, and who draws what."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainmtl.data.phantom import PhantomConfig, write_phantom
from brainmtl.data.phantom.anatomy import sample_tissue
from brainmtl.data.phantom.atlas import Atlas, load_atlas
from brainmtl.data.phantom.lesion import NECROSIS
from brainmtl.data.phantom.render import Subject, brain_axes, draw_subject, render
from brainmtl.data.phantom.sequences import SEQUENCES
from brainmtl.data.phantom.writer import photo_sequence
from brainmtl.errors import ConfigError

HEIGHTS = np.arange(76.0, 106.0, 6.0)  # mm: ventricles and white matter


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return load_atlas()


def necrotic_subject(atlas: Atlas) -> Subject:
    """The first subject whose lesion has a necrotic core."""
    for seed in range(100):
        subject = draw_subject(atlas, np.random.default_rng(seed), tumour=True)
        if subject.lesion is not None and subject.lesion.kind == "necrotic":
            return subject
    raise AssertionError("no necrotic lesion in 100 subjects")


def medians(atlas: Atlas, sequence: str) -> dict[str, float]:
    """Median signal of pure tissues and of the lesion's parts."""
    subject = necrotic_subject(atlas)
    assert subject.lesion is not None
    heights = subject.lesion.centre[2] + np.array([-4.0, 0.0, 4.0])
    axes = brain_axes(subject.anatomy, np.concatenate([HEIGHTS, heights]))
    picture = render(atlas, subject, axes, SEQUENCES[sequence], np.random.default_rng(1))
    tissue = sample_tissue(atlas, subject.anatomy, axes, np.random.default_rng(1))
    healthy = (picture.labels == 0) & (tissue.brain_sdf > 6)
    parts = {
        "csf": (tissue.csf > 0.95) & healthy,
        "grey": (tissue.gm > 0.95) & healthy,
        "white": (tissue.wm > 0.95) & healthy,
        "necrosis": picture.labels == NECROSIS,
        "rim": picture.labels == 4,
        "oedema": picture.labels == 2,
    }
    assert all(np.count_nonzero(where) > 30 for where in parts.values())
    return {name: float(np.median(picture.signal[where])) for name, where in parts.items()}


@pytest.mark.parametrize(
    ("sequence", "order"),
    [
        ("flair", ["csf", "white", "grey", "oedema"]),
        ("t2", ["white", "grey", "oedema", "csf"]),
        ("t1", ["csf", "grey", "white"]),
        ("t1ce", ["csf", "grey", "white", "rim"]),
    ],
)
def test_tissues_are_ordered_as_in_textbooks(atlas: Atlas, sequence: str, order: list[str]) -> None:
    signal = medians(atlas, sequence)
    assert [signal[name] for name in order] == sorted(signal[name] for name in order)


def test_necrosis_is_fluid_and_only_contrast_agent_lights_its_rim(atlas: Atlas) -> None:
    without, enhanced, t2 = (medians(atlas, name) for name in ("t1", "t1ce", "t2"))
    assert without["necrosis"] < without["rim"] < without["white"] < enhanced["rim"]
    assert enhanced["necrosis"] < 0.6 * enhanced["white"]
    assert t2["necrosis"] > t2["grey"]


def test_pictures_take_their_sequences_in_turn_alike_for_both_classes(tmp_path: Path) -> None:
    names = ("flair", "t1ce", "t2")
    config = PhantomConfig(0, 0.0, 12, 0, photo_sequences=names)
    turns = [photo_sequence(config.photo_sequences, index) for index in range(12)]
    assert turns[0::2] == turns[1::2] == [*names, *names]  # even: with tumour
    options = {"subjects": 0, "photos": 2, "workers": 1, "progress": False}
    write_phantom(tmp_path / "t1", photo_sequences=["t1"], **options)
    write_phantom(tmp_path / "flair", **options)
    pictures = [
        np.asarray(Image.open(tmp_path / folder / "kaggle/no/photo_0001.jpg"))
        for folder in ("t1", "flair")
    ]
    assert pictures[0].shape != pictures[1].shape or not np.array_equal(*pictures)
    assert json.loads((tmp_path / "t1/phantom.json").read_text())["photo_sequences"] == ["t1"]
    write_phantom(tmp_path / "t1", photo_sequences=["t1"], **options)  # a second call finds it done
    with pytest.raises(ConfigError, match="another phantom"):
        write_phantom(tmp_path / "t1", photo_sequences=["t2"], **options)


def test_a_folder_from_before_there_was_a_choice_holds_flair(tmp_path: Path) -> None:
    options = {"subjects": 0, "photos": 1, "workers": 1, "progress": False}
    write_phantom(tmp_path, **options)
    path = tmp_path / "phantom.json"
    older = json.loads(path.read_text())
    del older["photo_sequences"]
    path.write_text(json.dumps(older))
    write_phantom(tmp_path, **options)
    with pytest.raises(ConfigError, match="another phantom"):
        write_phantom(tmp_path, photo_sequences=["t2"], **options)


@pytest.mark.parametrize("names", [[], ["flair", "dwi"]])
def test_unknown_sequences_are_named_with_the_known_ones(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(ConfigError, match="flair, t2, t1, t1ce"):
        write_phantom(tmp_path, subjects=0, photos=1, photo_sequences=names)
