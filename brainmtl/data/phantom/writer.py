"""Write the phantom as raw data: BraTS-like NIfTI cases and Kaggle-like JPEG pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from threadpoolctl import threadpool_limits

from brainmtl.data.phantom.atlas import load_atlas
from brainmtl.data.phantom.photo import render_photo
from brainmtl.data.phantom.render import SLICE_STEP, render_volume
from brainmtl.data.phantom.sequences import check_sequences
from brainmtl.data.phantom.variety import VARIETIES, check_variety
from brainmtl.data.processes import process_count
from brainmtl.errors import ConfigError
from brainmtl.files import atomic_path, write_json

GENERATOR_VERSION = "1"
DESCRIPTION_FILE = "phantom.json"
VOLUME_STREAM, PHOTO_STREAM = (
    0,
    1,
)  # separate random streams: no head is in both renderings
# As in published BraTS files: voxel axes left, posterior, superior, origin at the (0, 239) corner.
AFFINE = np.array([[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, SLICE_STEP, 0], [0, 0, 0, 1]], float)


@dataclass(frozen=True)
class PhantomConfig:
    """What determines the content of a phantom folder."""

    subjects: int
    healthy_fraction: float
    photos: int
    seed: int
    photo_sequences: tuple[str, ...] = ("flair",)
    variety: str = "textbook"
    generator_version: str = GENERATOR_VERSION

    def __post_init__(self) -> None:
        if self.subjects < 0 or self.photos < 0 or self.subjects + self.photos == 0:
            raise ConfigError(
                f"phantom subjects={self.subjects} photos={self.photos}: both must be >= 0 and one "
                "of them above 0, for example subjects=24 photos=160"
            )
        if not 0 <= self.healthy_fraction <= 1:
            raise ConfigError(
                f"phantom healthy_fraction={self.healthy_fraction} must lie in [0, 1], for example 0.33"
            )
        if self.seed < 0:
            raise ConfigError(f"phantom seed={self.seed} must be a whole number >= 0")
        check_sequences(self.photo_sequences)
        check_variety(self.variety)


def is_healthy(index: int, fraction: float) -> bool:
    """Whether volume ``index`` is of a healthy subject: evenly spread, independent of the total."""
    return int((index + 1) * fraction + 1e-9) > int(index * fraction + 1e-9)


def subject_rng(seed: int, stream: int, index: int) -> np.random.Generator:
    """The random generator of one subject, independent of all others."""
    return np.random.default_rng(np.random.SeedSequence([seed, stream, index]))


def photo_sequence(sequences: Sequence[str], index: int) -> str:
    """The sequence of picture ``index``: in turn, the same for a tumour and for none."""
    return sequences[index // 2 % len(sequences)]


def volume_paths(raw_dir: Path, index: int) -> tuple[Path, Path]:
    """FLAIR and segmentation file of volume ``index``."""
    case = f"Phantom_{index:04d}"
    folder = raw_dir / "brats" / case
    return folder / f"{case}_flair.nii.gz", folder / f"{case}_seg.nii.gz"


def photo_path(raw_dir: Path, index: int) -> Path:
    """JPEG of picture ``index``: even ones show a tumour."""
    return raw_dir / "kaggle" / ("yes" if index % 2 == 0 else "no") / f"photo_{index:04d}.jpg"


def _save_volume(values: np.ndarray, path: Path) -> None:
    image = nib.Nifti1Image(np.ascontiguousarray(values), AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def write_volume(raw_dir: Path, config: PhantomConfig, index: int) -> None:
    """Render and write one BraTS-like case, unless both files are there."""
    flair_path, mask_path = volume_paths(raw_dir, index)
    if flair_path.exists() and mask_path.exists():
        return
    with threadpool_limits(1):  # same bits whatever the number of workers
        rng = subject_rng(config.seed, VOLUME_STREAM, index)
        tumour = not is_healthy(index, config.healthy_fraction)
        flair, labels = render_volume(load_atlas(), rng, tumour, VARIETIES[config.variety])
    _save_volume(labels, mask_path)
    _save_volume(flair, flair_path)


def write_photo(raw_dir: Path, config: PhantomConfig, index: int) -> None:
    """Render and write one Kaggle-like picture, unless it is there."""
    path = photo_path(raw_dir, index)
    if path.exists():
        return
    with threadpool_limits(1):
        rng = subject_rng(config.seed, PHOTO_STREAM, index)
        picture = render_photo(
            load_atlas(),
            rng,
            index % 2 == 0,
            photo_sequence(config.photo_sequences, index),
            VARIETIES[config.variety],
        )
    with atomic_path(path) as temporary:
        picture.save(temporary, quality=int(rng.integers(78, 96)))


def claim_folder(raw_dir: Path, config: PhantomConfig) -> None:
    """Record what the folder holds; refuse one that holds anything else.

    Raises:
        ConfigError: other parameters, or data that is not of the phantom, under ``raw_dir``.
    """
    description = raw_dir / DESCRIPTION_FILE
    wanted = {"synthetic": True, **asdict(config), "photo_sequences": list(config.photo_sequences)}
    if description.exists():
        try:
            # folders written before there was a choice
            found = {"photo_sequences": ["flair"], "variety": "textbook"} | json.loads(
                description.read_text(encoding="utf-8")
            )
        except (ValueError, TypeError):
            found = None
        if found != wanted:
            raise ConfigError(
                f"{description} describes another phantom ({found}) than the one asked for "
                f"({wanted}): choose another raw_dir, delete this one, or use its parameters"
            )
        return
    if any((raw_dir / name).exists() for name in ("brats", "kaggle")):
        raise ConfigError(
            f"{raw_dir} holds brats/ or kaggle/ but no {DESCRIPTION_FILE}, so it may be real data, "
            "which synthetic data must not be mixed with: choose an empty raw_dir"
        )
    write_json(description, wanted)


def _jobs(raw_dir: Path, config: PhantomConfig) -> list[tuple[Callable[..., None], int]]:
    volumes = [
        (write_volume, i)
        for i in range(config.subjects)
        if not all(p.exists() for p in volume_paths(raw_dir, i))
    ]
    photos = [(write_photo, i) for i in range(config.photos) if not photo_path(raw_dir, i).exists()]
    return [*volumes, *photos]


def write_phantom(
    raw_dir: str | Path,
    *,
    subjects: int = 24,
    healthy_fraction: float = 0.33,
    photos: int = 160,
    seed: int = 0,
    photo_sequences: Sequence[str] = ("flair",),
    variety: str = "textbook",
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Write synthetic raw data under ``raw_dir``; a second call writes only what is missing.

    ``brats/<case>/<case>_{flair,seg}.nii.gz`` (``subjects`` cases, ``healthy_fraction`` of them with
    an empty mask) and ``kaggle/{yes,no}/*.jpg`` (``photos`` pictures, one per subject, half of them
    with a tumour, of the ``photo_sequences`` in turn: flair, t1, t1ce, t2; none of these subjects is
    among the cases), drawn with the ranges of ``variety``: textbook or wide. Every file depends on ``seed`` and its
    own index alone. ``workers`` processes are used (default: one per core).

    Raises:
        ConfigError: impossible parameters, or a folder that holds something else.
    """
    workers = process_count(workers)
    config = PhantomConfig(
        subjects, float(healthy_fraction), photos, seed, tuple(photo_sequences), variety
    )
    raw_dir = Path(raw_dir)
    claim_folder(raw_dir, config)
    jobs = _jobs(raw_dir, config)
    if not jobs:
        return
    workers = min(workers, len(jobs))

    from joblib import Parallel, delayed
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not progress) as bar:
        task = bar.add_task("phantom (synthetic)", total=len(jobs))
        pool = Parallel(n_jobs=workers, return_as="generator_unordered")
        for _ in pool(delayed(write)(raw_dir, config, index) for write, index in jobs):
            bar.advance(task)
